//! The last receiver goes away, with what is in the queue, beside everything that another thread may do.

use super::{checked, limits, model, poll_once};
use forebay_core::{DropReason, Fate};
use forebay_queue::{ChannelBuilder, Overflow, QueueHandle, Receiver, Sender, SlotGuard};
use loom::{future::block_on, thread};
use std::sync::Arc;

/// Counts how many of it there are.
type Item = Arc<()>;

/// What the other thread has.
struct Other {
    sender: Sender<Item>,
    handle: QueueHandle<Item>,
    slot: SlotGuard<Item>,
    item: Item,
}

/// One item in hand and one in the queue, which is full with them.
fn beside(act: impl Fn(Other) + Send + Sync + Copy + 'static) {
    with_receivers(move |receiver, other| {
        let goes = thread::spawn(move || drop(receiver));
        act(other);
        goes.join().unwrap();
    });
}

fn with_receivers(run: impl Fn(Receiver<Item>, Other) + Send + Sync + 'static) {
    model(move || {
        let item = Item::default();
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(2)).overflow(Overflow::Wait).build().unwrap();
        let handle = sender.handle();
        sender.emit(Arc::clone(&item)).unwrap();
        let slot = receiver.try_recv().unwrap().into_parts().1;
        sender.emit(Arc::clone(&item)).unwrap();
        run(receiver, Other { sender, handle: handle.clone(), slot, item: Arc::clone(&item) });
        let totals = checked(&handle, 0);
        assert_eq!(totals.delivered + totals.dropped.total(), totals.offered, "{totals}");
        assert_eq!((handle.queued(), handle.bytes()), (0, 0), "every slot is free");
        drop(handle);
        assert_eq!(Arc::strong_count(&item), 1, "no item is kept");
    });
}

#[test]
fn an_offer_is_dropped_with_the_rest_or_refused() {
    beside(|other| {
        other.slot.settle(Fate::Delivered);
        if let Err(refused) = other.sender.emit(other.item) {
            // Before the receiver went there was room.
            assert_eq!(refused.reason, DropReason::Shutdown);
        }
    });
}

#[test]
fn a_sender_that_waits_for_room_is_refused() {
    beside(|other| {
        let sent = block_on(other.sender.emit_or_wait(other.item));
        assert_eq!(sent.unwrap_err().reason, DropReason::Shutdown);
    });
    beside(|other| drop(poll_once(other.sender.emit_or_wait(other.item))));
}

#[test]
fn what_is_in_hand_is_settled_all_the_same() {
    beside(|other| {
        other.slot.settle(Fate::Delivered);
        assert_eq!(other.handle.totals().delivered, 1);
    });
    beside(|other| {
        drop(other.slot);
        assert_eq!(other.handle.totals().dropped.get(DropReason::Failed), 1);
    });
}

#[test]
fn a_flush_ends() {
    beside(|other| {
        let flush = other.handle.flush();
        drop(other.slot);
        block_on(flush);
        assert_eq!(other.handle.totals().pending, 0);
    });
    beside(|other| {
        let _not_over = poll_once(other.handle.flush());
    });
}

#[test]
fn a_drain_ends_and_hands_back_what_was_not_dropped() {
    beside(|other| {
        drop(other.slot);
        let report = block_on(other.handle.drain(std::time::Duration::ZERO));
        assert_eq!(report.totals.pending, 0);
        assert_eq!(report.totals.dropped.get(DropReason::Shutdown), 1, "handed back or not");
    });
}

#[test]
fn the_end_and_other_limits_change_nothing_of_it() {
    beside(|other| other.handle.close());
    beside(|other| drop(other.sender));
    beside(|other| other.handle.set_limits(limits(6)).unwrap());
    beside(|other| other.handle.set_limits(limits(1)).unwrap());
    beside(|other| {
        checked(&other.handle, 2);
    });
}

/// Two receivers go; whichever is the last takes the rest with it.
#[test]
fn of_two_receivers_the_last_one_counts() {
    let pairs: [fn(Receiver<Item>); 4] = [
        drop,
        |mut receiver| drop(receiver.try_recv()),
        |mut receiver| receiver.drain(8).settle(Fate::Delivered),
        |mut receiver| drop(poll_once(receiver.recv())),
    ];
    for one in pairs {
        with_receivers(move |receiver, other| {
            let beside = receiver.clone();
            let goes = thread::spawn(move || one(beside));
            drop(receiver);
            goes.join().unwrap();
            drop(other);
        });
    }
}
