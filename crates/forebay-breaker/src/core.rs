//! All that the services, the futures and the handles of one breaker share.
//!
//! What runs on every call of a closed breaker is `#[inline(always)]`: left to the compiler, a program that uses one
//! breaker type in more than one place paid 16 ns for it where it pays 5.

use crate::{
    BreakerEvent, CircuitOpen, KeyLabel, Mode, OVERFLOW, State,
    check::Settings,
    clock::{Clock, micros},
    directory::{Directory, Place, Writer},
    policy::{Policy, Window},
    recent::{Id, Recent},
    slot::{Admission, Around, Ether, Gauge, Moved, Slot},
    state::{Change, Done, Mark, Pass, Ticket, Told, Verdict},
    stripe, trace,
    window::{Counters, Layout, Line},
    word::{Peek, Word},
};
use forebay_core::{Observe, chance};
use std::{
    borrow::Borrow,
    cell::Cell,
    fmt,
    hash::Hash,
    num::NonZeroU64,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The shared state of a breaker with keys of type `K`.
pub(crate) struct Core<K> {
    pub(crate) policy: Policy,
    pub(crate) layout: Layout,
    /// The slot of a breaker without keys, or the overflow bucket of one with keys.
    pub(crate) single: Lone,
    /// `None` for a breaker without keys.
    pub(crate) directory: Option<Directory<K>>,
    pub(crate) observer: Option<Box<dyn Observe<BreakerEvent> + Send + Sync>>,
    pub(crate) name: KeyLabel,
    pub(crate) label: fn(&K) -> KeyLabel,
    /// The key of a breaker without keys.
    pub(crate) only_key: Option<K>,
    pub(crate) clock: Clock,
    id: Id,
    pub(crate) busy: Busy,
}

/// A slot that shares its cache line with nothing that is written.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Lone {
    slot: Slot,
    lines: Box<[Line]>,
}

/// What is written now and then, apart from what is read by every call.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Busy {
    pub(crate) gauge: Gauge,
    pub(crate) draws: AtomicU64,
    /// Calls that the overflow bucket took.
    pub(crate) overflowed: AtomicU64,
}

/// The clock and the dice of one core, as one call sees them.
pub(crate) struct Moment<'a> {
    clock: Clock,
    draws: &'a AtomicU64,
    now: Cell<Option<u64>>,
}

/// A call that may go, and what it brings back.
///
/// Three whole words: it is written, moved and read on every call, and a processor waits where it has to put together
/// one load from several stores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    /// The word that admitted it.
    word: Word,
    /// The index of its slot, its bits inverted; in the upper half which probe it is, 0 for none. So all of it is 0 for
    /// an ordinary call of a breaker without keys.
    place: u64,
    /// When it began, where the policy asks; else 0.
    started: u64,
}

/// A call that may not go: the state and the mode that said so, and for how many microseconds, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(NonZeroU64);

/// The index of the slot that stands alone.
pub(crate) const SINGLE: u32 = u32::MAX;

/// The index of a call that counts for nothing.
const NOWHERE: u32 = u32::MAX - 1;

// === impl Core ===

impl<K> Core<K> {
    #[inline(always)]
    pub(crate) fn slot(&self, index: u32) -> Option<(&Slot, &[Line])> {
        if index == SINGLE {
            return Some((&self.single.slot, &self.single.lines));
        }
        self.directory.as_ref()?.slot(index)
    }

    pub(crate) fn around<'a>(&'a self, lines: &'a [Line], moment: &'a Moment<'a>) -> Around<'a, Moment<'a>> {
        let counters = Counters { lines, layout: self.layout };
        let observed = self.is_observed();
        Around { policy: &self.policy, gauge: &self.busy.gauge, counters, ether: moment, observed }
    }

    pub(crate) fn moment(&self) -> Moment<'_> {
        Moment { clock: self.clock, draws: &self.busy.draws, now: Cell::new(None) }
    }

    /// Whether the word of the single slot alone lets a call through.
    #[inline(always)]
    pub(crate) fn waves_through(&self) -> bool {
        self.single.slot.word().is_plainly_closed()
    }

    /// Whether a call on the single slot would be refused now, whatever else happens until it comes.
    #[inline(always)]
    pub(crate) fn refuses(&self) -> Option<Refusal> {
        let word = self.single.slot.word();
        if word.is_plainly_open() {
            let wait = word.until().saturating_sub(self.clock.now());
            return (wait > 0).then(|| Refusal::new(State::Open, Mode::Normal, wait));
        }
        self.refuses_by(word)
    }

    #[cold]
    #[inline(never)]
    fn refuses_by(&self, word: Word) -> Option<Refusal> {
        match word.peek(|| self.clock.now(), &self.policy) {
            Peek::Refuse(wait) if word.mode() != Mode::ObserveOnly => {
                Some(Refusal::new(word.mode().shows(word.state()), word.mode(), wait))
            }
            Peek::Refuse(_) | Peek::Admit | Peek::Bypass | Peek::Ask => None,
        }
    }

    /// Lets a call of a breaker without keys through, if the word alone says so.
    #[inline(always)]
    pub(crate) fn wave_through(&self) -> Option<Admitted> {
        let word = self.single.slot.word();
        word.is_plainly_closed().then(|| self.admitted(SINGLE, word))
    }

    /// Decides on a call of a breaker without keys.
    #[cold]
    pub(crate) fn admit(&self) -> Result<Admitted, Box<CircuitOpen>> {
        self.admit_at_single(|| self.name.clone())
    }

    fn admit_at_single(&self, label: impl FnOnce() -> KeyLabel) -> Result<Admitted, Box<CircuitOpen>> {
        let moment = self.moment();
        let Lone { slot, lines } = &self.single;
        match slot.admit(0, &self.around(lines, &moment)) {
            Ok(admission) => self.conclude(SINGLE, admission, label, &moment),
            // Nobody ever leaves the single slot.
            Err(Moved) => Ok(Admitted::BYPASS),
        }
    }

    /// A call that the word alone let through.
    #[inline(always)]
    fn admitted(&self, index: u32, word: Word) -> Admitted {
        // Only where the word is not pristine may the policy ask for a stopwatch.
        let started = if word.is_pristine() || !self.policy.stopwatch { 0 } else { self.started() };
        Admitted { word, place: (!index).into(), started }
    }

    #[inline(never)]
    fn started(&self) -> u64 {
        self.clock.now()
    }

    fn conclude(
        &self,
        index: u32,
        admission: Admission,
        label: impl FnOnce() -> KeyLabel,
        moment: &Moment<'_>,
    ) -> Result<Admitted, Box<CircuitOpen>> {
        self.tell(index, admission.told);
        let started = if self.policy.stopwatch { moment.now() } else { 0 };
        match admission.verdict {
            Verdict::Admit(ticket) => Ok(Admitted::new(index, ticket, started)),
            Verdict::Refuse(wait) => {
                let refusal = Refusal::new(admission.state, admission.mode, wait);
                if refusal.mode() == Mode::ObserveOnly {
                    self.tell_rejected(refusal, label);
                    return Ok(Admitted::BYPASS);
                }
                Err(self.reject(refusal, label))
            }
        }
    }

    /// The error of a call that is refused.
    #[inline]
    pub(crate) fn reject(&self, refusal: Refusal, label: impl FnOnce() -> KeyLabel) -> Box<CircuitOpen> {
        if self.observer.is_some() {
            return self.reject_observed(refusal, label());
        }
        // In its place, not moved there: it is seven times the width of a register.
        let room = Box::<CircuitOpen>::new_uninit();
        Box::write(room, CircuitOpen::new(label(), refusal))
    }

    #[cold]
    #[inline(never)]
    fn reject_observed(&self, refusal: Refusal, label: KeyLabel) -> Box<CircuitOpen> {
        self.tell_rejected(refusal, || label.clone());
        Box::new(CircuitOpen::new(label, refusal))
    }

    /// The error of a call that is refused by a breaker without keys.
    #[inline(never)]
    pub(crate) fn reject_unkeyed(&self, refusal: Refusal) -> Box<CircuitOpen> {
        self.reject(refusal, || self.name.clone())
    }

    /// Takes in the result of a call. `now` is given where the clock was read already.
    #[cold]
    pub(crate) fn settle(&self, admitted: &Admitted, mark: Mark, hint: Option<u64>, now: Option<u64>) {
        let Some((slot, lines)) = self.slot(admitted.index()) else { return };
        let moment = Moment { now: Cell::new(now), ..self.moment() };
        let took = self.policy.stopwatch.then(|| moment.now().saturating_sub(admitted.started));
        let told = slot.settle(admitted.ticket(), &Done { mark, took, hint }, &self.around(lines, &moment));
        self.tell(admitted.index(), told);
    }

    /// Takes in the success of a call: in most cases there is nothing to do, or only something to record.
    #[inline(always)]
    pub(crate) fn settle_success(&self, admitted: &Admitted) {
        if admitted.place == 0 {
            let word = self.single.slot.word();
            // CORRECTNESS: whatever generation let the call through. In the one that stands nothing is counted, and a
            // success of an earlier one is late.
            if word.is_plainly_pristine() {
                return;
            }
            if word == admitted.word && word.is_plainly_timed() {
                return self.record_success(admitted, &self.single.lines);
            }
        }
        self.settle_success_of(admitted);
    }

    /// The same, where there may be something to do. Not written into every caller, and not cold either: each call of a
    /// breaker with keys comes this way.
    #[inline(never)]
    fn settle_success_of(&self, admitted: &Admitted) {
        let Some((slot, lines)) = self.slot(admitted.index()) else { return };
        let word = slot.word();
        if word == admitted.word && admitted.probe() == 0 {
            if word.is_pristine() {
                return;
            }
            if word.is_only_timed() {
                return self.record_success(admitted, lines);
            }
        }
        self.settle(admitted, Mark::Success, None, None);
    }

    /// The success of an ordinary call that concerns no one but windows over a time, unless it was slow.
    #[inline(never)]
    fn record_success(&self, admitted: &Admitted, lines: &[Line]) {
        let now = Instant::now();
        match Recent::spot_of(self.id, now) {
            Some(spot) => {
                Counters { lines, layout: self.layout }.record_good(spot, admitted.word.generation());
            }
            None => self.record_success_at(now, admitted, lines),
        }
    }

    #[inline(never)]
    fn record_success_at(&self, now: Instant, admitted: &Admitted, lines: &[Line]) {
        let counters = Counters { lines, layout: self.layout };
        let stripe = counters.stripe(stripe::of_this_thread());
        let (now, generation) = (self.clock.micros_at(now), admitted.word.generation());
        if self.policy.stopwatch {
            let took = Some(now.saturating_sub(admitted.started));
            if self.policy.is_bad(&Done { mark: Mark::Success, took, hint: None }) {
                return self.settle(admitted, Mark::Success, None, Some(now));
            }
        }
        for rule in &self.policy.rules {
            if let Window::Time(window) = &rule.window {
                counters.record(window, stripe, generation, now, false);
            }
        }
        if let Some(window) = &self.policy.only {
            let epoch = now / window.width;
            let (since, until) = (epoch.checked_mul(window.width), (epoch + 1).checked_mul(window.width));
            if let (Some(since), Some(until)) = (since, until)
                && let (Some(since), Some(until)) = (self.clock.at(since), self.clock.at(until))
            {
                Recent::remember(self.id, since, until, counters.spot(window, stripe, epoch));
            }
        }
    }

    #[inline]
    pub(crate) fn tell(&self, index: u32, told: Option<Box<Told>>) {
        if let Some(told) = told {
            self.tell_of(index, *told);
        }
    }

    fn tell_of(&self, index: u32, told: Told) {
        let Told { change, label, mode, generation } = told;
        let key = label.unwrap_or_else(|| self.label_of_single(index));
        let event = match change {
            Change::State { from, to, reason } => BreakerEvent::Changed { key, from, to, reason, mode, generation },
            Change::ProbesLost(probes) => BreakerEvent::ProbesLost { key, probes },
            Change::HeldBack(reason) => BreakerEvent::HeldBack { key, reason },
        };
        unless_it_ends_us(|| trace::tell(&event));
        self.observe(&event);
    }

    fn label_of_single(&self, index: u32) -> KeyLabel {
        match index {
            SINGLE if self.directory.is_some() => KeyLabel::new(OVERFLOW),
            SINGLE => self.name.clone(),
            _ => KeyLabel::EMPTY,
        }
    }

    fn tell_rejected(&self, refusal: Refusal, label: impl FnOnce() -> KeyLabel) {
        if self.observer.is_some() {
            let (state, mode, retry_in) = (refusal.state(), refusal.mode(), refusal.wait());
            self.observe(&BreakerEvent::Rejected { key: label(), state, retry_in, mode });
        }
    }

    fn observe(&self, event: &BreakerEvent) {
        let Some(observer) = &self.observer else { return };
        unless_it_ends_us(|| observer.observe(event));
    }

    /// Whether anybody wants to hear of changes.
    fn is_observed(&self) -> bool {
        self.observer.is_some() || trace::listens()
    }
}

/// Runs the code of a user, whose panic is that of the call.
fn unless_it_ends_us(tell: impl FnOnce()) {
    if std::thread::panicking() {
        // A call that panicked is being dropped. A second panic would end the process.
        let _stopped = catch_unwind(AssertUnwindSafe(tell));
    } else {
        tell();
    }
}

impl<K: Hash + Eq> Core<K> {
    pub(crate) fn new(
        policy: Policy,
        settings: Settings,
        label: fn(&K) -> KeyLabel,
        only_key: Option<K>,
        observer: Option<Box<dyn Observe<BreakerEvent> + Send + Sync>>,
    ) -> Self {
        let layout = Layout::new(policy.cells, settings.stripes(policy.cells));
        let lines = layout.lines();
        let Settings { keyed, name, max_keys, idle, mode, seed, .. } = settings;
        let seed = seed.unwrap_or_else(chance::entropy);
        let core = Self {
            policy,
            layout,
            single: Lone::new(lines),
            directory: keyed.then(|| Directory::new(max_keys, lines, micros(idle), mode)),
            observer,
            name,
            label,
            only_key,
            clock: Clock::start(),
            id: Id::next(),
            busy: Busy { draws: AtomicU64::new(seed), ..Busy::default() },
        };
        let Lone { slot, lines } = &core.single;
        slot.occupy(0, mode, None, &core.around(lines, &core.moment()));
        core.busy.gauge.keys.store(u32::from(!keyed), Ordering::Relaxed);
        core
    }

    /// Lets a call for `key` through, if the word alone says so; else says where to ask, if that is known.
    #[inline(always)]
    pub(crate) fn wave_through_for<Q>(&self, key: &Q) -> Result<Admitted, Option<Place>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let place = self.directory.as_ref().and_then(|directory| directory.find(key));
        if let (Some(place), Some(directory)) = (place, &self.directory)
            && let Some((slot, _)) = directory.slot(place.index)
        {
            let word = slot.word();
            // CORRECTNESS: the tenancy after the word, as in `Slot::admit`.
            if word.is_plainly_closed() && slot.tenancy() == place.tenancy {
                directory.touch(slot);
                return Ok(self.admitted(place.index, word));
            }
        }
        Err(place)
    }

    /// Decides on a call for `key`, which was found at `place`.
    #[cold]
    pub(crate) fn admit_for<Q>(
        &self,
        mut place: Option<Place>,
        key: &Q,
        label: fn(&Q) -> KeyLabel,
    ) -> Result<Admitted, Box<CircuitOpen>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(directory) = &self.directory else { return self.admit() };
        let moment = self.moment();
        loop {
            let Some(Place { index, tenancy }) = place.or_else(|| self.add(directory, key, &moment)) else {
                self.busy.overflowed.fetch_add(1, Ordering::Relaxed);
                if self.observer.is_some() {
                    self.observe(&BreakerEvent::Overflow { key: label(key) });
                }
                return self.admit_at_single(|| label(key));
            };
            let Some((slot, lines)) = directory.slot(index) else { return Ok(Admitted::BYPASS) };
            directory.touch(slot);
            if let Ok(admission) = slot.admit(tenancy, &self.around(lines, &moment)) {
                return self.conclude(index, admission, || label(key), &moment);
            }
            // The key was removed after it was found. Whoever removes it holds the lock until it is gone.
            drop(directory.write());
            place = directory.find(key);
        }
    }

    /// Finds a place for a key that was not found.
    pub(crate) fn add<Q>(&self, directory: &Directory<K>, key: &Q, moment: &Moment<'_>) -> Option<Place>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut writer = directory.try_write(self.busy.gauge.keys.load(Ordering::Relaxed))?;
        let around = self.around(&[], moment);
        let found = directory.find(key);
        if found.is_some() {
            return found;
        }
        if writer.is_round_due(moment.now()) {
            directory.expire(&mut writer, moment.now(), &around);
        }
        let place = directory.has_room(&writer).then(|| key.to_owned()).and_then(|key| {
            let label = self.is_observed().then(|| (self.label)(&key));
            directory.add(&mut writer, key, label, &around)
        });
        self.release(writer);
        place
    }

    /// Lets go of the directory, then tells observers what was done.
    pub(crate) fn release(&self, mut writer: MutexGuard<'_, Writer>) {
        let told = std::mem::take(&mut writer.told);
        drop(writer);
        for told in told {
            self.tell_of(NOWHERE, told);
        }
    }
}

impl<K> fmt::Debug for Core<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("policy", &self.policy).field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Admitted ===

impl Admitted {
    /// It goes, and nobody wants to know how it ended.
    const BYPASS: Self = Self { word: Word(0), place: !NOWHERE as u64, started: 0 };

    fn new(index: u32, Ticket { word, pass }: Ticket, started: u64) -> Self {
        match pass {
            Pass::Ordinary => Self { word, place: (!index).into(), started },
            Pass::Probe(probe) => Self { word, place: u64::from(probe) << 32 | u64::from(!index), started },
            Pass::Bypass => Self::BYPASS,
        }
    }

    #[inline(always)]
    fn index(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        {
            !(self.place as u32)
        }
    }

    #[inline(always)]
    fn probe(&self) -> u32 {
        (self.place >> 32) as u32
    }

    fn ticket(&self) -> Ticket {
        let pass = if self.probe() == 0 { Pass::Ordinary } else { Pass::Probe(self.probe()) };
        Ticket { word: self.word, pass }
    }
}

// === impl Refusal ===

impl Refusal {
    fn new(state: State, mode: Mode, micros: u64) -> Self {
        let wait = micros.clamp(1, u64::MAX >> 4);
        let bits = wait << 4 | (mode as u64) << 2 | state as u64;
        // Never 0, since the wait is not.
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    pub(crate) fn state(self) -> State {
        State::from_bits(self.0.get())
    }

    pub(crate) fn mode(self) -> Mode {
        Mode::from_bits(self.0.get() >> 2)
    }

    pub(crate) fn wait(self) -> Duration {
        Duration::from_micros(self.0.get() >> 4)
    }
}

// === impl Lone ===

impl Lone {
    fn new(lines: usize) -> Self {
        Self { slot: Slot::vacant(), lines: (0..lines).map(|_| Line::new()).collect() }
    }
}

// === impl Moment ===

impl Ether for Moment<'_> {
    fn now(&self) -> u64 {
        if let Some(now) = self.now.get() {
            return now;
        }
        let now = self.clock.now();
        self.now.set(Some(now));
        now
    }

    fn draw(&self) -> u64 {
        chance::mix(self.draws.fetch_add(chance::GAMMA, Ordering::Relaxed))
    }

    #[inline]
    fn stripe(&self) -> usize {
        stripe::of_this_thread()
    }
}
