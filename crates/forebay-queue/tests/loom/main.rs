//! The queue between threads, in every order that two of them can bring about.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p forebay-queue --test loom --release`; with `--cfg forebay_planted_race` beside
//! it, the tests that must catch the race have to panic (those that would end in a deadlock are left out).

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{DropReason, Fate, Totals};
use forebay_queue::{Channel, Limits, Overflow, QueueHandle, Receiver, Sender, Slot};
use loom::{future::block_on, thread};
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

/// What a thread does beside another.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Offer,
    /// Waits for room, is polled once, and is dropped.
    CancelledSend,
    Take,
    /// Waits for an item, is polled once, and is dropped.
    CancelledRecv,
    Burst,
    Complete,
    /// The item's slot is dropped, as when its work is.
    Cancel,
    Close,
    Raise,
    Lower,
    CancelledFlush,
    Look,
    CloneAndDrop,
}

use Op::{
    Burst, Cancel, CancelledFlush, CancelledRecv, CancelledSend, CloneAndDrop, Close, Complete, Look, Lower, Offer,
    Raise, Take,
};

const OPS: [Op; 13] = [
    Offer,
    CancelledSend,
    Take,
    CancelledRecv,
    Burst,
    Complete,
    Cancel,
    Close,
    Raise,
    Lower,
    CancelledFlush,
    Look,
    CloneAndDrop,
];

/// What one thread has of the queue.
struct Hands {
    sender: Sender<u32>,
    receiver: Receiver<u32>,
    handle: QueueHandle<u32>,
    /// An item that was taken before the threads began.
    slot: Option<Slot<u32>>,
    taken: Vec<u32>,
    entered: Vec<u32>,
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    builder.check(run);
}

fn limits(items: usize) -> Limits {
    Limits::new().items(items).soft_limit(1.0)
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn checked(handle: &QueueHandle<u32>, most: u64) -> Totals {
    let totals = handle.totals();
    assert!(totals.balance(), "{totals}");
    assert!(totals.pending <= most, "{totals}");
    totals
}

impl Hands {
    fn act(&mut self, op: Op, id: u32) {
        match op {
            Offer => self.entered.extend(self.sender.try_send(id).is_ok().then_some(id)),
            CancelledSend => {
                let sent = poll_once(self.sender.send(id));
                self.entered.extend(matches!(sent, Poll::Ready(Ok(()))).then_some(id));
            }
            Take => {
                let received = self.receiver.try_recv();
                self.taken.extend(received.as_deref().copied());
                received.into_iter().for_each(|received| received.settle(Fate::Delivered));
            }
            CancelledRecv => {
                if let Poll::Ready(Some(received)) = poll_once(self.receiver.recv()) {
                    self.taken.push(*received);
                }
            }
            Burst => {
                let mut burst = self.receiver.drain(8);
                self.taken.extend(burst.by_ref());
                burst.settle(Fate::Delivered);
            }
            Complete => self.slot.take().unwrap().settle(Fate::Delivered),
            Cancel => drop(self.slot.take()),
            Close => self.handle.close(),
            Raise => self.handle.set_limits(limits(6)).unwrap(),
            Lower => self.handle.set_limits(limits(1)).unwrap(),
            CancelledFlush => drop(poll_once(self.handle.flush())),
            Look => drop(checked(&self.handle, 6)),
            CloneAndDrop => drop((self.sender.clone(), self.receiver.clone())),
        }
    }
}

/// Two items in hand, one in the queue, room for one more; then `ops`, each on a thread of its own.
fn pair(ops: [Op; 2]) {
    let (sender, mut receiver) = Channel::new().limits(limits(4)).overflow(Overflow::Wait).build().unwrap();
    let handle = sender.handle();
    let slots: Vec<_> = (0..2)
        .map(|id| {
            sender.try_send(id).unwrap();
            receiver.try_recv().unwrap().into_parts().1
        })
        .collect();
    sender.try_send(2).unwrap();
    let threads: Vec<_> = (10..)
        .zip(ops)
        .zip(slots)
        .map(|((id, op), slot)| {
            let (sender, receiver, handle) = (sender.clone(), receiver.clone(), handle.clone());
            let mut hands =
                Hands { sender, receiver, handle, slot: Some(slot), taken: Vec::new(), entered: Vec::new() };
            thread::spawn(move || {
                hands.act(op, id);
                hands
            })
        })
        .collect();
    let hands: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    checked(&handle, 6);

    // What was taken in has left once, or is still here.
    let mut entered: Vec<_> = hands.iter().flat_map(|hands| hands.entered.clone()).chain([2]).collect();
    let mut left: Vec<_> = hands.iter().flat_map(|hands| hands.taken.clone()).collect();
    handle.close();
    while let Some(received) = receiver.try_recv() {
        left.push(*received);
        received.settle(Fate::Delivered);
    }
    entered.sort_unstable();
    left.sort_unstable();
    assert_eq!(entered, left);
    drop(hands);
    let totals = checked(&handle, 0);
    assert_eq!(totals.delivered + totals.dropped.total(), totals.offered);
    assert_eq!(handle.bytes(), 0, "every slot came back");
}

/// Every operation beside every other, and beside itself.
#[test]
fn x01_every_pair_of_operations_keeps_the_equation_and_loses_nothing() {
    for (n, one) in OPS.into_iter().enumerate() {
        for other in &OPS[n..] {
            let ops = [one, *other];
            model(move || pair(ops));
        }
    }
}

/// Notes that it was woken.
#[derive(Default)]
struct Heard(AtomicBool);

impl Wake for Heard {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// A receiver looks once, beside `meanwhile`; if it found nothing it has to be woken.
///
/// The verdict is spoken when all ends are gone: they take locks, which a thread that panics under the model cannot.
fn hears(meanwhile: impl Fn(Sender<u32>) -> Option<Sender<u32>> + Send + Sync + Copy + 'static) {
    model(move || {
        let (sender, mut receiver) = Channel::new().limits(limits(2)).build().unwrap();
        let heard = Arc::new(Heard::default());
        let waker = Arc::clone(&heard);
        let looks = thread::spawn(move || {
            let polled = receiver.poll_recv(&mut Context::from_waker(&waker.into()));
            (polled.is_ready(), receiver)
        });
        let sender = meanwhile(sender);
        let (found, receiver) = looks.join().unwrap();
        let heard = heard.0.load(SeqCst);
        drop((sender, receiver));
        assert!(found || heard, "it sleeps for ever");
    });
}

#[test]
#[cfg_attr(forebay_planted_race, should_panic(expected = "it sleeps for ever"))]
fn whoever_found_nothing_is_woken_for_an_item() {
    hears(|sender| {
        sender.try_send(1).unwrap();
        Some(sender)
    });
}

#[test]
fn whoever_found_nothing_is_woken_for_the_end() {
    hears(|sender| {
        drop(sender);
        None
    });
}

#[test]
#[cfg(not(forebay_planted_race))]
fn whoever_waits_for_an_item_hears_of_it() {
    model(|| {
        let (sender, mut receiver) = Channel::new().limits(limits(2)).build().unwrap();
        let receives = thread::spawn(move || {
            let received = block_on(receiver.recv()).unwrap();
            assert_eq!(*received, 1);
        });
        sender.try_send(1).unwrap();
        receives.join().unwrap();
        drop(sender);
    });
}

#[test]
#[cfg(not(forebay_planted_race))]
fn whoever_waits_for_an_item_hears_of_the_end() {
    model(|| {
        let (sender, mut receiver) = Channel::new().limits(limits(2)).build::<u32>().unwrap();
        let receives = thread::spawn(move || assert!(block_on(receiver.recv()).is_none()));
        drop(sender);
        receives.join().unwrap();
    });
}

/// Of two receivers the one that was woken goes away instead: the other takes the item.
#[test]
#[cfg(not(forebay_planted_race))]
fn a_receive_that_is_cancelled_passes_its_turn_on() {
    model(|| {
        let (sender, mut receiver) = Channel::new().limits(limits(2)).build().unwrap();
        let mut fickle = receiver.clone();
        let goes = thread::spawn(move || {
            // Registers, and is dropped, whether or not it was woken meanwhile.
            let taken = matches!(poll_once(fickle.recv()), Poll::Ready(Some(_)));
            (taken, fickle)
        });
        let stays = thread::spawn(move || block_on(receiver.recv()).is_some());
        sender.try_send(1).unwrap();
        let (taken, fickle) = goes.join().unwrap();
        if taken {
            drop(sender);
        }
        assert_ne!(stays.join().unwrap(), taken);
        drop(fickle);
    });
}

/// A full queue, and one who waits for room, beside each thing that makes room or ends the wait.
fn waits_for_room(meanwhile: impl Fn(&QueueHandle<u32>, Slot<u32>) + Send + Sync + Copy + 'static, enters: bool) {
    model(move || {
        let (sender, mut receiver) = Channel::new().limits(limits(1)).overflow(Overflow::Wait).build().unwrap();
        let handle = sender.handle();
        sender.try_send(1).unwrap();
        let (_, slot) = receiver.try_recv().unwrap().into_parts();
        let waits = thread::spawn(move || {
            let sent = block_on(sender.send(2));
            assert_eq!(sent.map_err(|refused| refused.reason), if enters { Ok(()) } else { Err(DropReason::Shutdown) });
        });
        meanwhile(&handle, slot);
        waits.join().unwrap();
        assert!(handle.totals().balance());
        assert_eq!(receiver.try_recv().is_some(), enters);
    });
}

#[test]
fn a_settled_item_lets_the_next_in() {
    waits_for_room(|_, slot| slot.settle(Fate::Delivered), true);
}

#[test]
fn raised_limits_let_the_next_in() {
    waits_for_room(
        |handle, slot| {
            handle.set_limits(limits(2)).unwrap();
            drop(slot);
        },
        true,
    );
}

#[test]
fn close_sends_whoever_waits_away() {
    waits_for_room(
        |handle, slot| {
            handle.close();
            // Freed only after the end.
            drop(slot);
        },
        false,
    );
}

#[test]
fn a_flush_ends_with_the_last_item_before_it() {
    model(|| {
        let (sender, mut receiver) = Channel::new().limits(limits(2)).build().unwrap();
        let handle = sender.handle();
        sender.try_send(1).unwrap();
        let flush = handle.flush();
        let settles = thread::spawn(move || receiver.try_recv().unwrap().settle(Fate::Delivered));
        sender.try_send(2).ok();
        block_on(flush);
        assert_eq!(handle.totals().delivered, 1);
        settles.join().unwrap();
    });
}

/// Under the planted race a call may end in a deadlock.
#[cfg(not(forebay_planted_race))]
mod service {
    use super::{limits, model, poll_once};
    use forebay_core::BoxError;
    use forebay_queue::QueueLayer;
    use loom::{future::block_on, thread};
    use std::{
        convert::Infallible,
        future::{Ready, ready},
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering::SeqCst},
        },
        task::{Context, Poll},
    };
    use tower_service::Service;

    /// Counts what it is called with.
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicU64>);

    impl Service<u32> for Count {
        type Response = u32;
        type Error = Infallible;
        type Future = Ready<Result<u32, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: u32) -> Self::Future {
            self.0.fetch_add(1, SeqCst);
            ready(Ok(request))
        }
    }

    #[test]
    fn a_call_is_answered_and_the_worker_ends_with_the_queue() {
        model(|| {
            let (mut queue, worker) = QueueLayer::builder().limits(limits(2)).build().unwrap().pair(Count::default());
            let handle = queue.handle();
            let works = thread::spawn(move || block_on(worker));
            let answer: Result<u32, BoxError> = block_on(queue.call(7));
            assert_eq!(answer.unwrap(), 7);
            assert_eq!(handle.totals().delivered, 1, "in the ledger before the answer");
            drop(queue);
            works.join().unwrap();
            assert!(handle.totals().balance());
        });
    }

    #[test]
    fn a_caller_that_goes_away_leaves_the_item_and_no_slot_behind() {
        model(|| {
            let count = Count::default();
            let (mut queue, worker) = QueueLayer::builder().limits(limits(2)).build().unwrap().pair(count.clone());
            let handle = queue.handle();
            let works = thread::spawn(move || block_on(worker));
            let _gone = poll_once(queue.call(7));
            drop(queue);
            works.join().unwrap();
            let totals = handle.totals();
            assert_eq!((totals.delivered, totals.pending, count.0.load(SeqCst)), (1, 0, 1));
        });
    }
}
