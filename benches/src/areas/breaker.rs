//! `forebay-breaker` without keys: closed, shared, with a window over a time, and open.

use super::{
    calls::{Bare, Laborious, TURNS, many, one, refused, rejected, succeeded},
    inner::{current_thread, two_workers},
    rivals::{
        ByHand, Counts, OwnArc, Reads, ReadsClock, Resilient, Wrapped, failsafe_consecutive, failsafe_default,
        recloser, resilience,
    },
};
use crate::{
    bound::Bound,
    runner::{Session, Table},
    work::{Sample, Work},
};
use forebay_breaker::{BreakerLayer, State, Trip};
use std::{
    convert::identity,
    future::poll_fn,
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Acquire},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneService};
use tower_resilience_circuitbreaker::SlidingWindowType;

const RECLOSER: &str = "recloser 1.4";
const FAILSAFE: &str = "failsafe 1.3, default";
const HOUR: Duration = Duration::from_secs(3600);

/// The tables of this area.
pub(super) fn tables(session: &mut Session<'_>) {
    let (alone, workers) = (current_thread(), two_workers());
    session.run(closed(&alone));
    session.run(closed_before_work(&alone));
    session.run(shared(&workers));
    session.run(timed(&alone));
    session.run(window_fills(&alone));
    session.run(open(&alone));
    session.run(open_shared(&workers));
}

/// A breaker of ours; what `BreakerLayer` says of it is known only where it is built.
macro_rules! ours {
    ($trip:expr) => {
        BreakerLayer::builder().trip($trip).build().unwrap().layer(Bare)
    };
}

fn consecutive() -> Trip {
    Trip::consecutive(5)
}

fn of_100_calls() -> Trip {
    Trip::ratio(0.5).over_calls(100).into()
}

fn of_30_seconds() -> Trip {
    Trip::ratio(0.5).over(Duration::from_secs(30)).min_calls(100).into()
}

fn closed(runtime: &Runtime) -> Table<'_> {
    // 1.35 of an inner service of 10.3 ns; here it is one of 3, and the reference by hand already 1.6 of that. The next
    // table has one of 10.
    let bounds = [Bound::of(RECLOSER, 0.75), Bound::added(3.6), Bound::of_floor(1.35), Bound::allocations(0.0)];
    Table::new("breaker", "closed, success, one task")
        .floor("inner service by itself", one(runtime, Bare, identity))
        .reference("one load before the call and one after it", one(runtime, ByHand::<Reads>::new(), identity))
        .reference("one load and one fetch_add", one(runtime, ByHand::<Counts>::new(), identity))
        .reference("a boxed future", one(runtime, BoxCloneService::new(Bare), identity))
        .rival(RECLOSER, one(runtime, Wrapped(recloser()), identity))
        .rival("failsafe 1.3, 5 in a row", one(runtime, Wrapped(failsafe_consecutive()), identity))
        .rival("failsafe 1.3, default", one(runtime, Wrapped(failsafe_default()), identity))
        .rival("tower-resilience 0.14, 100 calls", one(runtime, resilience(identity), identity))
        .rival(
            "tower-resilience 0.14, 5 in a row",
            one(runtime, resilience(|builder| builder.consecutive_failures(5)), identity),
        )
        .forebay("BreakerLayer, 5 in a row", &bounds, one(runtime, ours!(consecutive()), identity))
        .forebay("BreakerLayer, ratio of 100 calls", &bounds, one(runtime, ours!(of_100_calls()), identity))
        .forebay(
            "BreakerLayer, either of them",
            &[],
            one(runtime, ours!(consecutive().or(Trip::ratio(0.5).over_calls(100))), identity),
        )
}

/// What the ratios of the other tables would be with an inner service that does something.
fn closed_before_work(runtime: &Runtime) -> Table<'_> {
    let bounds = [Bound::of_floor(1.35), Bound::added(3.6), Bound::of(RECLOSER, 0.75)];
    // What is added says nothing here: a processor reads its clock when all that it had begun is done, and so waits for
    // work that it would have done later.
    let timed = [Bound::of_floor(3.6), Bound::of(FAILSAFE, 0.45)];
    Table::new("breaker", "closed, success, one task, an inner service that costs 10 ns")
        .floor("inner service by itself", one(runtime, Bare, Laborious))
        .reference("one load before the call and one after it", one(runtime, ByHand::<Reads>::new(), Laborious))
        .reference("one load, one clock read, one fetch_add", one(runtime, ByHand::<ReadsClock>::new(), Laborious))
        .rival(RECLOSER, one(runtime, Wrapped(recloser()), Laborious))
        .rival("failsafe 1.3, 5 in a row", one(runtime, Wrapped(failsafe_consecutive()), Laborious))
        .rival(FAILSAFE, one(runtime, Wrapped(failsafe_default()), Laborious))
        .forebay("BreakerLayer, 5 in a row", &bounds, one(runtime, ours!(consecutive()), Laborious))
        .forebay("BreakerLayer, ratio of 100 calls", &bounds, one(runtime, ours!(of_100_calls()), Laborious))
        .forebay("BreakerLayer, ratio over 30 s", &timed, one(runtime, ours!(of_30_seconds()), Laborious))
}

fn shared(runtime: &Runtime) -> Table<'_> {
    let _entered = runtime.enter();
    let bounds = [Bound::of_floor(1.5), Bound::of_best_rival(0.2)];
    Table::new("breaker", "one breaker shared by 8 tasks on 2 workers, closed, success")
        .cores(1.6)
        .unit(TURNS)
        .floor("inner service by itself", many(runtime, Bare, identity, succeeded))
        .reference("two loads, one reference count for all", many(runtime, ByHand::<Reads>::new(), identity, succeeded))
        .reference("two loads, one `Arc` per clone", many(runtime, OwnArc::<Reads>::new(), identity, succeeded))
        .reference("one shared fetch_add", many(runtime, OwnArc::<Counts>::new(), identity, succeeded))
        .rival(RECLOSER, many(runtime, Wrapped(recloser()), identity, succeeded))
        .rival("failsafe 1.3, 5 in a row", many(runtime, Wrapped(failsafe_consecutive()), identity, succeeded))
        .rival("failsafe 1.3, default", many(runtime, Wrapped(failsafe_default()), identity, succeeded))
        .rival("tower-resilience 0.14, 100 calls", many(runtime, resilience(identity), identity, succeeded))
        .forebay("BreakerLayer, 5 in a row", &bounds, many(runtime, ours!(consecutive()), identity, succeeded))
        .forebay("BreakerLayer, ratio of 100 calls", &bounds, many(runtime, ours!(of_100_calls()), identity, succeeded))
        .forebay("BreakerLayer, ratio over 30 s", &[], many(runtime, ours!(of_30_seconds()), identity, succeeded))
}

fn timed(runtime: &Runtime) -> Table<'_> {
    // 3.6 of an inner service of 10.3 ns.
    let bounds = [Bound::of_best_rival(0.45), Bound::added(26.8), Bound::of_floor(3.6), Bound::allocations(0.0)];
    Table::new("breaker", "closed, success, one task, a ratio over a time")
        .floor("inner service by itself", one(runtime, Bare, identity))
        .reference("one load, one clock read, one fetch_add", one(runtime, ByHand::<ReadsClock>::new(), identity))
        .rival("failsafe 1.3, default", one(runtime, Wrapped(failsafe_default()), identity))
        .forebay("BreakerLayer, ratio over 30 s", &bounds, one(runtime, ours!(of_30_seconds()), identity))
        .forebay(
            "BreakerLayer, slow calls over 30 s",
            &[],
            one(
                runtime,
                ours!(Trip::slow_ratio(0.5, Duration::from_secs(1)).over(Duration::from_secs(30)).min_calls(100)),
                identity,
            ),
        )
}

/// How many calls see a window before a new one is made.
const CHUNK: u64 = 4_000;

/// What a call costs while so many are in the window.
fn window_fills(runtime: &Runtime) -> Table<'_> {
    let hour = || Trip::ratio(0.5).over(HOUR).min_calls(100);
    let few = "BreakerLayer, 1,000 to 5,000 calls in the window";
    Table::new("breaker", "a ratio over a time, by the calls in the window")
        .unit(CHUNK)
        .floor(few, fresh(runtime, 1_000, move || ours!(hour())))
        .rival("tower-resilience 0.14, 1,000 to 5,000 calls", fresh(runtime, 1_000, resilient_over_an_hour))
        .forebay("BreakerLayer, 100,000 calls or more", &[], filled(runtime, 100_000, ours!(hour())))
        .forebay(
            "BreakerLayer, 1,000,000 calls or more",
            &[Bound::of_floor(1.05)],
            filled(runtime, 1_000_000, ours!(hour())),
        )
}

fn resilient_over_an_hour() -> Resilient {
    let over = |builder: tower_resilience_circuitbreaker::CircuitBreakerConfigBuilder<_>| {
        builder.sliding_window_type(SlidingWindowType::TimeBased).sliding_window_duration(HOUR)
    };
    resilience(|builder| over(builder).minimum_number_of_calls(100))
}

async fn fill<S: Service<u64, Response = u64, Error: std::fmt::Debug>>(service: &mut S, calls: u64) {
    for n in 0..calls {
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        black_box(service.call(black_box(n)).await.unwrap());
    }
}

/// The window is filled once; each sample adds to it.
fn filled<'a, S>(runtime: &'a Runtime, calls: u64, mut service: S) -> impl FnMut(Work) -> Sample + 'a
where
    S: Service<u64, Response = u64, Error: std::fmt::Debug> + 'a,
{
    runtime.block_on(fill(&mut service, calls));
    one(runtime, service, identity)
}

/// After each chunk comes another window, with so many calls in it.
fn fresh<'a, S>(runtime: &'a Runtime, calls: u64, make: impl Fn() -> S + 'a) -> impl FnMut(Work) -> Sample + 'a
where
    S: Service<u64, Response = u64, Error: std::fmt::Debug>,
{
    move |work| {
        let mut sum = Sample::default();
        for _ in 0..work.ops / CHUNK {
            let mut service = make();
            runtime.block_on(fill(&mut service, calls));
            let sample = work.measure(|| runtime.block_on(fill(&mut service, CHUNK)));
            sum.wall += sample.wall;
            sum.cpu += sample.cpu;
            sum.allocated.allocations += sample.allocated.allocations;
            sum.allocated.bytes += sample.allocated.bytes;
        }
        sum
    }
}

const ONE_LOAD: &str = "one load";
const LOAD_AND_CLOCK: &str = "one load and one clock read";

/// The smallest error that says until when.
#[derive(Debug)]
struct TwoWords(u64, u64);

impl std::fmt::Display for TwoWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the circuit is open until {} {}", self.0, self.1)
    }
}

impl std::error::Error for TwoWords {}

/// Lets `service` see so many failures.
fn fails<S: Service<u64>>(runtime: &Runtime, service: &mut S, times: u64)
where
    S::Error: std::fmt::Debug,
{
    runtime.block_on(async {
        for _ in 0..times {
            poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
            drop(service.call(u64::MAX).await);
        }
    });
}

/// A breaker by hand that is open: a service that is ready, and refuses.
fn by_hand(clock: bool) -> impl Service<u64, Response = u64, Error = (), Future: Send> + Clone + Send {
    let (state, until) = (std::sync::Arc::new(AtomicU64::new(1)), Instant::now() + HOUR);
    tower::service_fn(move |_: u64| {
        let open = state.load(Acquire) == 1 && (!clock || Instant::now() < until);
        std::future::ready(if black_box(open) { Err(()) } else { Ok(0) })
    })
}

fn open(runtime: &Runtime) -> Table<'_> {
    let bounds =
        [Bound::of(LOAD_AND_CLOCK, 1.0), Bound::of_best_rival(0.8), Bound::nanos(31.0), Bound::allocations(1.0)];
    let (mut recloser, mut failsafe) = (Wrapped(recloser()), Wrapped(failsafe_consecutive()));
    let mut resilient = resilience(|builder| builder.consecutive_failures(5).wait_duration_in_open(HOUR));
    fails(runtime, &mut recloser, 200);
    fails(runtime, &mut failsafe, 5);
    fails(runtime, &mut resilient, 5);
    let layer = BreakerLayer::builder().open_for(HOUR).build().unwrap();
    let mut ours = layer.layer(Bare);
    fails(runtime, &mut ours, 5);
    assert_eq!(layer.handle().state(&()), State::Open);
    let forced = BreakerLayer::builder().mode(forebay_breaker::Mode::ForcedOpen).build().unwrap().layer(Bare);
    Table::new("breaker", "open, rejected, one task")
        .floor(ONE_LOAD, refused(runtime, by_hand(false), identity))
        .reference(LOAD_AND_CLOCK, refused(runtime, by_hand(true), identity))
        .reference("the same, and a boxed error of two words", {
            refused(runtime, by_hand(true).map_err(|()| BoxError::from(TwoWords(1, 2))), identity)
        })
        .rival(RECLOSER, refused(runtime, recloser, identity))
        .rival("failsafe 1.3, 5 in a row", refused(runtime, failsafe, identity))
        .rival("tower-resilience 0.14, 5 in a row", refused(runtime, resilient, identity))
        .forebay("BreakerLayer, 5 in a row", &bounds, refused(runtime, ours, identity))
        .forebay("BreakerLayer, forced open", &[], refused(runtime, forced, identity))
}

fn open_shared(runtime: &Runtime) -> Table<'_> {
    let _entered = runtime.enter();
    let (mut recloser, mut failsafe) = (Wrapped(recloser()), Wrapped(failsafe_consecutive()));
    let mut resilient = resilience(|builder| builder.consecutive_failures(5).wait_duration_in_open(HOUR));
    fails(runtime, &mut recloser, 200);
    fails(runtime, &mut failsafe, 5);
    fails(runtime, &mut resilient, 5);
    let mut ours = BreakerLayer::builder().open_for(HOUR).build().unwrap().layer(Bare);
    fails(runtime, &mut ours, 5);
    Table::new("breaker", "one open breaker shared by 8 tasks on 2 workers, rejected")
        .cores(1.6)
        .unit(TURNS)
        .floor(ONE_LOAD, many(runtime, by_hand(false), identity, rejected))
        .reference(LOAD_AND_CLOCK, many(runtime, by_hand(true), identity, rejected))
        .rival(RECLOSER, many(runtime, recloser, identity, rejected))
        .rival("failsafe 1.3, 5 in a row", many(runtime, failsafe, identity, rejected))
        .rival("tower-resilience 0.14, 5 in a row", many(runtime, resilient, identity, rejected))
        .forebay("BreakerLayer, 5 in a row", &[Bound::of_best_rival(0.8)], many(runtime, ours, identity, rejected))
}
