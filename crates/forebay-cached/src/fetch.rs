//! One fetch for all callers: which of them join it, what its end changes, and how they wait for it.

#[cfg(not(any(loom, shuttle)))]
use arc_swap::ArcSwap as Published;
#[cfg(any(loom, shuttle))]
use forebay_core::support::lock::model::Published;

use crate::{
    Fetched, Reading, RefreshError,
    state::{CacheState, Kept, Lookup, Policy},
};
use forebay_core::{
    BoxError,
    chance::SplitMix64,
    panic::Panic,
    single_flight::{InFlight, Polled, WaiterId, Work},
    support::{
        clock::{Timer, now},
        lock::Mutex,
    },
};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

pub(crate) type Fetcher<V> = Arc<dyn Fn() -> Work<Result<Fetched<V>, BoxError>> + Send + Sync>;
pub(crate) type Read<V> = Result<Reading<V>, RefreshError>;
type Shared<V> = Arc<InFlight<Result<Fetched<V>, RefreshError>, Read<V>>>;

/// What all clones of a [`Cached`](crate::Cached) share.
pub(crate) struct Inner<V> {
    /// The value while it is fresh; read without a lock.
    pub(crate) fresh: Published<Option<Kept<V>>>,
    /// CORRECTNESS: values, errors and fetches are user code when they are cloned or dropped. What leaves the state is handed
    /// out of each block that holds the lock, and dropped behind it.
    state: Mutex<State<V>>,
    fetch: Fetcher<V>,
    fetch_timeout: Duration,
    pub(crate) policy: Policy,
}

struct State<V> {
    /// The latest value and the latest failure.
    cache: CacheState<V>,
    /// The fetch whose value will count, if one runs.
    fetching: Option<Fetching<V>>,
    /// How many fetches were begun; the number of the latest.
    fetches: u64,
    /// What the jitter is drawn from.
    chance: SplitMix64,
}

struct Fetching<V> {
    /// Which fetch it is; the end of another one changes nothing.
    number: u64,
    /// The fetch itself, which its waiters poll.
    in_flight: Shared<V>,
    /// The fetch ends with the last of them.
    waiters: usize,
}

/// A caller that waits for a fetch.
pub(crate) struct Wait<V: Clone + Send + Sync + 'static> {
    inner: Arc<Inner<V>>,
    waiter: WaiterId,
    /// The number of the fetch and the fetch; `None` once the result is there.
    fetch: Option<(u64, Shared<V>)>,
}

/// Names a value in the path of a circle, by its type.
struct Named(&'static str);

// === impl Inner ===

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(crate) fn new(fetch: Fetcher<V>, policy: Policy, fetch_timeout: Duration, seed: u64) -> Self {
        let (cache, chance) = (CacheState::new(), SplitMix64::new(seed));
        let state = Mutex::new(State { cache, fetching: None, fetches: 0, chance });
        Self { fresh: Published::from_pointee(None), state, fetch, fetch_timeout, policy }
    }

    /// What is there, else the wait for a fetch.
    pub(crate) fn join(self: &Arc<Self>, now: Instant) -> Result<Read<V>, Wait<V>> {
        // CORRECTNESS: the look-up and the place in the fetch are one step under the lock, so that of several callers without a
        // value one begins the fetch, and the others wait for it.
        let (lookup, joined) = {
            let mut state = self.state.lock();
            let lookup = state.cache.lookup(now);
            let joins = match &lookup {
                // Those that come while one caller fetches have a value that is good enough.
                Lookup::Due(_) => state.fetching.is_none(),
                Lookup::Missing => true,
                Lookup::Fresh(_) | Lookup::Stale(..) | Lookup::Failed(_) => false,
            };
            (lookup, joins.then(|| state.join(|| self.begin())))
        };
        match (joined, lookup) {
            (Some(fetch), _) => Err(Wait { inner: Arc::clone(self), waiter: WaiterId::default(), fetch: Some(fetch) }),
            (None, Lookup::Fresh(kept) | Lookup::Due(kept)) => Ok(Ok(kept.reading(now, None))),
            (None, Lookup::Stale(kept, error)) => Ok(Ok(kept.reading(now, Some(error)))),
            (None, Lookup::Failed(error)) => Ok(Err(error)),
            (None, Lookup::Missing) => unreachable!("a caller without a value joins a fetch"),
        }
    }

    /// The fetch, which begins with its first poll: without a lock, and where its panic is caught.
    fn begin(&self) -> Shared<V> {
        let (fetch, timeout) = (Arc::clone(&self.fetch), self.fetch_timeout);
        let work: Work<_> = Box::pin(async move {
            let mut fetching = fetch();
            // A fetch that ends at its first poll needs no timer.
            let mut timer = None;
            poll_fn(|cx| match fetching.as_mut().poll(cx) {
                Poll::Ready(fetched) => Poll::Ready(fetched.map_err(RefreshError::failed)),
                Poll::Pending => {
                    let timer = timer.get_or_insert_with(|| Timer::after(timeout));
                    Pin::new(timer).poll(cx).map(|()| Err(RefreshError::timed_out()))
                }
            })
            .await
        });
        InFlight::of(work, Arc::new(Named(std::any::type_name::<V>())))
    }

    /// The fetch `number` has ended.
    fn complete(&self, number: u64, end: Result<Result<Fetched<V>, RefreshError>, Panic>) -> Read<V> {
        let now = now();
        match end.unwrap_or_else(|panic| Err(RefreshError::panicked(&panic))) {
            Ok(Fetched { value, ttl }) => {
                let value = Arc::new(value);
                let _replaced = {
                    let mut state = self.state.lock();
                    // A fetch that began before the value was set or invalidated serves those that wait for it, and no other.
                    state.take(number).map(|fetching| (fetching, self.store(&mut state, &value, ttl, now)))
                };
                Ok(Reading { value: V::clone(&value), age: Duration::ZERO, stale: None })
            }
            Err(error) => {
                let (usable, _replaced) = {
                    let mut state = self.state.lock();
                    let replaced = state.take(number).map(|fetching| {
                        let draw = state.chance.unit();
                        (fetching, state.cache.failed(error.clone(), now, &self.policy, draw))
                    });
                    (state.cache.usable(now), replaced)
                };
                match usable {
                    Some(kept) => Ok(kept.reading(now, kept.is_over(now).then_some(error))),
                    None => Err(error),
                }
            }
        }
    }

    /// Stores and publishes a value; what it replaces is dropped after the lock is released.
    fn store(&self, state: &mut State<V>, value: &Arc<V>, ttl: Option<Duration>, now: Instant) -> impl Sized + use<V> {
        let draw = state.chance.unit();
        let (kept, replaced) = state.cache.stored(Arc::clone(value), ttl, now, &self.policy, draw);
        (replaced, self.fresh.swap(Arc::new(Some(kept))))
    }

    pub(crate) fn set(&self, Fetched { value, ttl }: Fetched<V>) {
        let (now, value) = (now(), Arc::new(value));
        // A fetch that runs loses its place: its end changes nothing any more.
        let _replaced = {
            let mut state = self.state.lock();
            (state.fetching.take(), self.store(&mut state, &value, ttl, now))
        };
    }

    pub(crate) fn invalidate(&self) {
        let now = now();
        // CORRECTNESS: the published value is taken back under the lock that a fetch stores under, so that no fetch which began
        // before publishes a value after it.
        let _replaced = {
            let mut state = self.state.lock();
            (state.fetching.take(), state.cache.expire(now), self.fresh.swap(Arc::new(None)))
        };
    }

    pub(crate) fn peek(&self) -> Option<Reading<V>> {
        // The lock is released before the value is cloned, since its `Clone` is user code.
        let latest = { self.state.lock().cache.latest() };
        latest.map(|(kept, error)| kept.reading(now(), error))
    }

    fn leave(&self, number: u64) {
        // CANCEL: with its last waiter the fetch leaves the state, and is dropped after the lock is released.
        let _fetch = {
            let mut state = self.state.lock();
            match &mut state.fetching {
                Some(fetching) if fetching.number == number => {
                    fetching.waiters = fetching.waiters.saturating_sub(1);
                    if fetching.waiters == 0 { state.fetching.take() } else { None }
                }
                _ => None,
            }
        };
    }
}

// === impl State ===

impl<V> State<V> {
    /// A place in the fetch that runs, or in the one that `begin` makes.
    fn join(&mut self, begin: impl FnOnce() -> Shared<V>) -> (u64, Shared<V>) {
        let fetches = &mut self.fetches;
        let fetching = self.fetching.get_or_insert_with(|| {
            *fetches += 1;
            Fetching { number: *fetches, in_flight: begin(), waiters: 0 }
        });
        fetching.waiters += 1;
        (fetching.number, Arc::clone(&fetching.in_flight))
    }

    /// Ends the fetch `number`, if it is still the one that counts.
    fn take(&mut self, number: u64) -> Option<Fetching<V>> {
        self.fetching.take_if(|fetching| fetching.number == number)
    }
}

// === impl Wait ===

impl<V: Clone + Send + Sync + 'static> Wait<V> {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Read<V>> {
        let Self { inner, waiter, fetch } = self;
        let Some((number, in_flight)) = fetch else { return Poll::Pending };
        match in_flight.poll(waiter, cx, |end| inner.complete(*number, end)) {
            Polled::Pending => Poll::Pending,
            Polled::Ready(read) => {
                *fetch = None;
                Poll::Ready(read)
            }
            Polled::Circle(path) => {
                self.leave();
                Poll::Ready(Err(RefreshError::circular(&path)))
            }
        }
    }

    fn leave(&mut self) {
        if let Some((number, _in_flight)) = self.fetch.take() {
            self.inner.leave(number);
        }
    }
}

/// CANCEL: the waiter leaves, and with the last one the fetch is dropped.
impl<V: Clone + Send + Sync + 'static> Drop for Wait<V> {
    fn drop(&mut self) {
        self.leave();
    }
}

// === impl Kept ===

impl<V: Clone> Kept<V> {
    pub(crate) fn reading(&self, now: Instant, stale: Option<RefreshError>) -> Reading<V> {
        Reading { value: V::clone(&self.value), age: now.saturating_duration_since(self.fetched), stale }
    }
}

// === impl Named ===

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cached<{}>", self.0)
    }
}
