//! What the layer costs per call, beside two atomics that count what is in flight.

use crate::alloc;
use forebay_core::BoxError;
use forebay_limit::LimitLayer;
use std::{
    fmt::Write,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Instant,
};
use tower::{Layer, Service, limit::ConcurrencyLimitLayer};

/// The least that a limit can be: one counter up, one down.
#[derive(Debug, Default)]
struct Counted(AtomicU64);

const CALLS: u32 = 200_000;
const ROUNDS: usize = 15;

/// Measures, and says it in a table: the median of the rounds, which are interleaved.
#[must_use]
pub fn table() -> String {
    let counted = Counted::default();
    let mut limited = LimitLayer::builder().build().expect("the defaults").layer(inner());
    let mut towers = ConcurrencyLimitLayer::new(200).layer(inner());
    let mut contenders: [(&str, Box<dyn FnMut(u64) -> u64>); 3] = [
        (
            "a bare service and two atomics",
            Box::new(|number| {
                counted.0.fetch_add(1, Relaxed);
                let result = now(inner().call(number));
                counted.0.fetch_sub(1, Relaxed);
                result
            }),
        ),
        ("tower's ConcurrencyLimit", Box::new(|number| call(&mut towers, number))),
        ("forebay's Limit", Box::new(|number| call(&mut limited, number))),
    ];
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, work), times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            for number in 0..CALLS {
                black_box(work(black_box(number.into())));
            }
            times.push(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
        }
    }
    let mut table = "| contender | median ns | fastest ns | allocations |\n|---|---|---|---|\n".to_owned();
    for ((name, work), times) in contenders.iter_mut().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let ((), allocated) = alloc::count(|| {
            for number in 0..1000 {
                black_box(work(number));
            }
        });
        let each = allocated.allocations as f64 / 1000.0;
        writeln!(table, "| {name} | {:.1} | {:.1} | {each:.2} |", times[ROUNDS / 2], times[0]).expect("a string");
    }
    table
}

#[expect(clippy::type_complexity, reason = "it is named nowhere else")]
fn inner() -> tower::util::ServiceFn<fn(u64) -> Ready<Result<u64, BoxError>>> {
    tower::service_fn(|number| ready(Ok(number)))
}

/// One call as a user makes it.
fn call<S: Service<u64, Response = u64, Error = BoxError>>(service: &mut S, number: u64) -> u64 {
    let Poll::Ready(Ok(())) = service.poll_ready(&mut Context::from_waker(Waker::noop())) else {
        panic!("there is room");
    };
    now(service.call(number))
}

fn now(future: impl Future<Output = Result<u64, BoxError>>) -> u64 {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(number)) => number,
        _ => panic!("nothing here waits or fails"),
    }
}
