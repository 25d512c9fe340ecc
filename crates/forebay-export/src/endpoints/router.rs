//! The shell around the [`Selector`]: circuits, limiters, and the attempts that wait for room.

use super::{
    EndpointStatus, Endpoints,
    opens::Opens,
    selector::{Circuit, End, Id, Pick, Selector, View},
    set::Checked,
};
use crate::{Destination, Endpoint, MaxInFlight, authorize::Auth, control::Control, encoding::is_about_items};
use bytes::Bytes;
use forebay_breaker::{BreakerEvent, BreakerHandle, BreakerLayer, ByKey, Excluding, OpenFor, State, Trip};
use forebay_core::{
    BoxError, ByError, ConfigError,
    adaptive::{Adaptive, SharedLimiter},
    chance, panic,
    support::lock::{Mutex, MutexGuard},
    time::saturating_add,
};
use forebay_intake::now;
use http::{HeaderMap, Response, Uri};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Makes clones of the client that belongs to one endpoint.
pub(crate) type Cloner<C> = Arc<dyn Fn() -> C + Send + Sync>;

/// Makes the client of an endpoint.
pub(crate) type MakeClient<C> = Arc<dyn Fn(&Destination) -> Cloner<C> + Send + Sync>;

/// The endpoints of an exporter, and what is known of each. All that belongs to one export shares it.
pub(crate) struct Router<C> {
    state: Mutex<RouterState<C>>,
    /// An attempt has left its endpoint, or the endpoints have changed.
    pub(super) changed: Notify,
    pub(super) circuits: Circuits,
    health: BreakerHandle<String>,
    opens: Opens,
    pub(super) control: Arc<Control>,
    /// The client of each endpoint; `None` where all have the same.
    make: Option<MakeClient<C>>,
    /// The name of the exporter, for events.
    exporter: Arc<str>,
}

/// What a router is made of.
pub(crate) struct RouterParts<C> {
    pub(crate) endpoints: Endpoints,
    pub(crate) control: Arc<Control>,
    pub(crate) make: Option<MakeClient<C>>,
    pub(crate) exporter: Arc<str>,
    /// Sees the events of the circuits.
    pub(crate) observe: Box<dyn Fn(&BreakerEvent) + Send + Sync>,
}

struct RouterState<C> {
    selector: Selector,
    entries: Entries<C>,
    next: u64,
}

/// One endpoint, as attempts use it.
pub(crate) struct Entry<C> {
    pub(super) id: Id,
    /// Also the key of its circuit.
    pub(super) name: Arc<str>,
    endpoint: Endpoint,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) auth: Option<Arc<Auth>>,
    pub(super) client: Option<Cloner<C>>,
    /// Learns from each attempt, also where a fixed number is in force.
    pub(super) limiter: SharedLimiter,
    max_in_flight: MaxInFlight,
    weight: u32,
    address: Option<SocketAddr>,
}

type Entries<C> = Arc<[Arc<Entry<C>>]>;

/// The circuit of each endpoint, by its name.
pub(super) type Circuits = BreakerLayer<String, ByKey<NameOf>, Excluding<ByError, Excluded>>;
type NameOf = fn(&str) -> &str;
type Excluded = fn(&Result<Response<Bytes>, BoxError>) -> bool;

/// An attempt that is in flight at an endpoint.
///
/// CANCEL: dropped, it leaves the endpoint, and another one may go there.
pub(super) struct Permit<'a, C> {
    router: &'a Router<C>,
    pub(super) entry: Arc<Entry<C>>,
    began: Instant,
}

/// What an attempt finds.
pub(super) enum Choice<'a, C> {
    Send(Permit<'a, C>),
    Not(Pick),
}

/// The endpoints that one export has tried since each of them had its turn. All attempts of the export share it.
#[derive(Clone, Debug)]
pub(crate) struct Tried(Arc<Mutex<Pass>>);

#[derive(Debug, Default)]
struct Pass {
    ids: Vec<Id>,
    /// Whether one of them may take the request later.
    temporary: bool,
}

/// The endpoints of an exporter, whatever its client is.
pub(crate) trait LiveEndpoints: Send + Sync {
    /// Replaces them.
    fn set(&self, endpoints: Endpoints) -> Result<(), ConfigError>;

    fn status(&self) -> Vec<EndpointStatus>;
}

/// Failures in a row that open the circuit of an endpoint.
const FAILURES: u32 = 5;
/// An endpoint is probed again after this time. A probe is a batch that goes elsewhere at once if it fails, so it may be short.
const OPEN_FOR: Duration = Duration::from_secs(1);

// === impl Router ===

impl<C> Router<C> {
    pub(crate) fn new(parts: RouterParts<C>) -> Result<Self, ConfigError> {
        let RouterParts { endpoints, control, make, exporter, observe } = parts;
        let opens = Opens::new();
        let counted = opens.clone();
        let circuits = BreakerLayer::builder()
            .key((|name| name) as NameOf)
            .trip(Trip::consecutive(FAILURES))
            .open_for(OpenFor::new(OPEN_FOR).jitter(0.2))
            .close_after(1)
            .excluding((|result| result.as_ref().err().is_some_and(is_about_items)) as Excluded)
            .observe(move |event: &BreakerEvent| {
                counted.see(event);
                observe(event);
            })
            .build()?;
        let selector = Selector::new(endpoints.strategy, chance::entropy());
        let state = RouterState { selector, entries: Arc::new([]), next: 0 };
        let health = circuits.handle();
        let (state, changed) = (Mutex::new(state), Notify::new());
        let router = Self { state, changed, circuits, health, opens, control, make, exporter };
        router.replace(&endpoints)?;
        Ok(router)
    }

    fn state(&self) -> MutexGuard<'_, RouterState<C>> {
        // CORRECTNESS: no user code runs under this lock: entries are made before and dropped after it.
        self.state.lock()
    }

    fn replace(&self, endpoints: &Endpoints) -> Result<(), ConfigError> {
        let checked = self.control.check_endpoints(endpoints, &self.exporter)?;
        // Clients are made while no lock is held, for user code makes them. Of two changes at a time the later one counts.
        let before = Arc::clone(&self.state().entries);
        let made: Vec<_> = checked.into_iter().map(|checked| self.entry(checked, &before)).collect();
        let replaced = {
            let mut state = self.state();
            let RouterState { selector, next, .. } = &mut *state;
            let made = made.into_iter().map(|mut entry| {
                if entry.id == NEW {
                    entry.id = Id(*next);
                    *next += 1;
                }
                Arc::new(entry)
            });
            let entries: Entries<C> = made.collect();
            selector.set(endpoints.strategy, entries.iter().map(|entry| (entry.id, entry.weight)));
            self.opens.set(entries.iter().map(|entry| &entry.name));
            std::mem::replace(&mut state.entries, entries)
        };
        for removed in replaced.iter().filter(|old| self.entries().iter().all(|new| new.name != old.name)) {
            self.health.remove(&*removed.name);
        }
        panic::discard((before, replaced));
        self.changed.notify_waiters();
        Ok(())
    }

    /// The endpoint as attempts use it; what is known of one of the same name stays.
    fn entry(&self, checked: Checked, before: &[Arc<Entry<C>>]) -> Entry<C> {
        let Checked { name, endpoint, uri, headers, auth, weight, max_in_flight, destination } = checked;
        let known = before.iter().find(|entry| entry.name == name);
        let limiter = match known {
            Some(known) if known.max_in_flight == max_in_flight => known.limiter.clone(),
            _ => SharedLimiter::new(&bounds(max_in_flight), now()),
        };
        let address = destination.pinned_address();
        let client = match (known, &self.make) {
            (Some(known), _) if known.address == address && known.endpoint == endpoint => known.client.clone(),
            (_, Some(make)) => Some(make(&destination)),
            (_, None) => None,
        };
        let id = known.map_or(NEW, |known| known.id);
        Entry { id, name, endpoint, uri, headers, auth, client, limiter, max_in_flight, weight, address }
    }

    fn entries(&self) -> Entries<C> {
        Arc::clone(&self.state().entries)
    }

    /// What circuits and limiters say, and the endpoints that they are of.
    fn views(&self) -> (Entries<C>, Vec<View>) {
        let entries = self.entries();
        // CORRECTNESS: without the lock, for the breaker may ask a subscriber of `tracing`, which is user code.
        let views = entries.iter().map(|entry| self.view(entry)).collect();
        (entries, views)
    }

    fn view(&self, entry: &Entry<C>) -> View {
        let circuit = match self.health.status(&*entry.name) {
            Some(status) => match (status.state, status.retry_in) {
                (State::Open, Some(wait)) => Circuit::Open(wait),
                (State::Open, None) => Circuit::Open(OPEN_FOR),
                (State::HalfOpen, _) => Circuit::Probing { under_way: status.probes > 0 },
                (State::Closed | State::Ramping, _) => Circuit::Closed,
            },
            None => Circuit::Closed,
        };
        let limit = match entry.max_in_flight {
            MaxInFlight::Fixed(requests) => requests,
            _ => entry.limiter.limit(),
        };
        View { id: entry.id, circuit, limit }
    }

    /// Chooses an endpoint for a request with a body of `bytes`.
    pub(super) fn pick(&self, tried: &[Id], bytes: usize) -> Choice<'_, C> {
        loop {
            let (entries, views) = self.views();
            let mut state = self.state();
            if !Arc::ptr_eq(&entries, &state.entries) {
                // They were replaced meanwhile.
                continue;
            }
            let began = now();
            let pick = state.selector.pick(began, &views, tried, bytes);
            drop(state);
            let Pick::Send(id) = pick else { return Choice::Not(pick) };
            let Some(entry) = entries.iter().find(|entry| entry.id == id) else { return Choice::Not(Pick::None) };
            let entry = Arc::clone(entry);
            return Choice::Send(Permit { router: self, entry, began });
        }
    }

    /// Whether another endpoint is left for a request, and when the first returns if all are away.
    pub(super) fn others(&self, tried: &[Id], bytes: usize) -> (bool, Option<Duration>) {
        let (_, views) = self.views();
        let (state, now) = (self.state(), now());
        let is_any_left = state.selector.is_any_left(now, &views, tried, bytes);
        let away = state.selector.all_away_until(now, &views);
        (is_any_left, away.map(|until| until.saturating_duration_since(now)))
    }

    /// The name of an endpoint.
    pub(super) fn name_of(&self, id: Id) -> Arc<str> {
        let entries = self.entries();
        entries.iter().find(|entry| entry.id == id).map_or_else(|| "removed".into(), |entry| Arc::clone(&entry.name))
    }

    /// Whether every endpoint is among `tried`.
    pub(super) fn are_all(&self, tried: &[Id]) -> bool {
        self.entries().iter().all(|entry| tried.contains(&entry.id))
    }
}

/// The identity of an endpoint that was not there before, until it has one.
const NEW: Id = Id(u64::MAX);

fn bounds(max_in_flight: MaxInFlight) -> Adaptive {
    match max_in_flight {
        MaxInFlight::Adaptive(adaptive) => adaptive,
        // It samples, and is not asked.
        _ => Adaptive::default(),
    }
}

impl<C> LiveEndpoints for Router<C> {
    fn set(&self, endpoints: Endpoints) -> Result<(), ConfigError> {
        self.replace(&endpoints)
    }

    fn status(&self) -> Vec<EndpointStatus> {
        let (entries, views) = self.views();
        let circuits: Vec<State> = entries.iter().map(|entry| self.health.state(&*entry.name)).collect();
        let (state, now) = (self.state(), now());
        let selector = &state.selector;
        let all = entries.iter().zip(&views).zip(circuits);
        all.filter_map(|((entry, view), circuit)| {
            let member = selector.member(entry.id)?;
            Some(EndpointStatus {
                name: Arc::clone(&entry.name),
                endpoint: entry.endpoint.clone(),
                address: entry.address,
                weight: entry.weight,
                circuit,
                away_for: selector.away_until(view, now).map(|until| until.saturating_duration_since(now)),
                in_flight: member.in_flight,
                limit: selector.limit(view),
                latency: member.latency.duration(now),
                requests: member.requests,
                failures: member.failures,
                opens: self.opens.of(&entry.name),
                is_current: selector.current() == Some(entry.id),
            })
        })
        .collect()
    }
}

// === impl Permit ===

impl<C> Permit<'_, C> {
    /// The attempt has ended so.
    pub(super) fn ended(&self, end: End) {
        let (view, now) = (self.router.view(&self.entry), now());
        let took = now.saturating_duration_since(self.began);
        self.router.state().selector.ended(self.entry.id, now, took, end, view.limit);
    }
}

impl<C> Drop for Permit<'_, C> {
    fn drop(&mut self) {
        self.router.state().selector.left(self.entry.id);
        // CORRECTNESS: after the lock, and each that is woken wakes the next one as long as there is room.
        self.router.changed.notify_one();
    }
}

// === impl Tried ===

impl Default for Tried {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Pass::default())))
    }
}

impl Tried {
    pub(super) fn ids(&self) -> Vec<Id> {
        self.0.lock().ids.clone()
    }

    /// This one was tried, and may take the request later or not.
    pub(super) fn add(&self, id: Id, temporary: bool) -> Vec<Id> {
        let mut pass = self.0.lock();
        pass.ids.push(id);
        pass.temporary |= temporary;
        pass.ids.clone()
    }

    /// Each of them has had its turn: whether one may take the request later.
    pub(super) fn pass_is_over(&self) -> bool {
        std::mem::take(&mut *self.0.lock()).temporary
    }
}

/// When an attempt is no longer waited for.
pub(super) fn ends(control: &Control, most: Duration) -> Instant {
    let now = now();
    let shutdown = control.end().map(|deadline| deadline.instant());
    let end = saturating_add(now, most);
    shutdown.map_or(end, |shutdown| shutdown.min(end))
}
