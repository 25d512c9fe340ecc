//! Every future of the batcher, polled so many times and dropped: nothing is lost, and no slot leaks.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_batch::{Batch, BatchHandle, BatchLayer, Batching, Items};
use forebay_core::{BoxError, DropReason, Fate, Settlement, Totals};
use forebay_intake::{Limits, Overflow};
use std::{cell::RefCell, future::Future, pin::Pin, rc::Rc, task::Poll, time::Duration};
use tokio::sync::oneshot;
use tokio_test::{
    assert_pending, assert_ready,
    task::{self, Spawn},
};
use tower::{Service, service_fn};

/// More polls than any of the futures takes.
const POLLS: usize = 8;

const SECOND: Duration = Duration::from_secs(1);

/// A server that responds when the test says so: whether it takes the items, or not at all.
type Responses = Rc<RefCell<Vec<oneshot::Sender<bool>>>>;

struct Rig {
    batch: Batch<u32, Fate>,
    handle: BatchHandle<u32>,
    worker: Spawn<Pin<Box<dyn Future<Output = ()>>>>,
    responses: Responses,
}

impl Rig {
    /// Batches of one, one in flight; what fails waits for a second, twice.
    fn new(overflow: Overflow, items: usize) -> Self {
        let responses = Responses::default();
        let noted = Rc::clone(&responses);
        let inner = service_fn(move |_: Items<u32>| {
            let (response, responded) = oneshot::channel();
            noted.borrow_mut().push(response);
            async move { Ok::<bool, BoxError>(responded.await?) }
        });
        let layer = BatchLayer::builder()
            .limits(Limits::new().items(items).soft_limit(1.0))
            .overflow(overflow)
            .batching(Batching::new().max_items(1))
            .retain_items()
            .settle(|result: &Result<bool, BoxError>, _: usize| match result {
                Ok(true) => Settlement::All(Fate::Delivered),
                _ => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
            })
            .park_backoff([SECOND; 2])
            .park_bytes(1 << 20)
            .run_cancelled(true)
            .respond_fates()
            .build()
            .unwrap();
        let (batch, worker) = layer.pair(inner);
        let worker: Pin<Box<dyn Future<Output = ()>>> = Box::pin(worker);
        Self { handle: batch.handle(), batch, worker: task::spawn(worker), responses }
    }

    fn look(&mut self) {
        let _either = self.worker.poll();
    }

    /// Responds to everything that is in flight.
    fn respond(&self, takes: bool) {
        for response in self.responses.borrow_mut().drain(..) {
            response.send(takes).unwrap();
        }
    }

    /// Lets the server take everything, until the worker has ended.
    async fn end(self) -> Totals {
        let Self { batch, handle, mut worker, responses } = self;
        drop(batch);
        let mut rounds = 0;
        while worker.poll().is_pending() {
            responses.borrow_mut().drain(..).for_each(|response| response.send(true).unwrap());
            tokio::time::advance(SECOND).await;
            rounds += 1;
            assert!(rounds < 50, "it never ends");
        }
        let totals = handle.totals();
        assert!(totals.balance(), "{totals}");
        assert_eq!((totals.pending, handle.bytes()), (0, 0), "{totals}");
        totals
    }
}

#[tokio::test(start_paused = true)]
async fn q07_a_cancelled_emit_was_never_offered_and_passes_its_turn_on() {
    for polls in 0..POLLS {
        let mut rig = Rig::new(Overflow::Refuse, 1);
        let batch = rig.batch.clone();
        batch.emit(0).unwrap();
        rig.look();
        let mut waits = task::spawn(batch.emit_or_wait(1));
        let mut behind = task::spawn(batch.emit_or_wait(2));
        let mut entered = false;
        for poll in 0..polls.min(4) {
            if poll == 3 {
                rig.respond(true);
                rig.look();
            }
            match waits.poll() {
                Poll::Ready(sent) => {
                    sent.unwrap();
                    entered = true;
                    break;
                }
                Poll::Pending => assert_pending!(behind.poll()),
            }
        }
        assert_eq!(entered, polls > 3);
        drop(waits);
        if polls > 0 {
            // Whatever was in before it is taken.
            (0..4).for_each(|_| {
                rig.respond(true);
                rig.look();
            });
            assert!(behind.is_woken());
            assert_ready!(behind.poll()).unwrap();
        }
        drop(behind);
        drop(batch);
        let totals = rig.end().await;
        let expected = 1 + u64::from(entered) + u64::from(polls > 0);
        assert_eq!((totals.offered, totals.delivered), (expected, expected));
    }
}

#[tokio::test(start_paused = true)]
async fn q07_a_cancelled_call_is_sent_all_the_same_also_from_its_parking_place_where_that_was_asked_for() {
    for overflow in [Overflow::Refuse, Overflow::Wait] {
        for polls in 0..POLLS {
            let mut rig = Rig::new(overflow, 1);
            let mut batch = rig.batch.clone();
            let mut call = task::spawn(batch.call(1));
            let mut replied = None;
            for poll in 0..polls {
                if let Poll::Ready(fate) = call.poll() {
                    replied = Some(fate.unwrap());
                    break;
                }
                // Sent, refused, parked, sent again, taken.
                rig.look();
                match poll {
                    1 => rig.respond(false),
                    2 => tokio::time::advance(2 * SECOND).await,
                    4 => rig.respond(true),
                    _ => {}
                }
            }
            drop((call, batch));
            let totals = rig.end().await;
            assert_eq!((totals.offered, totals.delivered), (1, 1));
            assert_eq!(replied.is_some(), polls > 6, "{polls} polls");
            assert!(replied.is_none_or(|fate| fate == Fate::Delivered));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t12_a_cancelled_worker_gives_every_item_a_fate_and_every_caller_an_error() {
    for polls in 0..POLLS {
        let mut rig = Rig::new(Overflow::Refuse, 8);
        let mut callers: Vec<_> = (0..3).map(|n| task::spawn(rig.batch.call(n))).collect();
        for poll in 0..polls {
            rig.look();
            match poll {
                // The first is taken, the second parked, the third is not sent meanwhile.
                0 | 1 => rig.respond(poll == 0),
                4 => tokio::time::advance(2 * SECOND).await,
                _ => {}
            }
        }
        let Rig { handle, worker, .. } = rig;
        drop(worker);
        let totals = handle.totals();
        assert!(totals.balance());
        assert_eq!((totals.pending, handle.bytes()), (0, 0));
        assert_eq!(totals.delivered, u64::from(polls > 1));
        assert_eq!(totals.dropped.get(DropReason::Shutdown), 3 - totals.delivered);
        for caller in &mut callers {
            assert!(caller.poll().is_ready(), "after {polls} polls of the worker");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t09_a_cancelled_flush_or_drain_leaves_the_batcher_working() {
    for polls in 0..4 {
        let mut rig = Rig::new(Overflow::Refuse, 8);
        let handle = rig.handle.clone();
        rig.batch.emit(1).unwrap();
        let mut flush = task::spawn(handle.flush());
        (0..polls).for_each(|_| assert_pending!(flush.poll()));
        drop(flush);
        rig.batch.emit(2).unwrap();
        rig.look();
        let mut drain = task::spawn(handle.drain(SECOND));
        (0..polls).for_each(|_| assert!(drain.poll().is_pending()));
        drop(drain);
        assert_eq!(rig.batch.emit(3).is_err(), polls > 0, "a drain that was begun has closed it");
        let totals = rig.end().await;
        assert_eq!(totals.delivered, if polls > 0 { 2 } else { 3 });
    }
}
