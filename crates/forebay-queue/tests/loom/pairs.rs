//! Every operation of a channel beside every other, and beside itself.

use super::{bounded, checked, limits, model, poll_once};
use forebay_core::Fate;
use forebay_intake::advance;
use forebay_queue::{ChannelBuilder, Overflow, QueueHandle, Receiver, Sender, SlotGuard};
use loom::thread;
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
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
    /// Whose deadline is over at once.
    Drain,
    CancelledDrain,
    Look,
    CloneAndDrop,
}

use Op::{
    Burst, Cancel, CancelledDrain, CancelledFlush, CancelledRecv, CancelledSend, CloneAndDrop, Close, Complete, Drain,
    Look, Lower, Offer, Raise, Take,
};

const OPS: [Op; 15] = [
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
    Drain,
    CancelledDrain,
    Look,
    CloneAndDrop,
];

/// How long a drain waits, after its deadline, for work to be let go.
const LET_GO: Duration = Duration::from_millis(20);

/// What one thread has of the queue.
struct Hands {
    sender: Sender<u32>,
    receiver: Receiver<u32>,
    handle: QueueHandle<u32>,
    /// An item that was taken before the threads began.
    slot: Option<SlotGuard<u32>>,
    taken: Vec<u32>,
    entered: Vec<u32>,
}

impl Hands {
    fn act(&mut self, op: Op, id: u32) {
        match op {
            Offer => self.entered.extend(self.sender.emit(id).is_ok().then_some(id)),
            CancelledSend => {
                let sent = poll_once(self.sender.emit_or_wait(id));
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
            Drain => self.drain(),
            CancelledDrain => drop(poll_once(self.handle.drain(Duration::MAX))),
            Look => drop(checked(&self.handle, 6)),
            CloneAndDrop => drop((self.sender.clone(), self.receiver.clone())),
        }
    }

    /// What is in the hands of receivers is waited for until the time that it gets is over, too.
    fn drain(&mut self) {
        let mut drain = pin!(self.handle.drain(Duration::ZERO));
        let mut cx = Context::from_waker(Waker::noop());
        let report = match drain.as_mut().poll(&mut cx) {
            Poll::Ready(report) => report,
            Poll::Pending => {
                advance(LET_GO);
                let Poll::Ready(report) = drain.poll(&mut cx) else { panic!("its time is over") };
                report
            }
        };
        assert!(report.totals.balance(), "{}", report.totals);
        self.taken.extend(report.unsent);
    }
}

/// Two items in hand, one in the queue, room for one more; then `ops`, each on a thread of its own.
fn pair(ops: [Op; 2]) {
    let (sender, mut receiver) = ChannelBuilder::new().limits(limits(4)).overflow(Overflow::Wait).build().unwrap();
    let handle = sender.handle();
    let slots: Vec<_> = (0..2)
        .map(|id| {
            sender.emit(id).unwrap();
            receiver.try_recv().unwrap().into_parts().1
        })
        .collect();
    sender.emit(2).unwrap();
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
    assert_eq!(handle.bytes(), 0, "every slot is free");
}

/// Every operation beside every other, and beside itself.
#[test]
fn x01_every_pair_of_operations_keeps_the_equation_and_loses_nothing() {
    for (n, one) in OPS.into_iter().enumerate() {
        for other in &OPS[n..] {
            let ops = [one, *other];
            if ops.contains(&Drain) { bounded(move || pair(ops)) } else { model(move || pair(ops)) }
        }
    }
}
