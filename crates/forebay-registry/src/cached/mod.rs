//! A value that is fetched again in time.

mod builder;
mod error;
mod state;

pub use self::{
    builder::CachedBuilder,
    error::{RefreshError, RefreshErrorKind},
};

use self::state::{Kept, Look, Policy, Shelf};
use crate::{
    circle::Name,
    edge::{Edge, Timer, now},
    flight::{Flight, Polled, Seat, Work},
    sync::{Mutex, Published},
};
use forebay_core::{BoxError, chance::SplitMix64};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// A value with a time to live: a feature flag, a token, a configuration.
///
/// * **Fresh** it is handed out without a lock.
/// * When its time is over, one fetch is made for all who ask meanwhile; it is driven by those who wait, so no task is
///   left when nobody does.
/// * If the fetch fails, the old value goes on for [`stale_for`](CachedBuilder::stale_for) if that is set, and no call tries again for
///   [`negative_ttl`](CachedBuilder::negative_ttl). A failure is never taken for a value: one blip does not switch
///   off what the value switches.
/// * The time to live is the fetched value's own, clamped if [`ttl_range`](CachedBuilder::ttl_range) is set, or a default; each
///   process draws a little less, so that a fleet does not ask together.
///
/// Clones share the value. One `Cached` for each key is a `Registry<K, Cached<V>>`.
///
/// ```
/// use forebay_core::BoxError;
/// use forebay_registry::{Cached, Fetched};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let enabled = Cached::builder(|| async {
///     // Asks a server ...
///     Ok::<_, BoxError>(Fetched::new(true).ttl(Duration::from_secs(600)))
/// })
/// .build()?;
/// assert!(enabled.get().await?);
/// # Ok(())
/// # }
/// ```
pub struct Cached<V> {
    inner: Arc<Inner<V>>,
}

/// A value as it comes from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched<V> {
    value: V,
    ttl: Option<Duration>,
}

/// A value as it is handed out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reading<V> {
    /// The value.
    pub value: V,
    /// Since it was fetched.
    pub age: Duration,
    /// Why there is no newer one, although its time is over. `None`: it is fresh.
    pub stale: Option<RefreshError>,
}

struct Inner<V> {
    /// The value while it is fresh; read without a lock.
    shown: Published<Option<Kept<V>>>,
    state: Mutex<State<V>>,
    fetch: Fetcher<V>,
    fetch_timeout: Duration,
    policy: Policy,
    edge: Edge,
}

struct State<V> {
    shelf: Shelf<V>,
    fetching: Option<Fetching<V>>,
    /// Grows with each fetch.
    number: u64,
    chance: SplitMix64,
}

struct Fetching<V> {
    number: u64,
    flight: Flying<V>,
    waiters: usize,
}

/// A place among those who wait for a fetch.
struct Wait<V: Clone + Send + Sync + 'static> {
    inner: Arc<Inner<V>>,
    seat: Seat,
    /// `None` when the place was given up.
    ticket: Option<(u64, Flying<V>)>,
}

type Fetcher<V> = Arc<dyn Fn() -> Work<Result<Fetched<V>, BoxError>> + Send + Sync>;
type Flying<V> = Arc<Flight<Result<Fetched<V>, RefreshError>, Read<V>>>;
type Read<V> = Result<Reading<V>, RefreshError>;

// === impl Cached ===

impl<V: Clone + Send + Sync + 'static> Cached<V> {
    /// A value that is fetched by `fetch`. Its panics become errors.
    pub fn builder<F, Fut, E>(fetch: F) -> CachedBuilder<V>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Fetched<V>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        CachedBuilder::new(fetch)
    }

    fn new(fetch: Fetcher<V>, policy: Policy, fetch_timeout: Duration, seed: u64) -> Self {
        let state = State { shelf: Shelf::default(), fetching: None, number: 0, chance: SplitMix64::new(seed) };
        let (shown, state) = (Published::new(None), Mutex::new(state));
        Self { inner: Arc::new(Inner { shown, state, fetch, fetch_timeout, policy, edge: Edge::unbound() }) }
    }

    /// The value: fresh, or stale if no newer one can be had.
    ///
    /// # Errors
    ///
    /// [`RefreshError`] when there is neither.
    ///
    /// # Cancellation
    ///
    /// A fetch goes on while anybody waits for it, and ends with the last of those who wait.
    pub async fn get(&self) -> Result<V, RefreshError> {
        self.read().await.map(|reading| reading.value)
    }

    /// The value, with its age and, if it is stale, the reason.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Cancellation
    ///
    /// As [`get`](Self::get).
    pub async fn read(&self) -> Result<Reading<V>, RefreshError> {
        let now = now();
        if let Some(kept) = Option::as_ref(&self.inner.shown.load())
            && now < kept.fresh_until
        {
            return Ok(kept.reading(now, None));
        }
        let mut wait = match self.inner.join(now) {
            Ok(read) => return read,
            Err(wait) => wait,
        };
        poll_fn(|cx| wait.poll(cx)).await
    }

    /// The last value that came, however old, and the last failure since. Nothing is fetched.
    #[must_use]
    pub fn peek(&self) -> Option<Reading<V>> {
        let state = self.inner.state.lock();
        state.shelf.value().map(|kept| kept.reading(now(), state.shelf.error().cloned()))
    }

    /// From now on a new value is wanted: the next call fetches it, and a fetch that runs already does not count.
    ///
    /// The old value is used on only if no new one can be had, and as long as it may.
    pub fn invalidate(&self) {
        let (fetching, shown) = {
            let mut state = self.inner.state.lock();
            state.shelf.expire(now());
            (state.fetching.take(), self.inner.shown.replace(None))
        };
        drop((fetching, shown));
    }

    /// Puts a value there that came by another way. A fetch that runs already does not count.
    pub fn set(&self, fetched: Fetched<V>) {
        let Fetched { value, ttl } = fetched;
        let (fetching, shown) = {
            let mut state = self.inner.state.lock();
            let draw = state.chance.unit();
            let kept = state.shelf.stored(value, ttl, now(), &self.inner.policy, draw).clone();
            (state.fetching.take(), self.inner.shown.replace(Some(kept)))
        };
        drop((fetching, shown));
    }
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// Says nothing of the value, which may be a secret.
impl<V> fmt::Debug for Cached<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("policy", &self.inner.policy).finish_non_exhaustive()
    }
}

// === impl Inner ===

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// What is there, else the wait for a fetch.
    fn join(self: &Arc<Self>, now: Instant) -> Result<Read<V>, Wait<V>> {
        let mut state = self.state.lock();
        match state.shelf.look(now) {
            Look::Fresh(kept) => return Ok(Ok(kept.reading(now, None))),
            Look::Stale(kept, error) => return Ok(Ok(kept.reading(now, Some(error)))),
            Look::Failed(error) => return Ok(Err(error)),
            Look::Fetch => {}
        }
        if state.fetching.is_none() {
            state.number += 1;
            let fetching = Fetching { number: state.number, flight: Flight::of(self.fetch()), waiters: 0 };
            state.fetching = Some(fetching);
        }
        let ticket = state.fetching.as_mut().map(|fetching| {
            fetching.waiters += 1;
            (fetching.number, Arc::clone(&fetching.flight))
        });
        Err(Wait { inner: Arc::clone(self), seat: Seat::default(), ticket })
    }

    /// The fetch, not yet begun.
    fn fetch(self: &Arc<Self>) -> Work<Result<Fetched<V>, RefreshError>> {
        let (fetch, inner) = (Arc::clone(&self.fetch), Arc::clone(self));
        Box::pin(async move {
            // It runs in the first poll: outside the lock, and where its panic is caught.
            let mut fetching = fetch();
            let mut timer: Option<Timer> = None;
            poll_fn(|cx| match fetching.as_mut().poll(cx) {
                Poll::Ready(fetched) => Poll::Ready(fetched.map_err(RefreshError::failed)),
                Poll::Pending => {
                    // A fetch that ends at its first poll needs no timer.
                    let timer = timer.get_or_insert_with(|| inner.edge.timer(inner.fetch_timeout));
                    Pin::new(timer).poll(cx).map(|()| Err(RefreshError::timed_out()))
                }
            })
            .await
        })
    }

    /// The fetch `number` has ended.
    fn land(&self, number: u64, end: Result<Result<Fetched<V>, RefreshError>, Arc<str>>) -> Read<V> {
        let end = end.unwrap_or_else(|panic| Err(RefreshError::panicked(panic)));
        let now = now();
        let (read, old) = {
            let mut state = self.state.lock();
            let draw = state.chance.unit();
            let counts = state.fetching.as_ref().is_some_and(|fetching| fetching.number == number);
            let flight = if counts { state.fetching.take() } else { None };
            match end {
                Ok(Fetched { value, ttl }) if counts => {
                    let kept = state.shelf.stored(value, ttl, now, &self.policy, draw).clone();
                    let read = Ok(kept.reading(now, None));
                    (read, (flight, Some(self.shown.replace(Some(kept)))))
                }
                // It was begun before the value was set or invalidated: good enough for those who waited for it.
                Ok(Fetched { value, .. }) => (Ok(Reading { value, age: Duration::ZERO, stale: None }), (flight, None)),
                Err(error) => {
                    if counts {
                        state.shelf.failed(error.clone(), now, &self.policy, draw);
                    }
                    let read = match state.shelf.usable(now) {
                        Some(kept) => Ok(kept.reading(now, Some(error))),
                        None => Err(error),
                    };
                    (read, (flight, None))
                }
            }
        };
        drop(old);
        read
    }

    fn leave(&self, number: u64) {
        let gone = {
            let mut state = self.state.lock();
            match &mut state.fetching {
                Some(fetching) if fetching.number == number => {
                    fetching.waiters = fetching.waiters.saturating_sub(1);
                    if fetching.waiters == 0 { state.fetching.take() } else { None }
                }
                _ => None,
            }
        };
        drop(gone);
    }
}

/// Shows the type of a value without quotes.
struct Named(&'static str);

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cached<{}>", self.0)
    }
}

// === impl Wait ===

impl<V: Clone + Send + Sync + 'static> Wait<V> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Read<V>> {
        let Some((number, flight)) = &self.ticket else { return Poll::Pending };
        let name: Name = Rc::new(Named(std::any::type_name::<V>()));
        let read = match flight.poll(&mut self.seat, cx, &name, |end| self.inner.land(*number, end)) {
            Polled::Pending => return Poll::Pending,
            Polled::Landed(read) => {
                flight.leave(&mut self.seat);
                self.ticket = None;
                read
            }
            Polled::Circle(path) => {
                // Those around this poll wait on: the fetch counts one less.
                if let Some((number, flight)) = self.ticket.take() {
                    flight.leave(&mut self.seat);
                    self.inner.leave(number);
                }
                Err(RefreshError::circular(path))
            }
        };
        Poll::Ready(read)
    }
}

/// CANCEL: the seat is given up, and with the last one the fetch goes.
impl<V: Clone + Send + Sync + 'static> Drop for Wait<V> {
    fn drop(&mut self) {
        if let Some((number, flight)) = self.ticket.take() {
            flight.leave(&mut self.seat);
            self.inner.leave(number);
        }
    }
}

// === impl Kept ===

impl<V: Clone> Kept<V> {
    fn reading(&self, now: Instant, stale: Option<RefreshError>) -> Reading<V> {
        Reading { value: self.value.clone(), age: now.saturating_duration_since(self.fetched), stale }
    }
}

// === impl Fetched ===

impl<V> Fetched<V> {
    /// A value with the default time to live.
    pub const fn new(value: V) -> Self {
        Self { value, ttl: None }
    }

    /// The time to live of this value, in place of [`CachedBuilder::ttl`]: what the server said, say.
    ///
    /// It is taken as it is, up to 30 years, unless [`CachedBuilder::ttl_range`] is set, which clamps it. With 0 the next call
    /// fetches again.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}
