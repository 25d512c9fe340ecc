//! Several queues that share a byte budget.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use forebay_core::{DropReason, Fate, Priority};
use forebay_queue::{
    ByteBudget, ChannelBuilder, EmitOrWait, Limits, Offer, Overflow, QueueHandle, Received, Receiver, Rejected, Sender,
};
use proptest::prelude::*;
use tokio_test::task::{self, Spawn};

const BUDGET: usize = 100;
const MEMBERS: usize = 3;

/// An item that knows its weight and its lane.
#[derive(Clone, Copy, Debug)]
struct Item {
    bytes: usize,
    high: bool,
}

fn channel(budget: &ByteBudget, overflow: Overflow, limits: Limits) -> (Sender<Item>, Receiver<Item>) {
    ChannelBuilder::new()
        .weigh(|item: &Item| item.bytes)
        .limits(limits)
        .overflow(overflow)
        .byte_budget(budget)
        .build()
        .unwrap()
}

fn of(bytes: usize, high: bool) -> Offer<Item> {
    Offer::new(Item { bytes, high }).priority(if high { Priority::High } else { Priority::Normal })
}

#[derive(Clone, Debug)]
enum Step {
    Emit { member: usize, bytes: usize, high: bool },
    Wait { member: usize, bytes: usize, high: bool },
    StopWaiting(usize),
    Take(usize),
    Settle { which: usize, how: u8 },
    SoftLimit(u8),
    Abandon(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    let member = 0..MEMBERS;
    let bytes = prop_oneof![4 => 0_usize..40, 1 => 40_usize..=BUDGET + 1];
    prop_oneof![
        6 => (member.clone(), bytes.clone(), prop::bool::weighted(0.2))
            .prop_map(|(member, bytes, high)| Step::Emit { member, bytes, high }),
        4 => (member.clone(), bytes, prop::bool::weighted(0.2))
            .prop_map(|(member, bytes, high)| Step::Wait { member, bytes, high }),
        1 => (0_usize..20).prop_map(Step::StopWaiting),
        6 => member.clone().prop_map(Step::Take),
        6 => (0_usize..20, any::<u8>()).prop_map(|(which, how)| Step::Settle { which, how }),
        1 => (0_u8..=100).prop_map(Step::SoftLimit),
        1 => member.prop_map(Step::Abandon),
    ]
}

/// An item that waits for room.
struct Waiter<'a> {
    member: usize,
    bytes: usize,
    high: bool,
    future: Spawn<EmitOrWait<'a, Item>>,
}

/// The queues, and what the plain model knows of them: how much each holds, and which items could be evicted.
struct World<'a> {
    budget: &'a ByteBudget,
    senders: &'a [Sender<Item>],
    handles: Vec<QueueHandle<Item>>,
    receivers: Vec<Option<Receiver<Item>>>,
    /// Of each member the queued items of normal priority, oldest first, those of high priority, and those in hand.
    queued: Vec<[Vec<usize>; 2]>,
    in_hand: Vec<(usize, Received<Item>)>,
    waiters: Vec<Waiter<'a>>,
    soft: usize,
}

/// The members: one refuses, one evicts, one may hold three items alone.
const OVERFLOWS: [Overflow; MEMBERS] = [Overflow::Refuse, Overflow::DropOldest, Overflow::Refuse];
const ITEMS: [usize; MEMBERS] = [1_000, 1_000, 3];

impl World<'_> {
    fn held_by(&self, member: usize) -> usize {
        let queued = self.queued[member].iter().flatten().sum::<usize>();
        queued + self.in_hand.iter().filter(|(of, _)| *of == member).map(|(_, item)| item.bytes).sum::<usize>()
    }

    fn held(&self) -> usize {
        (0..MEMBERS).map(|member| self.held_by(member)).sum()
    }

    fn has_room(&self, member: usize, bytes: usize, high: bool, freed: &[usize]) -> bool {
        let in_hand = self.in_hand.iter().filter(|(of, _)| *of == member).count();
        let items = self.queued[member].iter().map(Vec::len).sum::<usize>() + in_hand - freed.len();
        let held = self.held() - freed.iter().sum::<usize>();
        items < ITEMS[member] && held + bytes <= BUDGET && (high || held < self.soft)
    }

    fn emit(&mut self, member: usize, bytes: usize, high: bool) {
        let result = self.senders[member].emit(of(bytes, high));
        let evictable = if OVERFLOWS[member] == Overflow::DropOldest { self.queued[member][0].len() } else { 0 };
        let fits = |freed: &usize| self.has_room(member, bytes, high, &self.queued[member][0][..*freed]);
        let freed = (0..=evictable).find(fits).filter(|_| self.receivers[member].is_some() && bytes <= BUDGET);
        match (&result, freed) {
            (Ok(()), Some(freed)) => {
                self.queued[member][0].drain(..freed);
                self.queued[member][usize::from(high)].push(bytes);
            }
            (Err(refused), None) => self.is_right(member, bytes, refused),
            other => panic!("{other:?} of {bytes} bytes"),
        }
    }

    fn is_right(&self, member: usize, bytes: usize, refused: &Rejected<Item>) {
        let expected = if self.receivers[member].is_none() {
            DropReason::Shutdown
        } else if bytes > BUDGET {
            DropReason::TooLarge
        } else if self.handles[member].totals().pending >= ITEMS[member] as u64 {
            DropReason::Full
        } else {
            DropReason::ByteBudget
        };
        assert_eq!(refused.reason, expected);
    }

    fn take(&mut self, member: usize) {
        let Some(item) = self.receivers[member].as_mut().and_then(Receiver::try_recv) else { return };
        assert_eq!(self.queued[member][usize::from(item.high)].remove(0), item.bytes);
        self.in_hand.push((member, item));
    }

    /// Polls what was woken, until nothing is.
    fn run(&mut self) {
        while let Some(woken) = self.waiters.iter_mut().position(|waiter| waiter.future.is_woken()) {
            if let std::task::Poll::Ready(result) = self.waiters[woken].future.poll() {
                let Waiter { member, bytes, high, .. } = self.waiters.remove(woken);
                self.admitted(member, bytes, high, &result);
            }
        }
    }

    fn admitted(&mut self, member: usize, bytes: usize, high: bool, result: &Result<(), Rejected<Item>>) {
        match result {
            Ok(()) => self.queued[member][usize::from(high)].push(bytes),
            Err(refused) => self.is_right(member, bytes, refused),
        }
    }

    fn check(&self) {
        let held: Vec<_> = self.handles.iter().map(QueueHandle::bytes).collect();
        assert_eq!(held, (0..MEMBERS).map(|member| self.held_by(member)).collect::<Vec<_>>());
        assert_eq!(self.budget.bytes(), held.iter().sum::<usize>());
        assert!(self.budget.bytes() <= BUDGET);
        for (member, high) in (0..MEMBERS).flat_map(|member| [(member, false), (member, true)]) {
            let first = self.waiters.iter().find(|waiter| (waiter.member, waiter.high) == (member, high));
            let Some(first) = first else { continue };
            assert!(!self.has_room(member, first.bytes, high, &[]), "{member} sleeps beside room for {}", first.bytes);
        }
    }
}

proptest! {
    #[test]
    fn e06_queues_with_one_budget_agree_with_a_plain_model(steps in prop::collection::vec(steps(), 1..120)) {
        let budget = ByteBudget::new(BUDGET).unwrap();
        budget.set_soft_limit(1.0).unwrap();
        let limits = |member: usize| Limits::new().items(ITEMS[member]).soft_limit(1.0);
        let ends = (0..MEMBERS).map(|member| channel(&budget, OVERFLOWS[member], limits(member)));
        let (senders, receivers): (Vec<_>, Vec<_>) = ends.unzip();
        let mut world = World {
            budget: &budget,
            senders: &senders,
            handles: senders.iter().map(Sender::handle).collect(),
            receivers: receivers.into_iter().map(Some).collect(),
            queued: vec![<[Vec<usize>; 2]>::default(); MEMBERS],
            in_hand: Vec::new(),
            waiters: Vec::new(),
            soft: BUDGET,
        };
        for step in steps {
            match step {
                Step::Emit { member, bytes, high } => world.emit(member, bytes, high),
                Step::Wait { member, bytes, high } => {
                    let mut future = task::spawn(senders[member].emit_or_wait(of(bytes, high)));
                    match future.poll() {
                        std::task::Poll::Pending => world.waiters.push(Waiter { member, bytes, high, future }),
                        std::task::Poll::Ready(result) => world.admitted(member, bytes, high, &result),
                    }
                }
                Step::StopWaiting(which) if which < world.waiters.len() => drop(world.waiters.remove(which)),
                Step::Take(member) => world.take(member),
                Step::Settle { which, how } if which < world.in_hand.len() => {
                    let (_, item) = world.in_hand.swap_remove(which);
                    match how % 3 {
                        0 => item.settle(Fate::Delivered),
                        1 => item.settle(Fate::Dropped(DropReason::Rejected)),
                        _ => drop(item),
                    }
                }
                Step::SoftLimit(percent) => {
                    let share = f64::from(percent) / 100.0;
                    budget.set_soft_limit(share).unwrap();
                    // The budget is a hundred bytes.
                    world.soft = usize::from(percent);
                }
                Step::Abandon(member) => {
                    world.receivers[member] = None;
                    world.queued[member] = Default::default();
                }
                Step::StopWaiting(_) | Step::Settle { .. } => {}
            }
            world.run();
            world.check();
        }
        drop(world);
        drop(senders);
        prop_assert_eq!(budget.bytes(), 0);
    }
}

#[test]
fn e06_what_a_queue_holds_goes_back_however_it_ends() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    let (sender, mut receiver) = channel(&budget, Overflow::Refuse, Limits::new());
    sender.emit(of(10, false)).unwrap();
    sender.emit(of(20, false)).unwrap();
    let in_hand = receiver.try_recv().unwrap();
    assert_eq!(budget.bytes(), 30);
    drop(receiver);
    assert_eq!(budget.bytes(), 10, "the last receiver drops what was queued");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _in_hand = in_hand;
        panic!("while it works on the item");
    }));
    assert!(panicked.is_err());
    assert_eq!(budget.bytes(), 0);

    // What is in hand keeps the queue, and with it what it has drawn.
    let (sender, mut receiver) = channel(&budget, Overflow::Refuse, Limits::new());
    sender.emit(of(30, false)).unwrap();
    let (_, slot) = receiver.try_recv().unwrap().into_parts();
    drop((sender, receiver));
    assert_eq!(budget.bytes(), 30);
    drop(slot);
    assert_eq!(budget.bytes(), 0);
}

#[test]
fn e06_no_member_evicts_what_another_holds() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    budget.set_soft_limit(1.0).unwrap();
    let (logs, _logs) = channel(&budget, Overflow::DropOldest, Limits::new());
    let (spans, _spans) = channel(&budget, Overflow::DropOldest, Limits::new());
    logs.emit(of(60, false)).unwrap();
    spans.emit(of(40, false)).unwrap();
    assert_eq!(spans.emit(of(41, false)).unwrap_err().reason, DropReason::ByteBudget, "its own 40 would not be enough");
    assert_eq!(spans.handle().totals().dropped.get(DropReason::Evicted), 0);
    spans.emit(of(30, false)).unwrap();
    assert_eq!(spans.handle().totals().dropped.get(DropReason::Evicted), 1);
    assert_eq!((logs.handle().totals().pending, budget.bytes()), (1, 90));
}

#[test]
fn e06_evicted_bytes_are_for_the_new_item_and_the_rest_is_for_waiting_senders() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    budget.set_soft_limit(1.0).unwrap();
    let (logs, _logs) = channel(&budget, Overflow::DropOldest, Limits::new());
    let (spans, _spans) = channel(&budget, Overflow::Refuse, Limits::new());
    logs.emit(of(100, false)).unwrap();
    let mut waits = task::spawn(spans.emit_or_wait(of(40, false)));
    assert!(waits.poll().is_pending());
    logs.emit(of(70, false)).unwrap();
    assert!(!waits.is_woken(), "30 bytes are too few");
    logs.emit(of(60, false)).unwrap();
    assert!(waits.is_woken());
    assert!(waits.poll().is_ready());
    assert_eq!(budget.bytes(), 100);
}

#[test]
fn e06_the_soft_limit_leaves_the_rest_of_the_budget_to_high_priority() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    let (sender, mut receiver) = channel(&budget, Overflow::Refuse, Limits::new());
    sender.emit(of(90, false)).unwrap();
    assert_eq!(sender.emit(of(1, false)).unwrap_err().reason, DropReason::ByteBudget);
    sender.emit(of(10, true)).unwrap();
    assert_eq!(sender.emit(of(1, true)).unwrap_err().reason, DropReason::ByteBudget);
    // Under memory pressure less is admitted, and what is held stays.
    receiver.try_recv().unwrap().settle(Fate::Delivered);
    receiver.try_recv().unwrap().settle(Fate::Delivered);
    budget.set_soft_limit(0.0).unwrap();
    assert_eq!(sender.emit(of(1, false)).unwrap_err().reason, DropReason::ByteBudget);
    sender.emit(of(1, true)).unwrap();
    let mut waits = task::spawn(sender.emit_or_wait(of(1, false)));
    assert!(waits.poll().is_pending());
    budget.set_soft_limit(0.5).unwrap();
    assert!(waits.is_woken());
    assert!(waits.poll().is_ready());
    for share in [-0.1, 1.1, f64::NAN] {
        assert_eq!(budget.set_soft_limit(share).unwrap_err().knob(), "soft_limit");
    }
}

#[test]
fn e06_a_lighter_item_of_one_member_does_not_sleep_behind_a_heavier_one_of_another() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    budget.set_soft_limit(1.0).unwrap();
    let (logs, mut receiver) = channel(&budget, Overflow::Refuse, Limits::new());
    let (spans, _spans) = channel(&budget, Overflow::Refuse, Limits::new());
    let (metrics, _metrics) = channel(&budget, Overflow::Refuse, Limits::new());
    (0..10).for_each(|_| logs.emit(of(10, false)).unwrap());
    let (mut heavy, mut light) =
        (task::spawn(spans.emit_or_wait(of(50, false))), task::spawn(metrics.emit_or_wait(of(10, false))));
    assert!(heavy.poll().is_pending());
    assert!(light.poll().is_pending());
    receiver.try_recv().unwrap().settle(Fate::Delivered);
    assert!(!heavy.is_woken() && light.is_woken());
    assert!(light.poll().is_ready());
    receiver.drain(9).settle(Fate::Delivered);
    assert!(heavy.poll().is_ready());
}

#[test]
fn q12_a_budget_of_zero_is_refused_by_name() {
    assert_eq!(ByteBudget::new(0).unwrap_err().knob(), "byte_budget");
    assert!(ByteBudget::new(usize::MAX).is_err());
}
