//! `forebay-registry`: a client that is there, got and given back.

use super::{
    calls::{TASKS, TURNS},
    inner::{current_thread, two_workers, used},
};
use crate::{
    bound::Bound,
    runner::{Session, Table},
    work::{Sample, Work},
};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use forebay_cached::{Cached, Fetched};
use forebay_registry::{Lease, Registry};
use std::{
    collections::HashMap,
    convert::Infallible,
    hint::black_box,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};
use tokio::{runtime::Runtime, task::yield_now};

const FROZEN: &str = "frozen HashMap, Arc clone";
const KEYS: usize = 100;
const TURN: u64 = 128;

/// The tables of this area.
pub(super) fn tables(session: &mut Session<'_>) {
    let (alone, workers) = (current_thread(), two_workers());
    session.run(acquire(&alone, 1, "get and give back, 100 keys, one task").unit(TURN));
    session.run(acquire(&workers, TASKS, "get and give back, 100 keys, 8 tasks on 2 workers").unit(TURNS).cores(1.6));
    session.run(held(&alone));
    session.run(cached(&alone));
}

/// Something to share.
struct Client(u64);

#[derive(Clone)]
struct Keys(Arc<Vec<String>>);

/// What gets a client and gives it back.
trait Share: Clone + Send + 'static {
    fn once(&self, key: &str) -> impl Future<Output = u64> + Send;
}

#[derive(Clone)]
struct ByFunction<F>(F);

#[derive(Clone)]
struct ByRegistry(Registry<String, Client>);

/// So many tasks, each with a clone of `share`, and keys by chance.
fn tasks<'a, S: Share>(
    runtime: &'a Runtime,
    tasks: u64,
    keys: &Keys,
    share: S,
) -> impl FnMut(Work) -> Sample + use<'a, S> {
    let keys = keys.clone();
    move |work| {
        let shares: Vec<(S, Keys)> = (0..tasks).map(|_| (share.clone(), Keys(Arc::new(keys.0.to_vec())))).collect();
        let each = work.ops / tasks;
        work.measure(|| {
            runtime.block_on(async {
                let tasks =
                    shares.into_iter().zip(1..).map(|((share, keys), seed)| tokio::spawn(run(share, keys, seed, each)));
                for task in tasks.collect::<Vec<_>>() {
                    task.await.unwrap();
                }
            });
        })
    }
}

async fn run<S: Share>(share: S, keys: Keys, seed: u64, times: u64) {
    let mut chance = seed;
    for n in 0..times {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        black_box(share.once(black_box(&keys.0[(chance >> 33) as usize % KEYS])).await);
        if n % TURN == TURN - 1 {
            yield_now().await;
        }
    }
}

fn registry(
    runtime: &Runtime,
    keys: &Keys,
    linger: Option<Duration>,
) -> (Registry<String, Client>, Vec<Lease<Client>>) {
    let mut builder = Registry::builder(|key: String| async move { Ok::<_, Infallible>(Client(key.len() as u64)) });
    if let Some(linger) = linger {
        builder = builder.linger(linger);
    }
    let _entered = runtime.enter();
    let registry = builder.build().unwrap();
    let leases = keys.0.iter().map(|key| runtime.block_on(registry.acquire(key.as_str())).unwrap());
    let leases = leases.collect();
    (registry, leases)
}

fn acquire<'a>(runtime: &'a Runtime, count: u64, title: &str) -> Table<'a> {
    let keys = Keys(Arc::new((0..KEYS).map(|n| format!("https://host-{n:03}.example:443")).collect()));
    let clients = keys.0.iter().map(|key| (key.clone(), Arc::new(Client(key.len() as u64))));
    let frozen: HashMap<String, Arc<Client>> = clients.collect();
    let (swapped, papaya, dash): (_, papaya::HashMap<_, _>, DashMap<_, _>) = (
        ArcSwap::from_pointee(frozen.clone()),
        frozen.clone().into_iter().collect(),
        frozen.clone().into_iter().collect(),
    );
    let (swapped, papaya, dash) = (Arc::new(swapped), Arc::new(papaya), Arc::new(dash));
    let (mutex, rwlock) = (Arc::new(Mutex::new(frozen.clone())), Arc::new(RwLock::new(frozen.clone())));
    let frozen = Arc::new(frozen);
    let (ours, leases) = registry(runtime, &keys, None);
    let (lingering, _) = registry(runtime, &keys, Some(Duration::from_secs(600)));
    Table::new("registry", title)
        .floor(FROZEN, tasks(runtime, count, &keys, ByFunction(move |key: &str| Arc::clone(&frozen[key]).0)))
        .rival(
            "ArcSwap<HashMap>, Arc clone",
            tasks(runtime, count, &keys, ByFunction(move |key: &str| Arc::clone(&swapped.load()[key]).0)),
        )
        .rival(
            "papaya, Arc clone",
            tasks(runtime, count, &keys, ByFunction(move |key: &str| Arc::clone(papaya.pin().get(key).unwrap()).0)),
        )
        .rival(
            "DashMap, Arc clone",
            tasks(runtime, count, &keys, ByFunction(move |key: &str| Arc::clone(&*dash.get(key).unwrap()).0)),
        )
        .rival(
            "Mutex<HashMap>, Arc clone",
            tasks(runtime, count, &keys, ByFunction(move |key: &str| Arc::clone(&mutex.lock().unwrap()[key]).0)),
        )
        .rival(
            "RwLock<HashMap>, Arc clone",
            tasks(runtime, count, &keys, ByFunction(move |key: &str| Arc::clone(&rwlock.read().unwrap()[key]).0)),
        )
        .forebay("Registry::acquire, others hold leases", &[Bound::of_floor(1.15), Bound::allocations(0.01)], {
            let mut run = tasks(runtime, count, &keys, ByRegistry(ours));
            move |work| {
                let _held = &leases;
                run(work)
            }
        })
        .forebay(
            "Registry::acquire, no lease held, lingering",
            &[Bound::allocations(0.01)],
            tasks(runtime, count, &keys, ByRegistry(lingering)),
        )
}

fn held(runtime: &Runtime) -> Table<'_> {
    let keys = Keys(Arc::new(vec!["https://host.example:443".to_owned()]));
    let (_registry, mut leases) = registry(runtime, &keys, None);
    let (arc, lease) = (Arc::new(Client(7)), leases.remove(0));
    Table::new("registry", "a clone of what is held, and its end")
        .floor("Arc", move |work| {
            work.measure(|| (0..work.ops).for_each(|_| drop(black_box(Arc::clone(black_box(&arc))))))
        })
        .forebay("Lease", &[Bound::nanos(9.0), Bound::allocations(0.0)], move |work| {
            let _open = &_registry;
            work.measure(|| (0..work.ops).for_each(|_| drop(black_box(black_box(&lease).clone()))))
        })
}

fn cached(runtime: &Runtime) -> Table<'_> {
    let cached = Cached::builder(|| async { Ok::<_, Infallible>(Fetched::new(7_u64)) }).build().unwrap();
    runtime.block_on(cached.get()).unwrap();
    let locked = tokio::sync::RwLock::new((7_u64, tokio::time::Instant::now() + Duration::from_secs(3600)));
    Table::new("registry", "a value that is fresh, read")
        .floor("one clock read", |work| work.measure(|| (0..work.ops).for_each(|_| used(tokio::time::Instant::now()))))
        .rival("tokio RwLock<(value, until)>", {
            move |work| {
                work.measure(|| {
                    runtime.block_on(async {
                        for _ in 0..work.ops {
                            let read = locked.read().await;
                            black_box((tokio::time::Instant::now() < read.1).then_some(read.0));
                        }
                    });
                })
            }
        })
        .forebay("Cached::get", &[Bound::allocations(0.0)], move |work| {
            work.measure(|| {
                runtime.block_on(async {
                    for _ in 0..work.ops {
                        black_box(cached.get().await.unwrap());
                    }
                });
            })
        })
}

// === impl Share ===

impl<F: Fn(&str) -> u64 + Clone + Send + Sync + 'static> Share for ByFunction<F> {
    #[inline]
    async fn once(&self, key: &str) -> u64 {
        (self.0)(key)
    }
}

impl Share for ByRegistry {
    #[inline]
    async fn once(&self, key: &str) -> u64 {
        self.0.acquire(key).await.unwrap().0
    }
}
