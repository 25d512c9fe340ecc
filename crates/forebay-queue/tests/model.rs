//! Random steps of a queue against a plain model; the ledger's equation holds after each.
//!
//! `PROPTEST_CASES=5000` makes it a million steps.

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "test code")]

use forebay_core::{DropReason, Fate, Priority};
use forebay_queue::{ChannelBuilder, Flush, Limits, Offer, Overflow, QueueHandle, Receiver, Sender, SlotGuard};
use proptest::prelude::*;
use std::{collections::VecDeque, time::Duration};
use tokio_test::task;

/// What the model knows of an item.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    id: u32,
    bytes: usize,
    priority: Priority,
    key: u64,
    /// When it was offered, in milliseconds.
    at: u64,
}

/// The plainest queue: two lists, and sums that are taken again each time.
#[derive(Default)]
struct Model {
    high: VecDeque<Item>,
    normal: VecDeque<Item>,
    in_hand: Vec<Item>,
    high_in_a_row: u32,
    /// Since when every item of normal priority that left had waited for too long, and left another behind.
    slow_since: Option<u64>,
    /// Milliseconds since the beginning.
    now: u64,
    closed: bool,
    offered: u64,
    delivered: u64,
    dropped: Vec<DropReason>,
}

#[derive(Clone, Copy, Debug)]
struct Caps {
    items: usize,
    bytes: usize,
    share: f64,
}

#[derive(Clone, Debug)]
enum Step {
    Offer { bytes: usize, high: bool, key: u64 },
    Take,
    Drain { most: usize },
    Settle { which: usize, how: u8 },
    Advance(u64),
    Flush,
    CancelFlush,
    Reconfigure(Caps),
    Close,
}

impl Model {
    fn held(&self) -> impl Iterator<Item = &Item> {
        self.high.iter().chain(&self.normal).chain(&self.in_hand)
    }

    fn refusal(&self, item: &Item, caps: Caps) -> Option<DropReason> {
        let normal = item.priority == Priority::Normal;
        let (items, bytes) = (self.held().count(), self.held().map(|held| held.bytes).sum::<usize>());
        let of_key = self.held().filter(|held| held.priority == Priority::Normal && held.key == item.key).count();
        let soft = |cap: usize| (cap as f64 * 0.9).round() as usize;
        if self.closed {
            Some(DropReason::Shutdown)
        } else if item.bytes > caps.bytes {
            Some(DropReason::TooLarge)
        } else if normal && of_key >= ((caps.items as f64 * caps.share).round() as usize).max(1) {
            Some(DropReason::FairShare)
        } else if items >= caps.items {
            Some(DropReason::Full)
        } else if normal && (items >= soft(caps.items) || bytes >= soft(caps.bytes)) {
            Some(DropReason::SoftLimit)
        } else if bytes + item.bytes > caps.bytes {
            Some(DropReason::Bytes)
        } else {
            None
        }
    }

    fn offer(&mut self, item: Item, caps: Caps, overflow: Overflow) -> Result<(), DropReason> {
        self.offered += 1;
        let first = self.refusal(&item, caps);
        // Items are dropped only if that makes enough room.
        let normal = std::mem::take(&mut self.normal);
        let in_vain = self.refusal(&item, caps).is_some();
        self.normal = normal;
        let mut refusal = first;
        while let Some(DropReason::SoftLimit | DropReason::Full | DropReason::Bytes) = refusal
            && overflow == Overflow::DropOldest
            && !in_vain
            && self.normal.pop_front().is_some()
        {
            self.dropped.push(DropReason::Evicted);
            refusal = self.refusal(&item, caps);
        }
        if refusal.is_some() {
            self.dropped.extend(first);
            return Err(first.unwrap());
        }
        match item.priority {
            Priority::High => self.high.push_back(item),
            Priority::Normal => self.normal.push_back(item),
        }
        Ok(())
    }

    fn take(&mut self, overflow: Overflow) -> Option<Item> {
        loop {
            let item = self.pop()?;
            if item.priority == Priority::Normal && overflow == SHEDS && self.sheds(item) {
                self.dropped.push(DropReason::Shed);
                continue;
            }
            self.in_hand.push(item);
            return Some(item);
        }
    }

    fn sheds(&mut self, item: Item) -> bool {
        let wait = self.now - item.at;
        if wait < TARGET || self.normal.is_empty() {
            self.slow_since = None;
            return false;
        }
        self.now - *self.slow_since.get_or_insert(self.now) >= INTERVAL && wait >= 2 * TARGET
    }

    fn pop(&mut self) -> Option<Item> {
        let both = !self.high.is_empty() && !self.normal.is_empty();
        let take_high = if both { self.high_in_a_row < 7 } else { !self.high.is_empty() };
        self.high_in_a_row = if both && take_high { self.high_in_a_row + 1 } else { 0 };
        if take_high { self.high.pop_front() } else { self.normal.pop_front() }
    }
}

const TARGET: u64 = 10;
const INTERVAL: u64 = 50;
const SHEDS: Overflow =
    Overflow::ShedByDelay { target: Duration::from_millis(TARGET), interval: Duration::from_millis(INTERVAL) };

struct Real {
    sender: Option<Sender<Item>>,
    receiver: Receiver<Item>,
    handle: QueueHandle<Item>,
    slots: Vec<(Item, SlotGuard<Item>)>,
    /// Each flush, and the items that were held when it began.
    flushes: Vec<(task::Spawn<Flush<Item>>, Vec<u32>)>,
}

fn caps() -> impl Strategy<Value = Caps> {
    (1_usize..12, 1_usize..60, prop_oneof![Just(1.0), Just(0.3)]).prop_map(|(items, bytes, share)| Caps {
        items,
        bytes,
        share,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => (1_usize..20, any::<bool>(), 0_u64..3).prop_map(|(bytes, high, key)| Step::Offer { bytes, high, key }),
        6 => Just(Step::Take),
        1 => (0_usize..6).prop_map(|most| Step::Drain { most }),
        8 => (any::<usize>(), 0_u8..4).prop_map(|(which, how)| Step::Settle { which, how }),
        4 => (1_u64..25).prop_map(Step::Advance),
        2 => Just(Step::Flush),
        1 => Just(Step::CancelFlush),
        1 => caps().prop_map(Step::Reconfigure),
        // Rare: little happens to a queue after its end.
        1 => prop_oneof![9 => Just(Step::Take), 1 => Just(Step::Close)],
    ]
}

fn limits(caps: Caps) -> Limits {
    Limits::new().items(caps.items).bytes(caps.bytes).fair_share(caps.share)
}

async fn run(mut caps: Caps, overflow: Overflow, keyed: bool, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut channel = ChannelBuilder::new().limits(limits(caps)).overflow(overflow).weigh(|_: &Item| 1);
    if keyed {
        channel = channel.fair_shares();
    }
    let (sender, receiver) = channel.build().unwrap();
    let handle = sender.handle();
    let mut real = Real { sender: Some(sender), receiver, handle, slots: Vec::new(), flushes: Vec::new() };
    let mut model = Model::default();
    for (id, step) in (0..).zip(steps) {
        match step {
            Step::Offer { bytes, high, key } => {
                let Some(sender) = &real.sender else { continue };
                let priority = if high { Priority::High } else { Priority::Normal };
                // Without shares every item has a key of its own.
                let key_of = if keyed { key } else { u64::from(id) + 10 };
                let item = Item { id, bytes, priority, key: key_of, at: model.now };
                let offered = sender.emit(Offer::new(item).weight(bytes).priority(priority).fair_share_key(key));
                prop_assert_eq!(offered.map_err(|refused| refused.reason), model.offer(item, caps, overflow));
            }
            Step::Take => {
                let received = real.receiver.try_recv();
                let expected = model.take(overflow);
                prop_assert_eq!(received.as_deref().copied(), expected);
                real.slots.extend(received.map(forebay_queue::Received::into_parts));
            }
            Step::Drain { most } => {
                let mut burst = real.receiver.drain(most);
                let taken: Vec<_> = burst.by_ref().collect();
                burst.settle(Fate::Delivered);
                let expected: Vec<_> = (0..most).map_while(|_| model.take(overflow)).collect();
                model.in_hand.truncate(model.in_hand.len() - expected.len());
                model.delivered += expected.len() as u64;
                prop_assert_eq!(taken, expected);
            }
            Step::Settle { which, how } => {
                if real.slots.is_empty() {
                    continue;
                }
                let (item, slot) = real.slots.swap_remove(which % real.slots.len());
                model.in_hand.retain(|held| held.id != item.id);
                match how {
                    0 => {
                        drop(slot);
                        model.dropped.push(DropReason::Failed);
                    }
                    1 => {
                        slot.settle(Fate::Dropped(DropReason::Rejected));
                        model.dropped.push(DropReason::Rejected);
                    }
                    _ => {
                        slot.settle(Fate::Delivered);
                        model.delivered += 1;
                    }
                }
            }
            Step::Advance(millis) => {
                tokio::time::advance(Duration::from_millis(millis)).await;
                model.now += millis;
            }
            Step::Flush => {
                let held = model.held().map(|item| item.id).collect();
                let mut flush = task::spawn(real.handle.flush());
                if flush.poll().is_pending() {
                    real.flushes.push((flush, held));
                } else {
                    prop_assert!(held.is_empty());
                }
            }
            Step::CancelFlush => drop(real.flushes.pop()),
            Step::Reconfigure(new) => {
                caps = new;
                real.handle.set_limits(limits(caps)).unwrap();
            }
            Step::Close => {
                real.sender = None;
                model.closed = true;
            }
        }
        check(&mut real, &model)?;
    }
    Ok(())
}

fn check(real: &mut Real, model: &Model) -> Result<(), TestCaseError> {
    let totals = real.handle.totals();
    prop_assert!(totals.balance());
    prop_assert_eq!(totals.offered, model.offered);
    prop_assert_eq!(totals.delivered, model.delivered);
    prop_assert_eq!(totals.pending, model.held().count() as u64);
    for reason in DropReason::ALL {
        let expected = model.dropped.iter().filter(|dropped| **dropped == reason).count();
        prop_assert_eq!(totals.dropped.get(reason), expected as u64, "{}", reason);
    }
    prop_assert_eq!(real.handle.bytes(), model.held().map(|item| item.bytes).sum::<usize>());
    prop_assert_eq!(real.handle.queued(), model.high.len() + model.normal.len());
    let alive: std::collections::HashSet<u32> = model.held().map(|item| item.id).collect();
    let mut still = Vec::new();
    for (mut flush, waits_for) in real.flushes.drain(..) {
        let over = waits_for.iter().all(|id| !alive.contains(id));
        prop_assert!(!over || flush.is_woken(), "a flush that is over sleeps on");
        prop_assert_eq!(flush.poll().is_ready(), over);
        if !over {
            still.push((flush, waits_for));
        }
    }
    real.flushes = still;
    Ok(())
}

proptest! {
    #[test]
    fn q14_x01_d07_random_steps_match_the_model(
        caps in caps(),
        overflow in prop_oneof![Just(Overflow::Refuse), Just(Overflow::DropOldest), Just(SHEDS)],
        keyed in any::<bool>(),
        steps in prop::collection::vec(step(), 200),
    ) {
        let caps = if keyed { caps } else { Caps { share: 1.0, ..caps } };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(caps, overflow, keyed, steps))?;
    }
}
