//! Parked items wait for another attempt, beside everything that another thread may do.
//!
//! Time is moved by hand. Under the planted race a worker may sleep for ever.

use super::{SECOND, Woken, bounded, checked, limits, model, poll_once};
use forebay_core::{BoxError, DropReason, Fate, Settlement};
use forebay_intake::advance;
use forebay_queue::{Overflow, Queue, QueueHandle, QueueLayer, ResponseFuture, Worker};
use loom::{future::block_on, thread};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower_service::Service;

/// A server that fails each request below 10 at its first attempt.
#[derive(Clone, Default)]
struct Far {
    seen: Arc<Mutex<Vec<u32>>>,
    /// It does not respond while it is shut.
    shut: Arc<AtomicBool>,
}

struct Responding {
    response: Option<Result<u32, BoxError>>,
    shut: Arc<AtomicBool>,
}

type Works = Pin<Box<Worker<u32, Far, fn(&Result<u32, BoxError>, usize) -> Settlement>>>;

struct Rig {
    queue: Queue<u32, u32>,
    handle: QueueHandle<u32>,
    worker: Works,
    far: Far,
}

// === impl Far ===

impl Service<u32> for Far {
    type Response = u32;
    type Error = BoxError;
    type Future = Responding;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Responding {
        let mut seen = self.seen.lock().unwrap();
        let away = request < 10 && !seen.contains(&request);
        seen.push(request);
        let response = Some(if away { Err("away".into()) } else { Ok(request) });
        Responding { response, shut: Arc::clone(&self.shut) }
    }
}

impl Future for Responding {
    type Output = Result<u32, BoxError>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if self.shut.load(SeqCst) { Poll::Pending } else { Poll::Ready(self.response.take().unwrap()) }
    }
}

// === impl Rig ===

impl Rig {
    fn new() -> Self {
        let settle: fn(&Result<u32, BoxError>, usize) -> Settlement = |result, _| match result {
            Ok(_) => Settlement::All(Fate::Delivered),
            Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
        };
        let far = Far::default();
        let layer = QueueLayer::builder()
            .limits(limits(4))
            .settle(settle)
            .park_backoff([SECOND])
            .park_bytes(1 << 20)
            .build()
            .unwrap();
        let (queue, worker) = layer.pair(far.clone());
        Self { handle: queue.handle(), queue, worker: Box::pin(worker), far }
    }

    /// A call of each of these requests, which is parked.
    fn parks(&mut self, requests: impl IntoIterator<Item = u32>) -> Vec<ResponseFuture<u32, u32>> {
        let calls: Vec<_> = requests.into_iter().map(|request| self.queue.call(request)).collect();
        assert!(poll_once(self.worker.as_mut()).is_pending());
        assert_eq!((self.handle.queued(), self.handle.totals().pending), (calls.len(), calls.len() as u64));
        calls
    }

    fn beside(&self) -> Works {
        Box::pin(Worker::clone(&self.worker))
    }
}

/// What a thread does beside another.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Offer,
    Call,
    /// Looks for an item, sends one that is due, parks one that fails.
    Work,
    /// The worker is dropped; the last one takes what waits with it.
    Leave,
    /// The wait is over.
    Pass,
    Close,
    Raise,
    Lower,
    Drain,
    CancelledFlush,
    CancelledCall,
    Look,
}

use Op::{Call, CancelledCall, CancelledFlush, Close, Drain, Leave, Look, Lower, Offer, Pass, Raise, Work};

/// What has to do with parking, and what is done beside it.
const PARKING: [Op; 4] = [Work, Leave, Pass, Drain];
const BESIDE: [Op; 12] =
    [Work, Leave, Pass, Drain, Offer, Call, Close, Raise, Lower, CancelledFlush, CancelledCall, Look];

/// What one thread has of the queue.
struct Hands {
    queue: Queue<u32, u32>,
    handle: QueueHandle<u32>,
    worker: Option<Works>,
    call: Option<ResponseFuture<u32, u32>>,
    unsent: usize,
}

impl Hands {
    fn act(&mut self, op: Op, id: u32) {
        match op {
            Offer => drop(self.queue.emit(id)),
            Call => {
                let mut call = self.queue.call(id);
                if poll_once(&mut call).is_pending() {
                    self.call = Some(call);
                }
            }
            Work => {
                if poll_once(self.worker.as_mut().unwrap().as_mut()).is_ready() {
                    self.worker = None;
                }
            }
            Leave => self.worker = None,
            Pass => advance(SECOND),
            Close => self.handle.close(),
            Raise => self.handle.set_limits(limits(6)).unwrap(),
            Lower => self.handle.set_limits(limits(1)).unwrap(),
            Drain => {
                let mut drain = Box::pin(self.handle.drain(Duration::ZERO));
                let mut polled = poll_once(drain.as_mut());
                if polled.is_pending() {
                    advance(Duration::from_millis(20));
                    polled = poll_once(drain.as_mut());
                }
                let Poll::Ready(report) = polled else { panic!("its time is over") };
                self.unsent += report.unsent.len();
            }
            CancelledFlush => drop(poll_once(self.handle.flush())),
            CancelledCall => drop(poll_once(self.queue.call(id))),
            Look => drop(checked(&self.handle, 6)),
        }
    }
}

/// One request waits, another is new; then `ops`, each on a thread of its own that has a worker.
fn pair(ops: [Op; 2], due: bool) {
    let mut rig = Rig::new();
    let mut calls = rig.parks([0]);
    if due {
        advance(SECOND);
    }
    calls.push(rig.queue.call(1));
    let Rig { queue, handle, worker, .. } = rig;
    let workers = [Box::pin(Worker::clone(&worker)), worker];
    let threads: Vec<_> = [10, 2]
        .into_iter()
        .zip(ops)
        .zip(workers)
        .map(|((id, op), worker)| {
            let (queue, handle) = (queue.clone(), handle.clone());
            let mut hands = Hands { queue, handle, worker: Some(worker), call: None, unsent: 0 };
            thread::spawn(move || {
                hands.act(op, id);
                hands
            })
        })
        .collect();
    drop(queue);
    let hands: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    checked(&handle, 6);
    let mut workers = Vec::new();
    for Hands { call, worker, .. } in hands {
        calls.extend(call);
        workers.extend(worker);
    }
    // All senders are dropped: a worker that is left processes the items, or they ended with the last worker.
    for _ in 0..6 {
        workers.retain_mut(|worker| poll_once(worker.as_mut()).is_pending());
        advance(SECOND);
    }
    assert!(workers.is_empty(), "the workers end");
    let totals = checked(&handle, 0);
    assert_eq!(totals.delivered + totals.dropped.total(), totals.offered, "{totals}");
    assert_eq!((handle.queued(), handle.bytes()), (0, 0), "every slot is free");
    assert!(calls.into_iter().all(|call| poll_once(call).is_ready()), "every caller has a reply");
}

#[test]
fn x01_parking_beside_every_other_operation_keeps_the_equation_and_loses_nothing() {
    for (n, one) in PARKING.into_iter().enumerate() {
        for other in &BESIDE[n..] {
            for due in [false, true] {
                let ops = [one, *other];
                bounded(move || pair(ops, due));
            }
        }
    }
}

/// The worker sleeps until the wait is over, sends the item again, and replies.
#[test]
fn a_worker_that_waits_for_a_parked_item_is_woken() {
    bounded(|| {
        let mut rig = Rig::new();
        let calls = rig.parks([0]);
        let Rig { queue, worker, handle, .. } = rig;
        let works = thread::spawn(move || block_on(worker));
        advance(SECOND);
        for call in calls {
            assert_eq!(block_on(call).unwrap(), 0);
        }
        drop(queue);
        works.join().unwrap();
        assert_eq!((handle.totals().delivered, handle.bytes()), (1, 0));
    });
}

/// A worker has looked, and found nothing to wait for; another one parks an item, and goes on to something else.
#[test]
fn an_idle_worker_is_woken_for_an_item_that_a_busy_one_parks() {
    bounded(|| {
        let Rig { mut queue, handle, mut worker, far } = Rig::new();
        let mut idle: Works = Box::pin(Worker::clone(&worker));
        far.shut.store(true, SeqCst);
        let call = queue.call(0);
        assert!(poll_once(worker.as_mut()).is_pending(), "it has the request");
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let looks = thread::spawn(move || {
            assert!(idle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            idle
        });
        far.shut.store(false, SeqCst);
        assert!(poll_once(worker.as_mut()).is_pending(), "it has parked the request");
        let mut idle = looks.join().unwrap();
        advance(SECOND);
        let was_woken = woken.was_woken();
        assert!(poll_once(idle.as_mut()).is_pending());
        let has_reply = poll_once(call).is_ready();
        drop((queue, idle, worker, handle));
        assert!(was_woken && has_reply, "it sleeps for ever");
    });
}

/// All workers of a closed queue stay for a parked item, and all end once it was sent.
#[test]
fn workers_that_stay_for_a_parked_item_end_with_it() {
    bounded(|| {
        let mut rig = Rig::new();
        let calls = rig.parks([0]);
        let workers = [rig.beside(), rig.worker];
        rig.handle.close();
        let [one, other] = workers.map(|worker| thread::spawn(move || block_on(worker)));
        advance(SECOND);
        one.join().unwrap();
        other.join().unwrap();
        assert!(calls.into_iter().all(|call| matches!(poll_once(call), Poll::Ready(Ok(0)))));
        assert_eq!(rig.handle.totals().delivered, 1);
    });
}

/// One item is the probe. A worker that found that no other may be sent is woken when the attempt ends, even if it ends because
/// the other worker is dropped.
#[test]
fn after_the_probe_the_next_item_is_sent() {
    model(|| {
        let mut rig = Rig::new();
        let calls = rig.parks([0, 1]);
        let mut idle = rig.beside();
        advance(SECOND);
        rig.far.shut.store(true, SeqCst);
        assert!(poll_once(rig.worker.as_mut()).is_pending(), "it has the probe");
        let woken = Arc::new(Woken::default());
        let waker: Waker = Arc::clone(&woken).into();
        let looks = thread::spawn(move || {
            let cx = &mut Context::from_waker(&waker);
            assert!(idle.as_mut().poll(cx).is_pending());
            idle
        });
        // It is dropped without a response: that attempt is over.
        drop(rig.worker);
        let mut idle = looks.join().unwrap();
        rig.far.shut.store(false, SeqCst);
        let found = rig.far.seen.lock().unwrap().len() == 4;
        let was_woken = woken.was_woken();
        assert!(poll_once(idle.as_mut()).is_pending());
        let has_reply = calls.into_iter().all(|call| poll_once(call).is_ready());
        let totals = rig.handle.totals();
        drop((rig.queue, idle));
        assert!((found || was_woken) && has_reply, "it sleeps for ever");
        assert_eq!((totals.delivered, totals.dropped.get(DropReason::Shutdown)), (1, 1));
    });
}

/// A full queue, in which a parked item holds its slot: a caller that waits for room gets it after the second attempt.
#[test]
fn the_slot_of_a_parked_item_is_given_on_when_it_is_settled() {
    bounded(|| {
        let settle: fn(&Result<u32, BoxError>, usize) -> Settlement = |result, _| match result {
            Ok(_) => Settlement::All(Fate::Delivered),
            Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
        };
        let layer = QueueLayer::builder()
            .limits(limits(1))
            .overflow(Overflow::Wait)
            .settle(settle)
            .park_backoff([SECOND])
            .park_bytes(1 << 20)
            .build()
            .unwrap();
        let (mut queue, worker) = layer.pair(Far::default());
        let (handle, mut worker) = (queue.handle(), Box::pin(worker));
        let first = queue.call(0);
        assert!(poll_once(worker.as_mut()).is_pending());
        let works = thread::spawn(move || block_on(worker));
        let second = queue.call(10);
        advance(SECOND);
        assert_eq!(block_on(second).unwrap(), 10);
        drop((queue, first));
        works.join().unwrap();
        assert_eq!((handle.totals().delivered, handle.bytes()), (2, 0));
    });
}
