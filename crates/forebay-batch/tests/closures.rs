//! Closures of the user that look at an item where it is handed over: a panic in them is counted, and reaches no host.

#![expect(clippy::panic, reason = "what is tested")]

use forebay_batch::{Batch, BatchBuilder, BatchLayer, Batching, Offer};
use forebay_core::{BoxError, Priority};
use forebay_intake::{Limits, Overflow};
use std::sync::{Arc, Mutex};
use tokio_test::{assert_ready, task};
use tower::{Service, service_fn};

type Seen = Arc<Mutex<Vec<Vec<u32>>>>;

fn silent() {
    std::panic::set_hook(Box::new(|_| {}));
}

fn panics<R>(_: &u32) -> R {
    panic!("a closure of the user")
}

fn key_panics(_: &u32) -> &u32 {
    panic!("a key of the user")
}

/// Hands items over in every way there is, and has them sent.
macro_rules! check {
    ($builder:expr, $always:expr) => {{
        let seen = Seen::default();
        let noted = Arc::clone(&seen);
        let layer = $builder
            .limits(Limits::new().items(100).soft_limit(1.0).fair_share(1.0))
            .batching(Batching::new().max_items(5))
            .build()
            .unwrap();
        let (mut batch, worker): (Batch<u32, ()>, _) = layer.pair(service_fn(move |items: Vec<u32>| {
            noted.lock().unwrap().push(items);
            std::future::ready(Ok::<_, BoxError>(()))
        }));
        let mut worker = task::spawn(worker);
        let handle = batch.handle();
        for round in 1..=3 {
            let waits = batch.clone();
            batch.emit(0).unwrap();
            batch.emit(Offer::new(1).priority(Priority::Normal)).unwrap();
            batch.emit(Offer::new(2).weight(4)).unwrap();
            assert_ready!(task::spawn(waits.emit_or_wait(3)).poll()).unwrap();
            let mut call = task::spawn(batch.call(4));
            assert!(call.poll().is_pending());
            assert_eq!(handle.bytes(), 5 * size_of::<u32>(), "each weighs what its type does");
            assert_eq!(handle.closure_panics(), round * if $always { 5 } else { 4 });
            assert!(worker.poll().is_pending());
            assert_ready!(call.poll()).unwrap();
        }
        let totals = handle.totals();
        assert!(totals.balance());
        assert_eq!((totals.delivered, totals.pending, handle.bytes()), (15, 0, 0));
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen, vec![vec![0, 1, 2, 3, 4]; 3], "all in one batch, in their order");
    }};
}

fn builder() -> BatchBuilder<u32> {
    BatchLayer::builder()
}

#[tokio::test(start_paused = true)]
async fn f18_a_closure_that_panics_in_every_call_costs_the_host_nothing() {
    silent();
    // What an offer says, a weight or a lane, is not asked for.
    check!(builder().weigh(panics::<usize>), false);
    check!(builder().priority(panics::<Priority>), false);
    check!(builder().fair_share_key(key_panics), true);
    check!(builder().flush_when(panics::<bool>), true);
    check!(builder().partition_by(3, key_panics), true);
    check!(builder().overflow(Overflow::Wait).weigh(panics::<usize>), false);
    check!(builder().overflow(Overflow::DropOldest).priority(panics::<Priority>), false);
}

#[tokio::test(start_paused = true)]
async fn f18_a_closure_that_panics_costs_no_other_its_result() {
    silent();
    fn itself(item: &u32) -> &u32 {
        item
    }
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let layer = builder()
        .batching(Batching::new().max_items(2))
        .partition_by(4, itself)
        .flush_when(panics::<bool>)
        .weigh(|_: &u32| 10)
        .build()
        .unwrap();
    let (batch, worker) = layer.pair(service_fn(move |items: Vec<u32>| {
        noted.lock().unwrap().push(items);
        std::future::ready(Ok::<_, BoxError>(()))
    }));
    let mut worker = task::spawn(worker);
    [1, 2, 1, 2].into_iter().for_each(|item| batch.emit(item).unwrap());
    assert_eq!((batch.handle().bytes(), batch.handle().closure_panics()), (40, 4));
    assert!(worker.poll().is_pending());
    assert_eq!(*seen.lock().unwrap(), [[1, 1], [2, 2]], "each key has a batch of its own");
}
