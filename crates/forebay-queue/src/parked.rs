use crate::routed::Routed;
use forebay_intake::Slot;
use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// How items that came back retryable wait for another attempt.
pub(crate) struct Parking<T> {
    /// Clones a request: the inner service consumes the one it gets.
    keep: Arc<dyn Fn(&T) -> T + Send + Sync>,
    /// Starts the waits of an item that is parked for the first time.
    backoff: Arc<dyn Fn() -> Delays + Send + Sync>,
    /// The most bytes of parked items; beyond it the oldest is evicted.
    pub(crate) max_bytes: usize,
    /// The longest wait that a server's hint may ask for.
    pub(crate) max_hint: Duration,
}

/// The waits before each further attempt.
pub(crate) type Delays = Box<dyn Iterator<Item = Duration> + Send>;

/// The parked items, which wait without a worker for another attempt. Pure state.
///
/// After a failure one attempt is made at a time; each success allows twice as many.
#[derive(Debug)]
pub(crate) struct ParkedItems<T> {
    /// The items by the instant at which they are due, then by the order in which they were parked.
    waits: BTreeMap<(Instant, u64), Parked<T>>,
    /// How many items were parked so far; the number of the last one.
    last: u64,
    /// The weight of the parked items.
    bytes: usize,
    /// The attempts under way of items that were parked.
    out: usize,
    /// How many attempts there may be at a time.
    allowed: usize,
}

/// How an attempt of an item that was parked has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The result was final: the server took the item, or refused it for good.
    Taken,
    /// The server did not take the item, or the attempt was given up.
    Failed,
    /// The attempt was not made.
    Withdrawn,
}

/// An item that waits for another attempt, with its slot.
pub(crate) struct Parked<T> {
    pub(crate) item: T,
    pub(crate) slot: Slot,
    /// The waits that are left after this one.
    pub(crate) delays: Delays,
}

// === impl Parking ===

impl<T> Parking<T> {
    pub(crate) fn new<B>(backoff: B) -> Self
    where
        T: Clone + 'static,
        B: IntoIterator<Item = Duration, IntoIter: Send + 'static> + Clone + Send + Sync + 'static,
    {
        let backoff = Arc::new(move || -> Delays { Box::new(backoff.clone().into_iter()) });
        Self { keep: Arc::new(T::clone), backoff, max_bytes: usize::MAX, max_hint: Duration::from_secs(60) }
    }

    /// The same for requests that are stored with their services.
    pub(crate) fn for_routed<S>(self) -> Parking<Routed<T, S>>
    where
        T: 'static,
        S: Clone + 'static,
    {
        let Self { keep, backoff, max_bytes, max_hint } = self;
        let keep = Arc::new(move |Routed { request, service }: &Routed<T, S>| Routed {
            request: keep(request),
            service: service.clone(),
        });
        Parking { keep, backoff, max_bytes, max_hint }
    }

    /// A copy of `request`. Runs user code; call it without a lock.
    pub(crate) fn keep(&self, request: &T) -> T {
        (self.keep)(request)
    }

    /// The waits of an item that is parked for the first time. Runs user code; call it without a lock.
    pub(crate) fn delays(&self) -> Delays {
        (self.backoff)()
    }
}

impl<T> Clone for Parking<T> {
    fn clone(&self) -> Self {
        let Self { keep, backoff, max_bytes, max_hint } = self;
        Self { keep: Arc::clone(keep), backoff: Arc::clone(backoff), max_bytes: *max_bytes, max_hint: *max_hint }
    }
}

impl<T> fmt::Debug for Parking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parking").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

// === impl ParkedItems ===

impl<T> ParkedItems<T> {
    pub(crate) const fn new() -> Self {
        Self { waits: BTreeMap::new(), last: 0, bytes: 0, out: 0, allowed: 1 }
    }

    pub(crate) fn park(&mut self, parked: Parked<T>, due: Instant) {
        self.last += 1;
        self.bytes += parked.slot.charge().bytes;
        self.waits.insert((due, self.last), parked);
    }

    /// An item that is due at `now`, if another attempt may be made.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Parked<T>> {
        if self.next_due()? > now {
            return None;
        }
        self.out += 1;
        self.pop()
    }

    /// When the next attempt may be made; `None` if no item waits, or an attempt under way has to end before.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let ((due, _), _) = self.waits.first_key_value()?;
        (self.out < self.allowed).then_some(*due)
    }

    /// An attempt has ended.
    pub(crate) fn end_attempt(&mut self, attempt: Attempt) {
        self.out -= 1;
        self.allowed = match attempt {
            Attempt::Taken => self.allowed.saturating_mul(2),
            Attempt::Failed => 1,
            Attempt::Withdrawn => self.allowed,
        };
    }

    /// The item that was parked first, if more than `max_bytes` are parked.
    pub(crate) fn evict(&mut self, max_bytes: usize) -> Option<Parked<T>> {
        if self.bytes <= max_bytes {
            return None;
        }
        let oldest = self.waits.keys().min_by_key(|(_, number)| *number).copied()?;
        let parked = self.waits.remove(&oldest)?;
        self.bytes -= parked.slot.charge().bytes;
        Some(parked)
    }

    /// The next item, whether or not it is due.
    pub(crate) fn pop(&mut self) -> Option<Parked<T>> {
        let (_, parked) = self.waits.pop_first()?;
        self.bytes -= parked.slot.charge().bytes;
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
        f.debug_struct("Parked").field("item", &self.item).field("held", &self.slot).finish_non_exhaustive()
    }
}
