//! The state machine of one key, shared by many threads.
//!
//! The word is read by everybody. While closed, failures in a row are counted by exchanging it; all else happens
//! under the lock, whose holder marks the word as held, so that the two ways never cross.

use crate::{
    Mode, Reason, State,
    label::KeyLabel,
    policy::{Policy, Window},
    state::{Change, Detail, Done, Machine, Mark, Pass, Surroundings, Ticket, Told, Verdict, View},
    sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError},
    window::Counters,
    word::{Peek, Shortcut, Word},
};

/// One key's state: 32 bytes while it is healthy and its windows are not over a number of calls.
#[derive(Debug)]
pub(crate) struct Slot {
    word: AtomicU64,
    /// Which of the keys that had this place, one after the other, has it now.
    tenancy: AtomicU32,
    /// When it was last used, in rounds of the search for idle keys.
    pub(crate) used: AtomicU32,
    detail: Mutex<Option<Box<Detail>>>,
}

/// What stands around a slot.
#[derive(Debug)]
pub(crate) struct Around<'a, E> {
    pub(crate) policy: &'a Policy,
    pub(crate) gauge: &'a Gauge,
    /// The slot's windows over a time.
    pub(crate) counters: Counters<'a>,
    pub(crate) ether: &'a E,
    /// Whether anybody wants to be told of changes.
    pub(crate) observed: bool,
}

/// Time, chance and place: what only the shell knows. Asked only where it matters.
pub(crate) trait Ether {
    /// Microseconds since the breaker was built; the same however often it is asked for one call.
    fn now(&self) -> u64;

    /// Uniform over all values.
    fn draw(&self) -> u64;

    /// Which stripe of counters this thread uses; any number.
    fn stripe(&self) -> usize;
}

/// How many keys there are, and how many of them are open or half-open.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) keys: AtomicU32,
    open: AtomicU32,
}

/// Whether a call may go, and what there is to tell.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) verdict: Verdict,
    /// The state and the mode that it was decided in.
    pub(crate) state: State,
    pub(crate) mode: Mode,
    pub(crate) told: Option<Box<Told>>,
}

/// The place belongs to another key by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved;

// === impl Slot ===

impl Slot {
    /// A place that nobody has yet.
    pub(crate) fn vacant() -> Self {
        Self { word: AtomicU64::new(0), tenancy: AtomicU32::new(0), used: AtomicU32::new(0), detail: Mutex::new(None) }
    }

    #[inline(always)]
    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    #[inline(always)]
    pub(crate) fn tenancy(&self) -> u32 {
        self.tenancy.load(Ordering::Acquire)
    }

    /// Decides on a call where the word alone did not.
    pub(crate) fn admit<E: Ether>(&self, tenancy: u32, around: &Around<'_, E>) -> Result<Admission, Moved> {
        let word = self.word();
        let peek = word.peek(|| around.ether.now(), around.policy);
        // CORRECTNESS: the tenancy is read after the word. A next tenant changes the tenancy before the word, so a
        // word of theirs cannot be taken for ours.
        if self.tenancy() != tenancy {
            return Err(Moved);
        }
        let admit = |pass| Verdict::Admit(Ticket { word, pass });
        let verdict = match peek {
            Peek::Admit => admit(Pass::Ordinary),
            Peek::Bypass => admit(Pass::Bypass),
            Peek::Refuse(wait) => Verdict::Refuse(wait),
            Peek::Ask => return self.ask(tenancy, around),
        };
        Ok(Admission { verdict, state: word.mode().shows(word.state()), mode: word.mode(), told: None })
    }

    fn ask<E: Ether>(&self, tenancy: u32, around: &Around<'_, E>) -> Result<Admission, Moved> {
        let now = around.ether.now();
        self.locked_for(tenancy, around, |machine| {
            let (verdict, change) = machine.admit(now);
            let word = machine.word;
            let told = around.tell(machine, change);
            Admission { verdict, state: word.mode().shows(word.state()), mode: word.mode(), told }
        })
    }

    /// Takes in the result of a call.
    pub(crate) fn settle<E: Ether>(&self, ticket: Ticket, done: &Done, around: &Around<'_, E>) -> Option<Box<Told>> {
        let word = self.word();
        // A first look without the lock; the machine looks again.
        if word.generation() != ticket.word.generation() || ticket.pass == Pass::Bypass {
            return None;
        }
        let mut tripped = None;
        if ticket.pass == Pass::Ordinary {
            if done.mark == Mark::Ignored || !word.counts() {
                return None;
            }
            tripped = around.record(done, word);
            if tripped.is_none() && self.take_shortcut(ticket, word, done, around.policy) {
                return None;
            }
        }
        let (now, draw) = (around.ether.now(), around.ether.draw());
        self.locked(around, |machine| {
            let may_open = &mut || around.gauge.take(around.policy);
            let change = machine.settle(ticket, done, &mut Surroundings { now, draw, tripped, may_open });
            around.tell(machine, change)
        })
    }

    /// Counts failures in a row without the lock; `false` where that is not all there is to do.
    fn take_shortcut(&self, ticket: Ticket, mut word: Word, done: &Done, policy: &Policy) -> bool {
        loop {
            let next = match word.shortcut(done, policy) {
                Shortcut::Nothing => return true,
                Shortcut::Ask => return false,
                Shortcut::Swap(next) => next,
            };
            // CORRECTNESS: an exchange, so that a word that was held, or moved on, since it was read is left alone.
            match self.word.compare_exchange_weak(word.0, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(changed) => word = Word(changed),
            }
            if word.generation() != ticket.word.generation() {
                return true;
            }
        }
    }

    /// Runs `work` on the whole state, with nobody else changing it.
    pub(crate) fn locked<E, T>(&self, around: &Around<'_, E>, work: impl FnOnce(&mut Machine<'_>) -> T) -> T {
        if cfg!(forebay_planted_race) {
            return self.locked_for_a_moment_only(around, work);
        }
        let mut detail = self.lock();
        // CORRECTNESS: whoever counts failures without the lock exchanges the very word that was read; the mark makes
        // that exchange fail until the word is published again below.
        let word = Word(self.word.fetch_or(Word::HELD, Ordering::AcqRel) & !Word::HELD);
        let mut machine = Machine { word, detail: &mut detail, policy: around.policy };
        let out = work(&mut machine);
        let after = machine.word;
        // CORRECTNESS: the guard's count goes down before the word shows it, so it is never above the truth for long.
        if word.is_tripped() && !after.is_tripped() {
            around.gauge.give_back();
        }
        self.word.store(after.0, Ordering::Release);
        drop(detail);
        out
    }

    /// The mistake that the model checkers must find: the lock is let go between looking and deciding.
    fn locked_for_a_moment_only<E, T>(&self, around: &Around<'_, E>, work: impl FnOnce(&mut Machine<'_>) -> T) -> T {
        let mut copy = self.lock().clone();
        let mut machine = Machine { word: self.word(), detail: &mut copy, policy: around.policy };
        let out = work(&mut machine);
        let after = machine.word;
        *self.lock() = copy;
        self.word.store(after.0, Ordering::Release);
        out
    }

    /// As [`locked`](Self::locked), unless the place belongs to another key by now.
    pub(crate) fn locked_for<E, T>(
        &self,
        tenancy: u32,
        around: &Around<'_, E>,
        work: impl FnOnce(&mut Machine<'_>) -> T,
    ) -> Result<T, Moved> {
        self.locked(around, |machine| if self.tenancy() == tenancy { Ok(work(machine)) } else { Err(Moved) })
    }

    /// What a call would find at `now`; nothing is changed.
    pub(crate) fn view<E>(&self, tenancy: u32, around: &Around<'_, E>, now: u64) -> Result<View, Moved> {
        let mut detail = self.lock();
        if self.tenancy() != tenancy {
            return Err(Moved);
        }
        let word = Word(self.word().0 & !Word::HELD);
        let mut view = Machine { word, detail: &mut detail, policy: around.policy }.view(now);
        let mut rings = std::mem::take(&mut view.rings).into_iter();
        view.windows = around
            .policy
            .rules
            .iter()
            .map(|rule| match rule.window {
                Window::Time(window) => around.counters.tally(&window, word.generation(), now),
                Window::Calls { .. } => rings.next().unwrap_or_default(),
            })
            .collect();
        Ok(view)
    }

    /// Whether nothing that is known of the key at `now` would be missed, if new keys start in mode `usual`.
    pub(crate) fn is_idle<E>(&self, now: u64, idle: u64, usual: Mode, around: &Around<'_, E>) -> bool {
        self.locked(around, |machine| machine.is_idle(now, idle, usual))
    }

    /// Gives the place to a key.
    pub(crate) fn occupy<E>(&self, round: u32, mode: Mode, label: Option<KeyLabel>, around: &Around<'_, E>) -> u32 {
        self.used.store(round, Ordering::Relaxed);
        self.locked(around, |machine| machine.occupy(mode, label));
        self.tenancy()
    }

    /// Takes the place from its key; what is under way for it will be late.
    pub(crate) fn vacate<E>(&self, around: &Around<'_, E>) -> Option<Box<Told>> {
        self.locked(around, |machine| {
            // CORRECTNESS: before the word changes, so that whoever reads a later word finds a later tenancy.
            self.tenancy.store(self.tenancy().wrapping_add(1), Ordering::Release);
            let label = machine.label().cloned();
            let change = machine.vacate();
            around.tell(machine, change).map(|told| Box::new(Told { label, ..*told }))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Detail>>> {
        // Nothing under the lock panics but a broken allocator; whatever it left is a state of the machine.
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Around ===

impl<E> Around<'_, E> {
    /// What there is to tell of a change, if anybody listens.
    pub(crate) fn tell(&self, machine: &Machine<'_>, change: Option<Change>) -> Option<Box<Told>> {
        change.filter(|_| self.observed).map(|change| Box::new(machine.tell(change)))
    }
}

impl<E: Ether> Around<'_, E> {
    /// Records the result in every window over a time, and asks those to which it is bad news.
    #[inline]
    fn record(&self, done: &Done, word: Word) -> Option<Reason> {
        if self.policy.cells == 0 {
            return None;
        }
        let (now, stripe) = (self.ether.now(), self.counters.stripe(self.ether.stripe()));
        let mut tripped = None;
        for rule in &self.policy.rules {
            let Window::Time(window) = &rule.window else { continue };
            if !rule.counts(done) {
                continue;
            }
            let bad = rule.is_bad(done);
            self.counters.record(window, stripe, word.generation(), now, bad);
            if bad && tripped.is_none() {
                let tally = self.counters.tally(window, word.generation(), now);
                tripped = rule.trips(tally).then(|| Reason::of(rule, tally));
            }
        }
        tripped
    }
}

// === impl Gauge ===

impl Gauge {
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes the right to be open, if the guard has one left.
    fn take(&self, policy: &Policy) -> bool {
        let keys = u64::from(self.keys.load(Ordering::Relaxed));
        let limit = policy.open_limit(keys);
        let mut open = self.open.load(Ordering::Relaxed);
        while u64::from(open) < limit {
            match self.open.compare_exchange_weak(open, open + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(changed) => open = changed,
            }
        }
        false
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
