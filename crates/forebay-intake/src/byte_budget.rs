use crate::{
    limits::{MOST_BYTES, share_of},
    sender_lines::SenderLines,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release},
        lock,
    },
    wakers::wake,
};
use forebay_core::{ConfigError, Priority};
use std::{
    fmt,
    sync::Arc,
    task::{Wake, Waker},
};

/// One limit of bytes for several queues, batchers and exporters together.
///
/// Each of them keeps its own [`Limits`](crate::Limits) as well: an item is admitted when there is room for it within them and
/// within the budget. It is charged for its weight from its admission until its fate, whatever that is, and what a queue holds
/// when it is dropped goes back too. The members together never hold more than the budget. Clones share it.
///
/// | setting | default | allowed |
/// | --- | --- | --- |
/// | [`new`](Self::new) | none | 1 to 2^53 bytes |
/// | [`set_soft_limit`](Self::set_soft_limit) | 0.9 | a share from 0.0 to 1.0 |
///
/// - **Refusals** for the sake of the budget have a reason of their own: [`DropReason::ByteBudget`]. An item that is heavier than
///   the whole budget is [too large](forebay_core::DropReason::TooLarge).
/// - **The high lane** is admitted up to the whole budget, the normal lane while less than the soft limit is held.
/// - **Evictions**: [`Overflow::DropOldest`](crate::Overflow::DropOldest) evicts items of the queue that was offered the new one,
///   and of no other. Where these would not make enough room, none is evicted. What they free is not for others.
/// - **Senders that wait** for the budget are woken when any member gives bytes back: each time one, for whose item there is
///   room, and the next when that one has tried. Members have their turns in the order in which they began to wait. There is no
///   line across members: a sender of one may be overtaken by lighter items of another, or by items that are offered to it.
///
/// No member has a guaranteed part: one that fills the budget leaves nothing to the others, unless its own limits keep it
/// below.
///
/// ```
/// use forebay_intake::ByteBudget;
///
/// let budget = ByteBudget::new(64 << 20)?;
/// assert_eq!((budget.bytes(), budget.max_bytes()), (0, 64 << 20));
/// # Ok::<(), forebay_core::ConfigError>(())
/// ```
///
/// [`DropReason::ByteBudget`]: forebay_core::DropReason::ByteBudget
#[derive(Clone)]
pub struct ByteBudget {
    pub(crate) pool: Arc<Pool>,
}

/// The bytes of a budget, and the members that wait for some.
///
/// The bytes are one atomic number, since each member reserves them under a lock of its own.
pub(crate) struct Pool {
    /// The most bytes that may be held.
    most: u64,
    /// From here on only the high lane is admitted.
    soft: AtomicU64,
    /// The bytes that are held, and [`WAITS`] while a member is in `waiting`.
    ///
    /// CORRECTNESS: both are one word, so that to give bytes back and to see that a member waits for them is one step.
    word: AtomicU64,
    /// The members with a sender that found no room, in the order in which they began to wait, each of them once.
    waiting: Mutex<Vec<Waiting>>,
}

/// A member that waits for bytes.
struct Waiting {
    /// Its senders.
    lines: Arc<SenderLines>,
    /// The bytes for which its high lane has a turn; `None` where that waits for none.
    high: Option<u64>,
    /// As `high`, in its normal lane.
    normal: Option<u64>,
}

/// Set while a member waits for bytes.
const WAITS: u64 = 1 << 63;

/// The share of the budget that items of normal priority may fill, where none is set.
const SOFT_LIMIT: f64 = 0.9;

// === impl ByteBudget ===

impl ByteBudget {
    /// A budget of `bytes`, as `Weigh` counts them, of which nothing is held; its soft limit is 0.9.
    ///
    /// # Errors
    ///
    /// When `bytes` is zero or above 2^53.
    pub fn new(bytes: usize) -> Result<Self, ConfigError> {
        if bytes == 0 || bytes as u64 > MOST_BYTES {
            return Err(ConfigError::new("byte_budget", bytes, "1 to 2^53"));
        }
        let most = bytes as u64;
        let pool = Pool {
            most,
            soft: AtomicU64::new(share_of(most, SOFT_LIMIT)),
            word: AtomicU64::new(0),
            waiting: Mutex::new(Vec::new()),
        };
        Ok(Self { pool: Arc::new(pool) })
    }

    /// Moves the share of the budget above which only high priority is admitted. 1.0 switches the limit off, 0.0 admits high
    /// priority alone.
    ///
    /// It may be called at any time and by any thread, such as one that watches the memory of the program. What is held stays.
    /// Senders that wait try again at once. An exporter with a spool begins to move what it holds there at three quarters of the
    /// soft limit.
    ///
    /// ```no_run
    /// use forebay_intake::ByteBudget;
    /// use std::{fs, io, thread, time::Duration};
    ///
    /// /// The share of its memory that this control group uses.
    /// fn memory_in_use() -> io::Result<f64> {
    ///     let read = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/{file}"));
    ///     let (current, max) = (read("memory.current")?, read("memory.max")?);
    ///     // `max` stands for no limit.
    ///     let max = max.trim().parse().unwrap_or(f64::INFINITY);
    ///     Ok(current.trim().parse().unwrap_or(0.0) / max)
    /// }
    ///
    /// let budget = ByteBudget::new(256 << 20)?;
    /// let watched = budget.clone();
    /// thread::spawn(move || {
    ///     while let Ok(in_use) = memory_in_use() {
    ///         // From 80 % on the soft limit falls, and at 100 % only high priority is admitted.
    ///         let share = ((1.0 - in_use) / 0.2).clamp(0.0, 0.9);
    ///         watched.set_soft_limit(share).expect("between 0 and 1");
    ///         thread::sleep(Duration::from_secs(1));
    ///     }
    /// });
    /// # Ok::<(), forebay_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When `share` is below 0.0, above 1.0, or not a number; the limit is unchanged then.
    pub fn set_soft_limit(&self, share: f64) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(ConfigError::new("soft_limit", share, "a share from 0.0 to 1.0"));
        }
        self.pool.soft.store(share_of(self.pool.most, share), Release);
        self.pool.give_turns(usize::MAX);
        Ok(())
    }

    /// The bytes that are held by all members together.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most the budget, which was a `usize`")]
    pub fn bytes(&self) -> usize {
        self.pool.held() as usize
    }

    /// The most bytes that may be held.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "it was a `usize`")]
    pub fn max_bytes(&self) -> usize {
        self.pool.most as usize
    }

    /// How full the budget is; 1.0 is full.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people; both are at most 2^53")]
    pub fn fullness(&self) -> f64 {
        self.pool.held() as f64 / self.pool.most as f64
    }
}

impl fmt::Debug for ByteBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteBudget")
            .field("bytes", &self.bytes())
            .field("max_bytes", &self.max_bytes())
            .field("soft_bytes", &self.pool.soft.load(Relaxed))
            .finish()
    }
}

// === impl Pool ===

impl Pool {
    fn held(&self) -> u64 {
        self.word.load(Relaxed) & !WAITS
    }

    /// The most bytes that may be held.
    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// Whether an item of `bytes` has room, once `freed` bytes are given back.
    pub(crate) fn has_room(&self, bytes: u64, priority: Priority, freed: u64) -> bool {
        self.fits(self.held().saturating_sub(freed), bytes, priority)
    }

    fn fits(&self, held: u64, bytes: u64, priority: Priority) -> bool {
        let below = match priority {
            Priority::High => true,
            Priority::Normal => held < self.soft.load(Acquire),
        };
        below && bytes <= self.most.saturating_sub(held)
    }

    /// Reserves `bytes`, of which the member has kept `kept` already; returns how many of these it has used, and `None` where
    /// there is no room.
    #[inline]
    pub(crate) fn reserve(&self, bytes: u64, priority: Priority, kept: u64) -> Option<u64> {
        let used = kept.min(bytes);
        let mut word = self.word.load(Relaxed);
        loop {
            let held = word & !WAITS;
            if !self.fits(held.saturating_sub(kept), bytes, priority) {
                return None;
            }
            // CORRECTNESS: the look and the reservation are one step, so that members together never hold more than the budget.
            // What is added fits below the flag.
            match self.word.compare_exchange_weak(word, word + (bytes - used), AcqRel, Relaxed) {
                Ok(_) => return Some(used),
                Err(changed) => word = changed,
            }
        }
    }

    /// Gives `bytes` back, and returns whether a member waits for some. The caller then has it woken, without a lock.
    #[inline]
    #[must_use = "a member may sleep for ever"]
    pub(crate) fn give_back(&self, bytes: u64) -> bool {
        let before = self.word.fetch_sub(bytes, AcqRel);
        debug_assert!(before & !WAITS >= bytes, "{bytes} bytes given back, {} held", before & !WAITS);
        before & WAITS != 0
    }

    /// Whether more than three quarters of what the normal lane may fill are held, apart from `leaving`.
    pub(crate) fn is_under_pressure(&self, leaving: u64) -> bool {
        let soft = self.soft.load(Relaxed);
        self.held().saturating_sub(leaving) > soft - soft / 4
    }

    /// Whether a member waits for bytes.
    pub(crate) fn has_waiting(&self) -> bool {
        self.word.load(Acquire) & WAITS != 0
    }

    /// From now on `member` has a turn when an item of `bytes` has room. It looks once more after this.
    ///
    /// CORRECTNESS: bytes that are given back after the flag is set are seen by the one that gives them; those that were given
    /// back before are seen by the look that follows, since both go through one word. A soft limit is stored before the line is
    /// locked, so that it is seen by that look too, or finds the member in the line.
    pub(crate) fn wait(&self, member: &Arc<SenderLines>, bytes: u64, priority: Priority) {
        let mut waiting = lock(&self.waiting);
        let known = waiting.iter().position(|known| Arc::ptr_eq(&known.lines, member));
        match known.and_then(|known| waiting.get_mut(known)) {
            // The least of what its senders have asked for since its last turn: it is the first of them that has the turn, and
            // that asks again if it needs more.
            Some(known) => {
                let need = known.need(priority);
                *need = Some(need.map_or(bytes, |least| least.min(bytes)));
            }
            None => {
                let mut new = Waiting { lines: Arc::clone(member), high: None, normal: None };
                *new.need(priority) = Some(bytes);
                waiting.push(new);
                self.word.fetch_or(WAITS, AcqRel);
            }
        }
    }

    /// A member is dropped.
    pub(crate) fn leave(&self, member: &Arc<SenderLines>) {
        self.retain(|known| !Arc::ptr_eq(&known.lines, member));
    }

    /// Changes the line under its lock.
    fn retain(&self, keeps: impl FnMut(&mut Waiting) -> bool) {
        let mut waiting = lock(&self.waiting);
        waiting.retain_mut(keeps);
        if waiting.is_empty() {
            // CORRECTNESS: members enter the line under its lock, so that none has entered since.
            self.word.fetch_and(!WAITS, AcqRel);
        }
    }

    /// Wakes the first senders for whose items there is room, `most` at most; call it without a lock.
    ///
    /// A sender that finds its room taken when it tries waits again, and then the next one has the turn.
    fn give_turns(&self, most: usize) {
        let mut released = Vec::new();
        self.retain(|member| {
            for priority in [Priority::High, Priority::Normal] {
                let has_room = member.need(priority).is_some_and(|bytes| self.has_room(bytes, priority, 0));
                if released.len() < most && has_room {
                    *member.need(priority) = None;
                    // None where its sender waits no longer.
                    released.extend(member.lines.release(priority));
                }
            }
            member.high.is_some() || member.normal.is_some()
        });
        released.into_iter().for_each(wake);
    }

    /// A waker that gives one turn, for a caller that holds a lock now.
    pub(crate) fn turn(self: &Arc<Self>) -> Waker {
        Arc::clone(self).into()
    }
}

// === impl Waiting ===

impl Waiting {
    fn need(&mut self, priority: Priority) -> &mut Option<u64> {
        match priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
        }
    }
}

/// A turn of the budget is passed on as a waker, so that it is given after the lock of its member is released.
impl Wake for Pool {
    fn wake(self: Arc<Self>) {
        self.give_turns(1);
    }
}
