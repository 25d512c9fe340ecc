//! Each task that waits is woken for what it waits for, and for the end.

use super::{SECOND, Woken, limits, model, poll_once};
use forebay_core::{DropReason, Fate};
use forebay_intake::advance;
use forebay_queue::{ChannelBuilder, Overflow, QueueHandle, Sender, SlotGuard};
use loom::{future::block_on, thread};
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A receiver looks once, beside `meanwhile`; if it found nothing it has to be woken.
///
/// The assertion stands behind the drop of all ends: they take locks, which a thread that panics under the model cannot.
fn is_woken(meanwhile: impl Fn(Sender<u32>) -> Option<Sender<u32>> + Send + Sync + Copy + 'static) {
    model(move || {
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(2)).build().unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken);
        let looks = thread::spawn(move || {
            let polled = receiver.poll_recv(&mut Context::from_waker(&waker.into()));
            (polled.is_ready(), receiver)
        });
        let sender = meanwhile(sender);
        let (found, receiver) = looks.join().unwrap();
        let woken = woken.was_woken();
        drop((sender, receiver));
        assert!(found || woken, "it sleeps for ever");
    });
}

#[test]
fn a_receiver_that_found_no_item_is_woken_for_one() {
    is_woken(|sender| {
        sender.emit(1).unwrap();
        Some(sender)
    });
}

#[test]
fn a_receiver_that_found_no_item_is_woken_for_the_end() {
    is_woken(|sender| {
        drop(sender);
        None
    });
}

#[test]
fn a_receiver_that_waits_is_woken_for_an_item() {
    model(|| {
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(2)).build().unwrap();
        let receives = thread::spawn(move || {
            let received = block_on(receiver.recv()).unwrap();
            assert_eq!(*received, 1);
        });
        sender.emit(1).unwrap();
        receives.join().unwrap();
        drop(sender);
    });
}

#[test]
fn a_receiver_that_waits_is_woken_for_the_end() {
    model(|| {
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(2)).build::<u32>().unwrap();
        let receives = thread::spawn(move || assert!(block_on(receiver.recv()).is_none()));
        drop(sender);
        receives.join().unwrap();
    });
}

/// Of two receivers the one that was woken goes away instead: the other takes the item.
#[test]
fn a_receive_that_is_cancelled_passes_its_turn_on() {
    model(|| {
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(2)).build().unwrap();
        let mut fickle = receiver.clone();
        let goes = thread::spawn(move || {
            // Registers, and is dropped, whether or not it was woken meanwhile.
            let taken = matches!(poll_once(fickle.recv()), Poll::Ready(Some(_)));
            (taken, fickle)
        });
        let stays = thread::spawn(move || block_on(receiver.recv()).is_some());
        sender.emit(1).unwrap();
        let (taken, fickle) = goes.join().unwrap();
        if taken {
            drop(sender);
        }
        assert_ne!(stays.join().unwrap(), taken);
        drop(fickle);
    });
}

/// A full queue, and one who waits for room, beside each thing that makes room or ends the wait.
fn waits_for_room(meanwhile: impl Fn(&QueueHandle<u32>, SlotGuard<u32>) + Send + Sync + Copy + 'static, enters: bool) {
    model(move || {
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(1)).overflow(Overflow::Wait).build().unwrap();
        let handle = sender.handle();
        sender.emit(1).unwrap();
        let (_, slot) = receiver.try_recv().unwrap().into_parts();
        let waits = thread::spawn(move || {
            let sent = block_on(sender.emit_or_wait(2));
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
fn close_wakes_every_sender_that_waits() {
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
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(2)).build().unwrap();
        let handle = sender.handle();
        sender.emit(1).unwrap();
        let flush = handle.flush();
        let settles = thread::spawn(move || receiver.try_recv().unwrap().settle(Fate::Delivered));
        sender.emit(2).ok();
        block_on(flush);
        assert_eq!(handle.totals().delivered, 1);
        settles.join().unwrap();
    });
}

/// A drain before its deadline waits for the last item, and returns none.
#[test]
fn a_drain_ends_with_the_last_item() {
    model(|| {
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(2)).build().unwrap();
        let handle = sender.handle();
        sender.emit(1).unwrap();
        let settles = thread::spawn(move || receiver.try_recv().unwrap().settle(Fate::Delivered));
        let report = block_on(handle.drain(SECOND));
        assert_eq!((report.totals.delivered, report.unsent.len()), (1, 0));
        settles.join().unwrap();
    });
}

/// The deadline passes beside the last item: it was delivered, or is handed back, and never both.
#[test]
fn a_drain_at_its_deadline_hands_back_the_items_that_were_not_taken() {
    model(|| {
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(2)).build().unwrap();
        let handle = sender.handle();
        sender.emit(1).unwrap();
        let settles = thread::spawn(move || {
            let received = receiver.try_recv();
            let taken = received.is_some();
            received.into_iter().for_each(|received| received.settle(Fate::Delivered));
            (taken, receiver)
        });
        let mut drain = Box::pin(handle.drain(SECOND));
        let mut report = poll_once(drain.as_mut());
        // The deadline, and the time in which work is let go.
        for wait in [SECOND, Duration::from_millis(20)] {
            if report.is_pending() {
                advance(wait);
                report = poll_once(drain.as_mut());
            }
        }
        drop(drain);
        let (taken, receiver) = settles.join().unwrap();
        let Poll::Ready(report) = report else { panic!("its time is over") };
        assert_eq!(report.unsent, if taken { vec![] } else { vec![1] });
        assert_eq!(handle.totals().delivered, u64::from(taken));
        assert!(handle.totals().balance());
        assert_eq!((handle.totals().pending, handle.bytes()), (0, 0));
        drop((sender, receiver));
    });
}

/// A drain beyond its deadline ends what others wait for.
#[test]
fn a_drain_wakes_every_task_that_waits() {
    model(|| {
        let (sender, mut receiver) = ChannelBuilder::new().limits(limits(1)).overflow(Overflow::Wait).build().unwrap();
        let handle = sender.handle();
        let receives = thread::spawn(move || block_on(receiver.recv()).map(|received| *received));
        let report = block_on(handle.drain(Duration::ZERO));
        assert_eq!(receives.join().unwrap(), None);
        assert_eq!(sender.emit(1).unwrap_err().reason, DropReason::Shutdown);
        assert!(report.unsent.is_empty());
    });
    model(|| {
        let (sender, receiver) = ChannelBuilder::new().limits(limits(1)).overflow(Overflow::Wait).build().unwrap();
        let handle = sender.handle();
        sender.emit(1).unwrap();
        let flush = handle.flush();
        let sends = thread::spawn(move || block_on(sender.emit_or_wait(2)).unwrap_err());
        let report = block_on(handle.drain(Duration::ZERO));
        assert_eq!(report.unsent, [1]);
        block_on(flush);
        let refused = sends.join().unwrap();
        assert_eq!((refused.reason, refused.into_item()), (DropReason::Shutdown, 2));
        assert_eq!((handle.totals().pending, handle.bytes()), (0, 0));
        drop(receiver);
    });
}
