//! The queue as a plain channel.

use forebay_core::{DropReason, Fate, Priority};
use forebay_queue::{ChannelBuilder, Limits, Offer, Overflow, channel};
use std::time::Duration;
use tokio_test::{assert_pending, assert_ready, task};

fn high<T: forebay_core::Footprint>(item: T) -> Offer<T> {
    Offer::new(item).priority(Priority::High)
}

#[test]
fn a_slot_is_taken_until_what_was_received_is_settled() {
    let (sender, mut receiver) = channel::<u32>(Limits::new().items(1).soft_limit(1.0)).unwrap();
    sender.emit(1).unwrap();
    let received = receiver.try_recv().unwrap();
    assert_eq!(*received, 1);
    assert_eq!(sender.emit(2).unwrap_err().into_item(), 2);
    received.settle(Fate::Delivered);
    sender.emit(3).unwrap();

    let (item, slot) = receiver.try_recv().unwrap().into_parts();
    assert_eq!(item, 3);
    drop(slot);
    let totals = sender.handle().totals();
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Failed), totals.pending), (1, 1, 0));
}

#[test]
fn an_item_that_is_dropped_in_a_panic_counts_as_panicked() {
    let (sender, mut receiver) = channel::<u32>(Limits::new()).unwrap();
    let handle = sender.handle();
    sender.emit(1).unwrap();
    sender.emit(2).unwrap();
    let lost = std::thread::spawn(move || {
        let _one = receiver.try_recv().unwrap();
        let _rest = receiver.drain(10);
        panic!("on purpose");
    });
    assert!(lost.join().is_err());
    assert_eq!((handle.totals().dropped.get(DropReason::Panicked), handle.totals().pending), (2, 0));
}

#[test]
fn a_burst_leaves_in_order_and_settles_at_once() {
    let (sender, mut receiver) = channel::<u32>(Limits::new()).unwrap();
    (0..3).for_each(|n| sender.emit(n).unwrap());
    sender.emit(high(100)).unwrap();
    let mut burst = receiver.drain(usize::MAX);
    assert_eq!((burst.len(), sender.handle().queued()), (4, 0));
    assert_eq!(burst.by_ref().collect::<Vec<_>>(), [100, 0, 1, 2]);
    assert_eq!(sender.handle().totals().pending, 4);
    burst.settle(Fate::Delivered);
    assert_eq!((sender.handle().totals().delivered, sender.handle().bytes()), (4, 0));

    (0..5).for_each(|n| sender.emit(n).unwrap());
    let flush = sender.handle().flush();
    (5..9).for_each(|n| sender.emit(n).unwrap());
    assert_eq!(receiver.drain(2).collect::<Vec<_>>(), [0, 1]);
    let mut rest = receiver.drain(usize::MAX);
    assert_eq!(rest.next(), Some(2), "a burst may hold items of two epochs");
    rest.settle(Fate::Delivered);
    assert_ready!(task::spawn(flush).poll());
    let totals = sender.handle().totals();
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Failed)), (11, 2));
    assert_eq!(receiver.drain(9).len(), 0);
}

#[tokio::test]
async fn receivers_wait_in_turn_and_pass_on_items_that_they_do_not_take() {
    let (sender, mut first) = channel::<u32>(Limits::new()).unwrap();
    let mut second = first.clone();
    let mut waits = task::spawn(async move { first.recv().await.map(|item| item.into_parts().0) });
    let mut waits_too = task::spawn(async move { second.recv().await.map(|item| item.into_parts().0) });
    assert_pending!(waits.poll());
    assert_pending!(waits_too.poll());
    sender.emit(1).unwrap();
    assert!(waits.is_woken() && !waits_too.is_woken());
    drop(waits);
    assert!(waits_too.is_woken(), "the item is not forgotten with the receiver it woke");
    assert_eq!(assert_ready!(waits_too.poll()), Some(1));
}

#[tokio::test]
async fn recv_ends_when_the_last_sender_is_dropped_and_all_items_are_taken() {
    let (sender, mut receiver) = channel::<u32>(Limits::new()).unwrap();
    let other = sender.clone();
    sender.emit(1).unwrap();
    drop(sender);
    other.emit(2).unwrap();
    drop(other);
    receiver.recv().await.unwrap().settle(Fate::Delivered);
    receiver.recv().await.unwrap().settle(Fate::Delivered);
    assert!(receiver.recv().await.is_none());
}

#[tokio::test]
async fn send_waits_in_line_and_the_large_one_is_not_overtaken() {
    let (sender, mut receiver) = channel::<u32>(Limits::new().bytes(10).soft_limit(1.0)).unwrap();
    sender.emit(Offer::new(0).weight(4)).unwrap();
    sender.emit(Offer::new(1).weight(4)).unwrap();
    let mut large = task::spawn(sender.emit_or_wait(Offer::new(2).weight(8)));
    let mut small = task::spawn(sender.emit_or_wait(Offer::new(3).weight(2)));
    assert_pending!(large.poll());
    assert_pending!(small.poll());
    receiver.try_recv().unwrap().settle(Fate::Delivered);
    assert!(large.is_woken());
    assert_pending!(large.poll());
    assert!(!small.is_woken(), "room for the small one is kept for the one before it");
    receiver.try_recv().unwrap().settle(Fate::Delivered);
    assert_ready!(large.poll()).unwrap();
    assert!(small.is_woken(), "who enters lets the next try");
    assert_ready!(small.poll()).unwrap();

    let mut hopeless = task::spawn(sender.emit_or_wait(Offer::new(4).weight(11)));
    assert_eq!(assert_ready!(hopeless.poll()).unwrap_err().reason, DropReason::TooLarge);
}

#[tokio::test]
async fn a_sender_that_leaves_the_line_lets_the_next_go() {
    let (sender, mut receiver) = channel::<u32>(Limits::new().items(1).soft_limit(1.0)).unwrap();
    sender.emit(0).unwrap();
    let mut first = task::spawn(sender.emit_or_wait(1));
    let mut second = task::spawn(sender.emit_or_wait(2));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    receiver.try_recv().unwrap().settle(Fate::Delivered);
    assert!(first.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_ready!(second.poll()).unwrap();
    assert_eq!(sender.handle().totals().offered, 2);
}

#[tokio::test]
async fn close_hands_every_waiting_item_back() {
    let (sender, _receiver) = channel::<u32>(Limits::new().items(1).soft_limit(1.0)).unwrap();
    sender.emit(0).unwrap();
    let mut waiting: Vec<_> = (1..4).map(|n| task::spawn(sender.emit_or_wait(n))).collect();
    waiting.iter_mut().for_each(|send| assert_pending!(send.poll()));
    sender.handle().close();
    for (send, item) in waiting.iter_mut().zip(1..) {
        assert!(send.is_woken());
        let refused = assert_ready!(send.poll()).unwrap_err();
        assert_eq!((refused.reason, refused.into_item()), (DropReason::Shutdown, item));
    }
}

#[test]
fn the_last_receiver_takes_the_queue_with_it() {
    let (sender, receiver) = channel::<u32>(Limits::new()).unwrap();
    let held = receiver.clone();
    sender.emit(1).unwrap();
    drop(receiver);
    sender.emit(2).unwrap();
    drop(held);
    assert_eq!(sender.emit(3).unwrap_err().reason, DropReason::Shutdown);
    assert_eq!(sender.handle().totals().dropped.get(DropReason::Shutdown), 3);
    assert_eq!(sender.handle().totals().pending, 0);
}

#[tokio::test(start_paused = true)]
async fn age_and_shares_hold_for_bursts_too() {
    let limits = Limits::new().items(10).fair_share(0.2).soft_limit(1.0);
    let (sender, mut receiver) =
        ChannelBuilder::new().limits(limits).max_age(Duration::from_secs(1)).fair_shares().build::<u32>().unwrap();
    sender.emit(Offer::new(0).fair_share_key(7)).unwrap();
    tokio::time::advance(Duration::from_millis(1500)).await;
    sender.emit(Offer::new(1).fair_share_key(7)).unwrap();
    assert_eq!(sender.emit(Offer::new(2).fair_share_key(7)).unwrap_err().reason, DropReason::FairShare);
    let mut burst = receiver.drain(10);
    assert_eq!(burst.by_ref().collect::<Vec<_>>(), [1]);
    burst.settle(Fate::Delivered);
    (0..2).for_each(|n| sender.emit(Offer::new(n).fair_share_key(7)).unwrap());
    assert_eq!(sender.handle().totals().dropped.get(DropReason::Expired), 1);
}

#[test]
fn an_age_limit_cannot_be_set_where_no_times_are_kept() {
    let (sender, _receiver) = channel::<u32>(Limits::new()).unwrap();
    assert_eq!(sender.handle().set_max_age(Duration::from_secs(1)).unwrap_err().knob(), "max_age");
}

#[test]
fn the_channel_drops_the_oldest_where_asked_to() {
    let limits = Limits::new().items(3).soft_limit(1.0);
    let (sender, mut receiver) =
        ChannelBuilder::new().limits(limits).overflow(Overflow::DropOldest).build::<u32>().unwrap();
    (0..5).for_each(|n| sender.emit(n).unwrap());
    assert_eq!(receiver.drain(9).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(sender.handle().totals().dropped.get(DropReason::Evicted), 2);
}

/// Panics when it is dropped, if it says so.
struct Fragile(bool);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.0 || std::thread::panicking(), "the item");
    }
}

#[tokio::test(start_paused = true)]
async fn f18_an_expired_item_that_panics_when_it_is_dropped_does_not_cost_the_next_one() {
    let limit = Duration::from_secs(1);
    let (sender, mut receiver) = ChannelBuilder::new().weigh(|_: &Fragile| 1).max_age(limit).build().unwrap();
    for (n, take) in [1, 2].into_iter().zip([false, true]) {
        sender.emit(Fragile(true)).unwrap();
        tokio::time::advance(2 * limit).await;
        sender.emit(Fragile(false)).unwrap();
        if take {
            let drained = receiver.drain(8);
            assert_eq!(drained.len(), 1);
            drained.settle(Fate::Delivered);
        } else {
            receiver.try_recv().unwrap().settle(Fate::Delivered);
        }
        let totals = sender.handle().totals();
        assert_eq!((totals.delivered, totals.dropped.get(DropReason::Expired), totals.pending), (n, n, 0));
    }
}
