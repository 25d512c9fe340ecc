//! The batcher as one would write it down first: a list of items with their fates.

use super::{Config, How, Item, batches::PlainBatches};
use forebay_core::{DropReason, Fate, Priority};
use proptest::prelude::*;
use std::collections::HashMap;

/// Where an item is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    Waits,
    /// In the group of this number.
    In(usize),
    Over(Fate),
}

/// Items that were taken out together, and stay together until they are split.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) items: Vec<Item>,
    /// What they are charged for: a part of a batch is charged its share.
    pub(crate) bytes: usize,
    pub(crate) at: At,
    split: Option<Split>,
    /// The other half was found good.
    suspect: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum At {
    /// Was not sent yet, as it is a part of something that was split.
    Part,
    InFlight,
    /// Came back, and waits for another attempt.
    Parked,
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Split {
    /// Which budget it is paid from.
    family: usize,
    number: usize,
    /// One item is to blame.
    for_an_item: bool,
}

/// What was learned of how large a request may be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    too_large: Option<usize>,
    passed: usize,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) config: Config,
    /// All that were admitted, in the order in which they were handed over.
    pub(crate) items: Vec<(Item, Place)>,
    pub(crate) batches: PlainBatches,
    pub(crate) groups: Vec<Group>,
    pub(crate) refused: Vec<DropReason>,
    /// Requests that were spent on what was split, by family.
    pub(crate) spent: Vec<u32>,
    pub(crate) splits: usize,
    pub(crate) sizes: HashMap<u8, Size>,
    pub(crate) closed: bool,
    pub(crate) limit: (usize, usize),
    /// The largest that requests were ever allowed to be.
    pub(crate) largest: (usize, usize),
    pub(crate) in_flight: usize,
}

// === impl Model ===

impl Model {
    pub(crate) fn held(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|(_, place)| !matches!(place, Place::Over(_))).map(|(item, _)| item)
    }

    /// The bytes that are charged for.
    pub(crate) fn bytes(&self) -> usize {
        let waits = self.items.iter().filter(|(_, place)| *place == Place::Waits).map(|(item, _)| item.bytes);
        let groups = self.groups.iter().filter(|group| group.at != At::Ended).map(|group| group.bytes);
        waits.chain(groups).sum()
    }

    pub(crate) fn refusal(&self, item: &Item) -> Option<DropReason> {
        self.refusal_without(item, 0, 0)
    }

    /// The same, if so much less were held.
    fn refusal_without(&self, item: &Item, less_items: usize, less_bytes: usize) -> Option<DropReason> {
        let (items, bytes) = (self.held().count() - less_items, self.bytes() - less_bytes);
        let soft = |cap: usize| (cap as f64 * 0.9).round() as usize;
        let (most_items, most_bytes) = self.limit;
        let is_normal = item.priority == Priority::Normal;
        if self.closed {
            Some(DropReason::Shutdown)
        } else if item.bytes > most_bytes {
            Some(DropReason::TooLarge)
        } else if is_normal && self.has_its_share(item.tenant) {
            Some(DropReason::FairShare)
        } else if items >= most_items {
            Some(DropReason::Full)
        } else if is_normal && (items >= soft(most_items) || bytes >= soft(most_bytes)) {
            Some(DropReason::SoftLimit)
        } else if bytes + item.bytes > most_bytes {
            Some(DropReason::Bytes)
        } else {
            None
        }
    }

    fn has_its_share(&self, tenant: u8) -> bool {
        let Some(share) = self.config.share else { return false };
        let most = ((self.limit.0 as f64 * share).round() as usize).max(1);
        let of_tenant = |item: &&Item| item.tenant == tenant && item.priority == Priority::Normal;
        self.held().filter(of_tenant).count() >= most
    }

    pub(crate) fn offer(&mut self, item: Item) -> Result<(), DropReason> {
        let passes = [DropReason::SoftLimit, DropReason::Full, DropReason::Bytes];
        let mut refusal = self.refusal(&item);
        let (items, bytes) = self.batches.evictable();
        if self.config.drops_oldest
            && refusal.is_some_and(|reason| passes.contains(&reason))
            && self.refusal_without(&item, items, bytes).is_none()
        {
            // The oldest go, and no more than have to.
            while refusal.is_some() {
                let evicted = self.batches.evict().unwrap();
                self.put(&[evicted], Place::Over(Fate::Dropped(DropReason::Evicted)));
                refusal = self.refusal(&item);
            }
        }
        match refusal {
            None => {
                self.items.push((item, Place::Waits));
                self.batches.enter(item);
                Ok(())
            }
            Some(reason) => {
                self.refused.push(reason);
                Err(reason)
            }
        }
    }

    fn put(&mut self, items: &[Item], at: Place) {
        for (item, place) in &mut self.items {
            if items.iter().any(|put| put.id == item.id) {
                *place = at;
            }
        }
    }

    fn place(&self, id: u32) -> Place {
        self.items.iter().find(|(item, _)| item.id == id).unwrap().1
    }

    pub(crate) fn fate(&self, id: u32) -> Option<Fate> {
        match self.place(id) {
            Place::Over(fate) => Some(fate),
            Place::Waits | Place::In(_) => None,
        }
    }

    pub(crate) fn count(&self, with: impl Fn(Fate) -> bool) -> u64 {
        self.items.iter().filter(|(_, place)| matches!(place, Place::Over(fate) if with(*fate))).count() as u64
    }

    fn group(&mut self, group: Group) -> usize {
        let number = self.groups.len();
        self.put(&group.items, Place::In(number));
        self.groups.push(group);
        number
    }

    /// The group ends, and each of its items has this fate.
    pub(crate) fn conclude(&mut self, number: usize, fate: Fate) {
        let items = std::mem::take(&mut self.groups[number].items);
        self.groups[number].at = At::Ended;
        self.put(&items, Place::Over(fate));
    }

    /// The group becomes two.
    fn halve(&mut self, number: usize, at: usize, split: Option<Split>) -> usize {
        let Group { mut items, bytes, .. } = self.groups[number].clone();
        self.groups[number].at = At::Ended;
        let all = items.len();
        let rest = items.split_off(at);
        let left = bytes * at / all;
        let part = |items, bytes| Group { items, bytes, at: At::Part, split, suspect: false };
        let first = self.group(part(items, left));
        self.group(part(rest, bytes - left));
        first
    }

    fn next_split(&mut self, family: usize, for_an_item: bool) -> Split {
        self.splits += 1;
        Split { family, number: self.splits, for_an_item }
    }

    /// A request must be a batch as it was closed, one that came back, or a part of one that may be split.
    pub(crate) fn sent(&mut self, request: &[Item]) -> Result<usize, TestCaseError> {
        let mut number = match self.place(request[0].id) {
            Place::In(number) => number,
            Place::Over(fate) => return Err(TestCaseError::fail(format!("{:?} has its fate: {fate:?}", request[0]))),
            Place::Waits => {
                let items: Vec<_> = if self.config.is_exact() {
                    let mut batch = self.batches.next(request[0]);
                    if let Some(batch) = &mut batch
                        && self.config.park.is_some()
                    {
                        self.batches.join(batch, request.len());
                    }
                    batch.map(|batch| batch.items.into()).unwrap_or_default()
                } else {
                    self.run(request)
                };
                let bytes = items.iter().map(|item| item.bytes).sum();
                prop_assert_eq!(items.first(), request.first(), "which batch is next");
                self.group(Group { items, bytes, at: At::Part, split: None, suspect: false })
            }
        };
        while self.groups[number].items != request {
            let Group { bytes, split, suspect, ref items, at } = self.groups[number];
            let (all, key) = (items.len(), items[0].key);
            prop_assert!(at == At::Part || at == At::Parked, "sent twice: {request:?}");
            number = match (split, self.most(key)) {
                (Some(split), _) if suspect && all > 1 && self.can_pay(split.family) => {
                    let split = self.next_split(split.family, true);
                    self.halve(number, all / 2, Some(split))
                }
                (split, Some(most)) if bytes > most && all > 1 => {
                    // Of its parts none says anything about another.
                    let split = split.map(|split| self.next_split(split.family, false));
                    self.halve(number, (all * most / bytes).clamp(1, all - 1), split)
                }
                _ => return Err(TestCaseError::fail(format!("{request:?} is not {:?}", self.groups[number]))),
            };
        }
        let Group { bytes, split, .. } = self.groups[number];
        let key = request[0].key;
        prop_assert!(self.most(key).is_none_or(|most| bytes <= most) || request.len() == 1, "known to be too large");
        prop_assert!(request.len() <= self.largest.0);
        let weight: usize = request.iter().map(|item| item.bytes).sum();
        prop_assert!(weight <= self.largest.1 || request.len() == 1);
        if let Some(Split { family, .. }) = split {
            prop_assert!(self.can_pay(family), "more requests than may be spent");
            self.spent[family] += 1;
        }
        self.groups[number].at = At::InFlight;
        Ok(number)
    }

    /// Those of `request` that wait and are of the same key, in the order in which they were handed over: where the batches are not
    /// known. One of another lane may have been sent in between.
    fn run(&self, request: &[Item]) -> Vec<Item> {
        let key = request[0].key;
        let waits = |item: &&Item| item.key == key && self.place(item.id) == Place::Waits;
        let mut run: Vec<_> = request.iter().filter(waits).copied().collect();
        run.sort_by_key(|item| item.id);
        run
    }

    fn can_pay(&self, family: usize) -> bool {
        self.spent[family] < self.config.split_budget
    }

    /// The most bytes that a request of this key may have, as far as that is known.
    fn most(&self, key: u8) -> Option<usize> {
        let Size { too_large, passed } = self.sizes.get(&key)?;
        too_large.map(|limit| (*passed).max(limit / 2).max(1))
    }

    /// The request of this group comes back. Returns whether it may be sent again.
    pub(crate) fn returned(&mut self, number: usize, how: How) -> bool {
        let dropped = Fate::Dropped;
        let items = self.groups[number].items.clone();
        let all = items.len();
        match how {
            How::Takes | How::Judges => {
                self.delivered(number, true);
                self.conclude(number, Fate::Delivered);
            }
            How::TakesSome => {
                self.delivered(number, all / 2 == 0);
                self.conclude(number, dropped(DropReason::Rejected));
                self.put(&items[..all - all / 2], Place::Over(Fate::Delivered));
            }
            How::Refuses => self.conclude(number, dropped(DropReason::Rejected)),
            How::SaysWhich => self.each(number, &items, |index| index.is_multiple_of(2)),
            How::SaysWhichAgain if self.config.park.is_none() => {
                self.conclude(number, dropped(DropReason::RetriesExhausted));
                let finals = items.iter().enumerate().filter(|(index, _)| !says_again(*index)).map(|(_, item)| *item);
                self.put(&finals.collect::<Vec<_>>(), Place::Over(Fate::Delivered));
            }
            How::SaysWhichAgain => {
                let (again, over): (Vec<_>, Vec<_>) =
                    items.iter().enumerate().partition(|(index, _)| says_again(*index));
                let over: Vec<_> = over.into_iter().map(|(_, item)| *item).collect();
                self.put(&over, Place::Over(Fate::Delivered));
                let group = &mut self.groups[number];
                group.bytes = group.bytes * again.len() / all;
                group.items = again.into_iter().map(|(_, item)| *item).collect();
                if group.items.is_empty() {
                    group.at = At::Ended;
                    return false;
                }
                return true;
            }
            How::IsAway => return true,
            How::BadItem => self.refused_for(number, true),
            How::TooLarge => self.refused_for(number, false),
            How::Panics => self.conclude(number, dropped(DropReason::Panicked)),
            How::Breaks => self.conclude(number, dropped(DropReason::Failed)),
        }
        false
    }

    fn each(&mut self, number: usize, items: &[Item], is_good: impl Fn(usize) -> bool) {
        self.conclude(number, Fate::Dropped(DropReason::Encode));
        let good = items.iter().enumerate().filter(|(index, _)| is_good(*index)).map(|(_, item)| *item);
        self.put(&good.collect::<Vec<_>>(), Place::Over(Fate::Delivered));
    }

    fn delivered(&mut self, number: usize, whole: bool) {
        let Group { bytes, split, ref items, .. } = self.groups[number];
        if let Some(size) = self.sizes.get_mut(&items[0].key) {
            match size.too_large {
                Some(limit) if bytes < limit => size.passed = size.passed.max(bytes),
                _ => *size = Size::default(),
            }
        }
        if let Some(split) = split
            && split.for_an_item
            && whole
        {
            let other = |group: &&mut Group| {
                group.at == At::Part && group.split.is_some_and(|other| other.number == split.number)
            };
            self.groups.iter_mut().filter(other).for_each(|group| group.suspect = true);
        }
    }

    /// Refused for what is in it: as it is too large, or for one item.
    fn refused_for(&mut self, number: usize, for_an_item: bool) {
        let Group { bytes, split, ref items, .. } = self.groups[number];
        let (all, key) = (items.len(), items[0].key);
        let reason = if for_an_item { DropReason::Rejected } else { DropReason::TooLarge };
        if self.config.split_budget < 2 {
            return self.conclude(number, Fate::Dropped(reason));
        }
        if !for_an_item {
            let size = self.sizes.entry(key).or_default();
            if size.too_large.is_none_or(|known| bytes < known) {
                *size = Size { too_large: Some(bytes), passed: size.passed.min(bytes / 2) };
            }
        }
        if all == 1 {
            return self.conclude(number, Fate::Dropped(reason));
        }
        let family = split.map_or_else(
            || {
                self.spent.push(1);
                self.spent.len() - 1
            },
            |split| split.family,
        );
        if !self.can_pay(family) {
            return self.conclude(number, Fate::Dropped(reason));
        }
        let split = self.next_split(family, for_an_item);
        self.halve(number, all / 2, Some(split));
    }

    /// Parts that are dropped, unsent, when their turn comes: found at fault, or with nothing left to spend on them.
    pub(crate) fn lost_parts(&self) -> Vec<usize> {
        let is_lost = |group: &Group| {
            let unpaid = group.split.is_some_and(|split| !self.can_pay(split.family));
            let waits = group.at == At::Part || group.at == At::Parked;
            waits && (unpaid || group.at == At::Part && group.suspect && group.items.len() == 1)
        };
        (0..self.groups.len()).filter(|number| is_lost(&self.groups[*number])).collect()
    }

    pub(crate) fn is_lost(&self, id: u32) -> bool {
        matches!(self.place(id), Place::In(number) if self.lost_parts().contains(&number))
    }

    /// Those that were sent, by themselves or as a part of something, and wait to be sent.
    pub(crate) fn waiting(&self) -> Vec<usize> {
        let waits = |group: &Group| group.at == At::Parked || group.at == At::Part;
        (0..self.groups.len()).filter(|number| waits(&self.groups[*number])).collect()
    }
}

/// Which items are to be sent again, where the server says so.
pub(crate) fn says_again(index: usize) -> bool {
    index % 3 == 1
}
