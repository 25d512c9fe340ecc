//! `forebay-breaker` with a state per key.

use super::{
    calls::{Bare, BareFuture, Keyed, TURNS, many, one, succeeded},
    inner::{current_thread, two_workers},
    rivals::{Resilient, Wrap, WrappedPerKey, failsafe_consecutive, failsafe_default, recloser, resilience},
};
use crate::{
    alloc,
    bound::Bound,
    runner::{Clock, Quote, Session, Table},
    table::{Kind, Report, Row},
};
use dashmap::DashMap;
use forebay_breaker::{BreakerLayer, Trip};
use std::{
    collections::HashMap,
    hint::black_box,
    io,
    sync::{
        Arc, Mutex, OnceLock, RwLock,
        atomic::{AtomicU64, Ordering::Acquire},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt, util::Oneshot};

const FROZEN: &str = "frozen HashMap, one load";
const PAPAYA: &str = "papaya, two loads, one count per key";
const KEYS: usize = 100;

/// The tables of this area.
pub(super) fn tables(session: &mut Session<'_>) {
    let (alone, workers) = (current_thread(), two_workers());
    session.run(one_task(&alone));
    // 29 ns and 25 ns where a look-up in a map that is never changed costs 16.
    let bounds = [Bound::of_floor(1.8), Bound::of_best_rival(0.7), Bound::nanos(29.0)];
    session.run(shared(&workers, "100 random keys, 8 tasks on 2 workers, closed, success", random, &bounds));
    let bounds = [Bound::of_floor(1.5), Bound::of_best_rival(0.25), Bound::nanos(25.0)];
    session.run(shared(&workers, "one hot key of 100, 8 tasks on 2 workers, closed, success", hot, &bounds));
    let title = "bytes that a key holds: 100,000 keys of 27 bytes, and what it takes to put one in";
    session.take(title, || memory(title));
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("host-{n:06}.example.com:431")).inspect(|name| assert_eq!(name.len(), 27))
}

fn keys() -> &'static [&'static str] {
    static KEYS_OF_ALL: OnceLock<Vec<&'static str>> = OnceLock::new();
    KEYS_OF_ALL.get_or_init(|| names(KEYS).map(|name| &*name.leak()).collect())
}

#[inline]
fn random(n: u64) -> Keyed {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Keyed { key: keys()[((mixed ^ (mixed >> 32)) % KEYS as u64) as usize], number: n }
}

#[inline]
fn hot(n: u64) -> Keyed {
    Keyed { key: keys()[7], number: n }
}

/// [`Bare`] after a look-up that ends in a number.
#[derive(Clone)]
struct LookedUp<L>(L);

/// [`Bare`] behind a breaker that is a service, one per key.
#[derive(Clone)]
struct ServicePerKey<L>(L);

/// A state as it would be in a map that is never changed.
fn state(key: &str) -> (String, AtomicU64) {
    (key.to_owned(), AtomicU64::new(0))
}

fn frozen() -> LookedUp<impl Fn(&str) -> u64 + Clone + Send> {
    let map: Arc<HashMap<String, AtomicU64>> = Arc::new(keys().iter().map(|key| state(key)).collect());
    LookedUp(move |key: &str| map[key].load(Acquire))
}

/// What keeps the state of the key until the call is over has to count its users.
fn papaya() -> LookedUp<impl Fn(&str) -> u64 + Clone + Send> {
    let map: Arc<papaya::HashMap<String, Arc<AtomicU64>>> =
        Arc::new(keys().iter().map(|key| ((*key).to_owned(), Arc::default())).collect());
    LookedUp(move |key: &str| {
        let state = map.pin().get(key).map(Arc::clone).unwrap();
        state.load(Acquire) + black_box(state).load(Acquire)
    })
}

fn in_mutex<W: Wrap + Send + Sync>(make: impl Fn() -> W) -> WrappedPerKey<impl Fn(&str) -> W + Clone + Send> {
    let map: HashMap<String, W> = keys().iter().map(|key| ((*key).to_owned(), make())).collect();
    let map = Arc::new(Mutex::new(map));
    WrappedPerKey(move |key: &str| map.lock().unwrap()[key].clone())
}

fn in_rwlock<W: Wrap + Send + Sync>(make: impl Fn() -> W) -> WrappedPerKey<impl Fn(&str) -> W + Clone + Send> {
    let map: HashMap<String, W> = keys().iter().map(|key| ((*key).to_owned(), make())).collect();
    let map = Arc::new(RwLock::new(map));
    WrappedPerKey(move |key: &str| map.read().unwrap()[key].clone())
}

fn in_dashmap<W: Wrap + Send + Sync>(make: impl Fn() -> W) -> WrappedPerKey<impl Fn(&str) -> W + Clone + Send> {
    let map: Arc<DashMap<String, W>> = Arc::new(keys().iter().map(|key| ((*key).to_owned(), make())).collect());
    WrappedPerKey(move |key: &str| map.get(key).unwrap().clone())
}

fn resilient() -> ServicePerKey<impl Fn(&str) -> Resilient + Clone + Send> {
    let map: DashMap<String, Resilient> =
        keys().iter().map(|key| ((*key).to_owned(), resilience(std::convert::identity))).collect();
    let map = Arc::new(map);
    ServicePerKey(move |key: &str| map.get(key).unwrap().clone())
}

macro_rules! ours {
    ($trip:expr) => {
        BreakerLayer::builder().key(|request: &Keyed| request.key).trip($trip).build().unwrap().layer(Bare)
    };
}

fn one_task(runtime: &Runtime) -> Table<'_> {
    Table::new("keyed", "100 random keys, one task, closed, success")
        .floor(FROZEN, one(runtime, frozen(), random))
        .reference(PAPAYA, one(runtime, papaya(), random))
        .rival("Mutex<HashMap<_, failsafe>>", one(runtime, in_mutex(failsafe_consecutive), random))
        .rival("RwLock<HashMap<_, failsafe>>", one(runtime, in_rwlock(failsafe_consecutive), random))
        .rival("DashMap<_, failsafe>", one(runtime, in_dashmap(failsafe_consecutive), random))
        .rival("DashMap<_, recloser>", one(runtime, in_dashmap(recloser), random))
        .rival("DashMap<_, tower-resilience>", one(runtime, resilient(), random))
        .forebay(
            "BreakerLayer, 5 in a row",
            &[Bound::of_floor(1.8), Bound::allocations(0.0)],
            one(runtime, ours!(Trip::consecutive(5)), random),
        )
        .forebay(
            "BreakerLayer, ratio over 30 s",
            &[],
            one(runtime, ours!(Trip::ratio(0.5).over(Duration::from_secs(30)).min_calls(100)), random),
        )
}

fn shared<'a>(runtime: &'a Runtime, title: &str, request: fn(u64) -> Keyed, bounds: &[Bound]) -> Table<'a> {
    let _entered = runtime.enter();
    Table::new("keyed", title)
        .cores(1.6)
        .unit(TURNS)
        .floor(FROZEN, many(runtime, frozen(), request, succeeded))
        .reference("inner service by itself, no look-up", many(runtime, Bare, request, succeeded))
        .reference(PAPAYA, many(runtime, papaya(), request, succeeded))
        .rival("Mutex<HashMap<_, failsafe>>", many(runtime, in_mutex(failsafe_consecutive), request, succeeded))
        .rival("RwLock<HashMap<_, failsafe>>", many(runtime, in_rwlock(failsafe_consecutive), request, succeeded))
        .rival("DashMap<_, failsafe>", many(runtime, in_dashmap(failsafe_consecutive), request, succeeded))
        .rival("DashMap<_, recloser>", many(runtime, in_dashmap(recloser), request, succeeded))
        .rival("DashMap<_, tower-resilience>", many(runtime, resilient(), request, succeeded))
        .forebay("BreakerLayer, 5 in a row", bounds, many(runtime, ours!(Trip::consecutive(5)), request, succeeded))
        .forebay(
            "BreakerLayer, ratio over 30 s",
            &[],
            many(runtime, ours!(Trip::ratio(0.5).over(Duration::from_secs(30)).min_calls(100)), request, succeeded),
        )
}

/// How many keys are weighed.
const WEIGHED: usize = 100_000;

/// What was found about one way to keep a state per key.
struct Weight {
    name: &'static str,
    kind: Kind,
    bounds: Vec<Bound>,
    allocations: f64,
    bytes: f64,
    nanos: f64,
}

/// Puts [`WEIGHED`] keys into what `make` makes, and weighs it.
fn weigh<M>(
    name: &'static str,
    kind: Kind,
    bounds: &[Bound],
    make: impl Fn() -> M,
    put: impl Fn(&mut M, String),
) -> Weight {
    let fill = || {
        let mut map = make();
        names(WEIGHED).for_each(|name| put(&mut map, name));
        map
    };
    let nanos = (0..5).map(|_| {
        let (begin, map) = (Instant::now(), fill());
        let nanos = begin.elapsed().as_secs_f64() * 1e9 / WEIGHED as f64;
        drop(black_box(map));
        nanos
    });
    let nanos = nanos.fold(f64::INFINITY, f64::min);
    let before = alloc::held();
    let (map, allocated) = alloc::count(fill);
    let bytes = alloc::held().wrapping_sub(before) as f64 / WEIGHED as f64;
    drop(black_box(map));
    Weight {
        name,
        kind,
        bounds: bounds.to_vec(),
        allocations: allocated.allocations as f64 / WEIGHED as f64,
        bytes,
        nanos,
    }
}

fn in_map<W>(name: &'static str, make: impl Fn() -> W) -> Weight {
    weigh(name, Kind::Rival, &[], HashMap::<String, W>::new, |map, key| drop(map.insert(key, make())))
}

fn memory(title: &str) -> Report {
    let runtime = current_thread();
    let layer = resilience_layer();
    let (failsafe, failsafe_both) = (failsafe_consecutive, failsafe_default);
    let weights = [
        weigh("HashMap<String, ()>", Kind::Floor, &[], HashMap::<String, ()>::new, |map, key| {
            map.insert(key, ());
        }),
        weigh(
            "HashMap<String, Arc<[AtomicU64; 3]>>",
            Kind::Ref,
            &[],
            HashMap::<String, Arc<[AtomicU64; 3]>>::new,
            |map, key| drop(map.insert(key, Arc::default())),
        ),
        in_map("HashMap<String, failsafe 1.3>, 5 in a row", failsafe),
        in_map("HashMap<String, failsafe 1.3>, default", failsafe_both),
        in_map("HashMap<String, recloser 1.4>", recloser),
        in_map("HashMap<String, tower-resilience 0.14>", move || layer.layer_fn(Bare)),
        weigh(
            "BreakerLayer, 5 in a row",
            Kind::Forebay,
            &[Bound::bytes(125.0), Bound::of_best_rival(0.67)],
            || {
                let keys = u32::try_from(WEIGHED).unwrap();
                let layer = BreakerLayer::builder().key(|request: &Request| request.0.as_str()).max_keys(keys);
                layer.build().unwrap().layer(Bare)
            },
            |service, key| {
                let request = Request(key);
                black_box(runtime.block_on(async { service.ready().await.unwrap().call(request).await }).unwrap());
            },
        ),
    ];
    report(title, weights.into())
}

/// A request that owns its key; the breaker copies it.
#[derive(Debug)]
struct Request(String);

impl super::calls::Number for Request {
    fn number(&self) -> u64 {
        self.0.len() as u64
    }
}

fn resilience_layer() -> tower_resilience_circuitbreaker::CircuitBreakerLayer {
    tower_resilience_circuitbreaker::CircuitBreakerLayer::builder().build().unwrap()
}

fn report(title: &str, weights: Vec<Weight>) -> Report {
    let floor = weights[0].bytes;
    let best_rival = weights.iter().filter(|weight| weight.kind == Kind::Rival).map(|weight| weight.bytes);
    let best_rival = best_rival.fold(f64::INFINITY, f64::min);
    let rows = weights.into_iter().map(|weight| {
        let mut row = Row {
            name: weight.name,
            kind: weight.kind,
            min_ns: weight.nanos,
            median_ns: weight.nanos,
            ratio_to_floor: weight.bytes / floor,
            ratio_to_best_rival: Some(weight.bytes / best_rival),
            allocations: weight.allocations,
            bytes: weight.bytes,
            cores: 1.0,
            marked: false,
            extras: Vec::new(),
            findings: Vec::new(),
        };
        row.findings = weight.bounds.iter().map(|bound| row.find(*bound, |_| None)).collect();
        row
    });
    Report {
        area: "keyed",
        title: title.to_owned(),
        rounds: 1,
        clock: Clock::Wall { cores: 1.0 },
        quote: Quote::Min,
        rows: rows.collect(),
    }
}

// === impl LookedUp ===

impl<L: Fn(&str) -> u64> Service<Keyed> for LookedUp<L> {
    type Response = u64;
    type Error = io::Error;
    type Future = BareFuture<Keyed>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Service::<Keyed>::poll_ready(&mut Bare, cx)
    }

    #[inline]
    fn call(&mut self, request: Keyed) -> BareFuture<Keyed> {
        assert_eq!((self.0)(request.key), 0, "it is closed");
        Bare.call(request)
    }
}

// === impl ServicePerKey ===

impl<L: Fn(&str) -> Resilient> Service<Keyed> for ServicePerKey<L> {
    type Response = u64;
    type Error = tower_resilience_circuitbreaker::CircuitBreakerError<io::Error>;
    type Future = Oneshot<Resilient, Keyed>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Keyed) -> Self::Future {
        (self.0)(request.key).oneshot(request)
    }
}
