use forebay_intake::Held;
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// How items that came back retryable wait for another attempt.
pub(crate) struct Parking<T> {
    /// Clones a request: the inner service consumes the one it gets.
    keep: fn(&T) -> T,
    /// Starts the waits of an item that is parked for the first time.
    backoff: Arc<dyn Fn() -> Delays + Send + Sync>,
    /// The most bytes of parked items; beyond it the oldest is evicted.
    pub(crate) max_bytes: usize,
    /// The longest wait that a server's hint may ask for.
    pub(crate) max_hint: Duration,
}

/// How long to wait before each further attempt.
pub(crate) type Delays = Box<dyn Iterator<Item = Duration> + Send>;

/// Items that wait aside, without a worker, for another attempt. Pure state.
///
/// After a failure one goes at a time; whenever one is taken, twice as many may.
#[derive(Debug)]
pub(crate) struct ParkingLot<T> {
    /// By when they are due, then by when they came.
    waits: BTreeMap<(Instant, u64), Parked<T>>,
    came: u64,
    bytes: usize,
    /// Attempts under way.
    out: usize,
    /// How many there may be.
    allowed: usize,
}

/// What became of the attempt of an item that was parked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Taken,
    Failed,
    /// It was not made.
    Withdrawn,
}

/// An item that waits for another attempt, with its slot.
pub(crate) struct Parked<T> {
    pub(crate) item: T,
    pub(crate) held: Held,
    pub(crate) delays: Delays,
}

// === impl Parking ===

impl<T> Parking<T> {
    pub(crate) fn new<B>(backoff: B) -> Self
    where
        T: Clone,
        B: IntoIterator<Item = Duration, IntoIter: Send + 'static> + Clone + Send + Sync + 'static,
    {
        let backoff = Arc::new(move || -> Delays { Box::new(backoff.clone().into_iter()) });
        Self { keep: T::clone, backoff, max_bytes: usize::MAX, max_hint: Duration::from_secs(60) }
    }

    /// A request like this one. Runs code of the user; call it without a lock.
    pub(crate) fn keep(&self, request: &T) -> T {
        (self.keep)(request)
    }

    /// The waits of an item that came back for the first time. Runs code of the user; call it without a lock.
    pub(crate) fn delays(&self) -> Delays {
        (self.backoff)()
    }
}

impl<T> Clone for Parking<T> {
    fn clone(&self) -> Self {
        let Self { keep, backoff, max_bytes, max_hint } = self;
        Self { keep: *keep, backoff: Arc::clone(backoff), max_bytes: *max_bytes, max_hint: *max_hint }
    }
}

impl<T> fmt::Debug for Parking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parking").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

// === impl ParkingLot ===

impl<T> ParkingLot<T> {
    pub(crate) const fn new() -> Self {
        Self { waits: BTreeMap::new(), came: 0, bytes: 0, out: 0, allowed: 1 }
    }

    pub(crate) fn park(&mut self, parked: Parked<T>, due: Instant) {
        self.came += 1;
        self.bytes += parked.held.charge().bytes;
        self.waits.insert((due, self.came), parked);
    }

    /// One that is due at `now`, if it may go.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Parked<T>> {
        if self.next_due()? > now {
            return None;
        }
        self.out += 1;
        self.pop()
    }

    /// When the next may go; `None` if none waits, or those under way have to land before.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let ((due, _), _) = self.waits.first_key_value()?;
        (self.out < self.allowed).then_some(*due)
    }

    /// An attempt is over: the server has taken the item, is still away, or was not asked.
    pub(crate) fn landed(&mut self, attempt: Attempt) {
        self.out -= 1;
        self.allowed = match attempt {
            Attempt::Taken => self.allowed.saturating_mul(2),
            Attempt::Failed => 1,
            Attempt::Withdrawn => self.allowed,
        };
    }

    /// The one that came first, if more than `max_bytes` wait.
    pub(crate) fn evict(&mut self, max_bytes: usize) -> Option<Parked<T>> {
        if self.bytes <= max_bytes {
            return None;
        }
        let oldest = self.waits.keys().min_by_key(|(_, came)| *came).copied()?;
        let parked = self.waits.remove(&oldest)?;
        self.bytes -= parked.held.charge().bytes;
        Some(parked)
    }

    /// The next one, whether or not it is due.
    pub(crate) fn pop(&mut self) -> Option<Parked<T>> {
        let (_, parked) = self.waits.pop_first()?;
        self.bytes -= parked.held.charge().bytes;
        Some(parked)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waits.len()
    }
}

// === impl Parked ===

impl<T: fmt::Debug> fmt::Debug for Parked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parked").field("item", &self.item).field("held", &self.held).finish_non_exhaustive()
    }
}
