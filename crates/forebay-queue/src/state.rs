use crate::{
    Admission, Charge, Epoch, Offer, Overflow, Rejected,
    drained::Burst,
    lanes::Lanes,
    wait::{Ticket, WaitLine},
};
use forebay_core::{DropReason, Fate, Priority};
use std::{
    task::Waker,
    time::{Duration, Instant},
};

/// A queue without its lock: who is in it, who waits for it, and what each step means for whom. Pure state.
///
/// Nothing of a user runs in here. Wakers to be woken and items to be dropped are handed out, so that both happen
/// after the lock is gone.
#[derive(Debug)]
pub(crate) struct State<T> {
    pub(crate) admission: Admission,
    lanes: Lanes<Entry<T>>,
    /// What only some queues know of an entry, in step with `lanes`; empty in all others.
    tracked: Option<Lanes<Tracked>>,
    pub(crate) phase: Phase,
    overflow: Overflow,
    pub(crate) max_age: Option<Duration>,
    /// Receivers that found nothing.
    receivers: WaitLine,
    /// Senders that found no room.
    high_senders: WaitLine,
    normal_senders: WaitLine,
    /// Flushes that are not over.
    flushes: WaitLine,
    /// Workers with an item in flight, to be told when the queue is abandoned.
    busy: WaitLine,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Items enter and leave.
    Open,
    /// Nothing enters; what is here is worked off.
    Closed,
    /// Nothing is worked off either; what is in flight is to be let go.
    Abandoned,
}

#[derive(Debug)]
pub(crate) struct Entry<T> {
    item: T,
    /// Fits: limits keep one item below 4 GiB.
    bytes: u32,
    epoch: Epoch,
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    entered: Option<Instant>,
    key: Option<u64>,
}

/// What an item that left still holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    charge: Charge,
    key: Option<u64>,
}

/// Tasks to wake once the lock is gone.
///
/// An enum, as nearly always there is nobody to wake, or one.
#[derive(Debug, Default)]
#[must_use = "a waker that is not woken is a task that sleeps for ever"]
pub(crate) enum Wakes {
    #[default]
    None,
    One(Waker),
    Many(Vec<Waker>),
}

/// What came of asking for an item.
pub(crate) enum Next<T> {
    Item(T, Held),
    /// Nothing now.
    Empty,
    /// Nothing ever again.
    End,
}

// === impl State ===

impl<T> State<T> {
    pub(crate) const fn new(
        admission: Admission,
        overflow: Overflow,
        max_age: Option<Duration>,
        fair_shares: bool,
    ) -> Self {
        Self {
            admission,
            lanes: Lanes::new(),
            tracked: if max_age.is_some() || fair_shares { Some(Lanes::new()) } else { None },
            phase: Phase::Open,
            overflow,
            max_age,
            receivers: WaitLine::new(),
            high_senders: WaitLine::new(),
            normal_senders: WaitLine::new(),
            flushes: WaitLine::new(),
            busy: WaitLine::new(),
        }
    }

    /// Takes `offer` in and names the receiver to wake, where no more than that is to be done.
    ///
    /// # Errors
    ///
    /// The offer, for [`offer`](Self::offer) to decide.
    #[inline]
    pub(crate) fn offer_simply(&mut self, offer: Offer<T>) -> Result<Option<Waker>, Offer<T>> {
        if self.phase != Phase::Open || self.tracked.is_some() {
            return Err(offer);
        }
        let Ok(epoch) = self.admission.admit(offer.bytes, offer.priority, None) else {
            return Err(offer);
        };
        Ok(self.push(offer, epoch))
    }

    /// Takes `offer` in, or hands it back and counts that. Evicted items are put into `evicted`.
    pub(crate) fn offer(
        &mut self,
        offer: Offer<T>,
        now: Option<Instant>,
        evicted: &mut Vec<T>,
    ) -> Result<Wakes, Rejected<T>> {
        match self.try_enter(&offer) {
            Ok(epoch) => Ok(self.enter(offer, epoch, now)),
            Err(reason) => self.make_room(offer, reason, now, evicted),
        }
    }

    fn try_enter(&mut self, offer: &Offer<T>) -> Result<Epoch, DropReason> {
        if self.phase != Phase::Open {
            return Err(DropReason::Shutdown);
        }
        let key = if self.tracked.is_some() { offer.key } else { None };
        self.admission.admit(offer.bytes, offer.priority, key)
    }

    fn enter(&mut self, offer: Offer<T>, epoch: Epoch, now: Option<Instant>) -> Wakes {
        if let Some(tracked) = &mut self.tracked {
            let key = if offer.priority == Priority::Normal { offer.key } else { None };
            tracked.push(Tracked { entered: now, key }, 0, offer.priority);
        }
        Wakes::one(self.push(offer, epoch))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "admitted, so below 4 GiB")]
    fn push(&mut self, offer: Offer<T>, epoch: Epoch) -> Option<Waker> {
        let Offer { item, bytes, priority, .. } = offer;
        self.lanes.push(Entry { item, bytes: bytes as u32, epoch }, bytes, priority);
        self.receivers.release()
    }

    #[cold]
    fn make_room(
        &mut self,
        offer: Offer<T>,
        reason: DropReason,
        now: Option<Instant>,
        evicted: &mut Vec<T>,
    ) -> Result<Wakes, Rejected<T>> {
        let evictable = matches!(reason, DropReason::SoftLimit | DropReason::Full | DropReason::Bytes);
        // Dropping what is there must not be for nothing: the item has to fit once the normal lane is empty.
        let helps = self.admission.would_fit(offer.bytes, self.lanes.normal.bytes);
        let mut wakes = Wakes::default();
        if self.overflow == Overflow::DropOldest && evictable && helps {
            while let Some(entry) = self.lanes.normal.pop() {
                let tracked = self.tracked.as_mut().and_then(|tracked| tracked.normal.pop());
                let (item, held) = self.leave(entry, Priority::Normal, tracked);
                wakes.add(self.settle(held, Fate::Dropped(DropReason::Evicted)));
                evicted.push(item);
                if let Ok(epoch) = self.try_enter(&offer) {
                    wakes.add(self.enter(offer, epoch, now));
                    return Ok(wakes);
                }
            }
            // Only reached when high priority and work in flight fill the queue by themselves.
            wakes.wake();
        }
        self.admission.refuse(reason, 1);
        Err(Rejected::new(offer.item, reason))
    }

    /// Takes `offer` in if there is room for it and nobody waits in line before it.
    pub(crate) fn offer_unless_wait(&mut self, offer: Offer<T>, now: Option<Instant>) -> Result<Wakes, Offer<T>> {
        if !self.line(offer.priority).is_empty() {
            return Err(offer);
        }
        match self.try_enter(&offer) {
            Ok(epoch) => Ok(self.enter(offer, epoch, now)),
            Err(_waits) => Err(offer),
        }
    }

    /// As [`offer`](Self::offer), but waits in line where there is no room.
    pub(crate) fn offer_or_wait(
        &mut self,
        offer: Offer<T>,
        now: Option<Instant>,
        ticket: Option<Ticket>,
        waker: &Waker,
    ) -> Result<Wakes, Refused<T>> {
        // Who comes anew does not overtake who waits.
        let waits_behind = ticket.is_none() && self.phase == Phase::Open && !self.line(offer.priority).is_empty();
        let reason = if waits_behind && !self.admission.is_too_large(offer.bytes) {
            DropReason::Full
        } else {
            match self.try_enter(&offer) {
                Ok(epoch) => {
                    let mut wakes = self.enter(offer, epoch, now);
                    // CORRECTNESS: one item that left may make room for several; each that enters wakes the next.
                    wakes.add(self.wake_sender());
                    return Ok(wakes);
                }
                Err(reason) => reason,
            }
        };
        match reason {
            DropReason::SoftLimit | DropReason::Full | DropReason::Bytes => {
                let ticket = self.line(offer.priority).wait(ticket, waker);
                Err(Refused::Wait(offer, ticket))
            }
            _ => {
                self.admission.refuse(reason, 1);
                // CORRECTNESS: whoever was let go and cannot use the turn passes it on.
                let wakes = self.wake_sender();
                Err(Refused::Rejected(Rejected::new(offer.item, reason), wakes))
            }
        }
    }

    /// A sender that waited goes away.
    pub(crate) fn stop_waiting(&mut self, ticket: Ticket, priority: Priority) -> Wakes {
        if self.line(priority).leave(ticket) { Wakes::default() } else { self.wake_sender() }
    }

    fn line(&mut self, priority: Priority) -> &mut WaitLine {
        match priority {
            Priority::High => &mut self.high_senders,
            Priority::Normal => &mut self.normal_senders,
        }
    }

    /// Lets the next sender try, if there may be room for it.
    #[inline]
    fn wake_sender(&mut self) -> Wakes {
        if self.high_senders.is_empty() && self.normal_senders.is_empty() {
            return Wakes::default();
        }
        let line = if !self.high_senders.is_empty() && self.admission.has_room(0, Priority::High) {
            &mut self.high_senders
        } else if self.admission.has_room(0, Priority::Normal) {
            &mut self.normal_senders
        } else {
            return Wakes::default();
        };
        Wakes::one(line.release())
    }

    /// Lets everybody who waits try again, after the limits have changed.
    pub(crate) fn wake_senders(&mut self) -> Wakes {
        let lines = [&mut self.high_senders, &mut self.normal_senders];
        Wakes::Many(lines.into_iter().flat_map(WaitLine::release_all).collect())
    }

    /// Waits for room without an item, as `poll_ready` does.
    pub(crate) fn wait_for_room(&mut self, ticket: Option<Ticket>, waker: &Waker) -> Result<Wakes, Ticket> {
        if self.phase != Phase::Open || self.admission.has_room(0, Priority::High) {
            // CORRECTNESS: the room is only seen, not taken; the next may see it too.
            let left = ticket.is_none_or(|ticket| self.high_senders.leave(ticket));
            return Ok(if left { Wakes::default() } else { self.wake_sender() });
        }
        Err(self.high_senders.wait(ticket, waker))
    }

    /// The next item. Those that outlived the age limit at `now` are settled and put into `expired`.
    #[inline]
    pub(crate) fn next(&mut self, now: Option<Instant>, expired: &mut Vec<T>, wakes: &mut Wakes) -> Next<T> {
        if self.tracked.is_some() {
            return self.next_tracked(now, expired, wakes);
        }
        match self.lanes.pop() {
            Some((entry, priority)) => {
                let (item, held) = self.leave(entry, priority, None);
                Next::Item(item, held)
            }
            None => self.empty(),
        }
    }

    #[cold]
    fn next_tracked(&mut self, now: Option<Instant>, expired: &mut Vec<T>, wakes: &mut Wakes) -> Next<T> {
        while let Some((entry, priority)) = self.lanes.pop() {
            let tracked = self.tracked.as_mut().and_then(Lanes::pop).map(|(tracked, _)| tracked);
            let entered = tracked.and_then(|tracked| tracked.entered);
            let (item, held) = self.leave(entry, priority, tracked);
            if let (Some(limit), Some(now), Some(entered)) = (self.max_age, now, entered)
                && now.saturating_duration_since(entered) > limit
            {
                wakes.add(self.settle(held, Fate::Dropped(DropReason::Expired)));
                expired.push(item);
                continue;
            }
            return Next::Item(item, held);
        }
        self.empty()
    }

    fn empty(&self) -> Next<T> {
        if self.phase == Phase::Open { Next::Empty } else { Next::End }
    }

    /// As [`next`](Self::next), but waits for an item where there is none.
    #[inline]
    pub(crate) fn next_or_wait(
        &mut self,
        now: Option<Instant>,
        ticket: &mut Option<Ticket>,
        waker: &Waker,
        expired: &mut Vec<T>,
        wakes: &mut Wakes,
    ) -> Next<T> {
        let next = self.next(now, expired, wakes);
        match next {
            Next::Empty => *ticket = Some(self.receivers.wait(ticket.take(), waker)),
            Next::Item(..) | Next::End => {
                if let Some(ticket) = ticket.take() {
                    // It was let go for this item, or finds it by chance while it waits.
                    self.receivers.leave(ticket);
                }
            }
        }
        next
    }

    /// Takes up to `most` items into `burst`, by two swaps where that is possible.
    #[inline]
    pub(crate) fn drain(
        &mut self,
        most: usize,
        now: Option<Instant>,
        burst: &mut Burst<T>,
        expired: &mut Vec<T>,
        wakes: &mut Wakes,
    ) {
        let waiting = self.lanes.len();
        if let Some(epoch) = self.admission.only_epoch()
            && waiting <= most
            && self.tracked.is_none()
            && self.lanes.swap(&mut burst.high, &mut burst.normal, &mut burst.turn)
        {
            let bytes = std::mem::take(&mut self.lanes.high.bytes) + std::mem::take(&mut self.lanes.normal.bytes);
            burst.charges.push(Charge { items: waiting as u64, bytes, epoch });
            return;
        }
        for _ in 0..most {
            let Next::Item(item, held) = self.next(now, expired, wakes) else { break };
            burst.keys.extend(held.key);
            burst.add(held.charge);
            burst.ordered.push(item);
        }
    }

    /// A receiver goes away: whatever it was woken for is for another.
    pub(crate) fn stop_receiving(&mut self, ticket: Ticket) -> Wakes {
        let was_waiting = self.receivers.leave(ticket);
        if was_waiting || self.lanes.len() == 0 { Wakes::default() } else { Wakes::one(self.receivers.release()) }
    }

    #[inline]
    fn leave(&mut self, entry: Entry<T>, priority: Priority, tracked: Option<Tracked>) -> (T, Held) {
        let Entry { item, bytes, epoch } = entry;
        self.lanes.lane(priority).bytes -= bytes as usize;
        let key = tracked.and_then(|tracked| tracked.key);
        (item, Held { charge: Charge::one(bytes as usize, epoch), key })
    }

    /// Counts the fate of an item that left, and frees its slot.
    #[inline]
    pub(crate) fn settle(&mut self, held: Held, fate: Fate) -> Wakes {
        if let Some(key) = held.key {
            self.admission.free_share(key);
        }
        self.settle_charge(held.charge, fate)
    }

    #[inline]
    fn settle_charge(&mut self, charge: Charge, fate: Fate) -> Wakes {
        let mut wakes = Wakes::default();
        if self.admission.settle(fate, charge) {
            wakes = Wakes::Many(self.flushes.release_all());
        }
        wakes.add(self.wake_sender());
        wakes
    }

    /// As [`settle`](Self::settle), for items that left together.
    pub(crate) fn settle_all(&mut self, charges: &[Charge], keys: &[u64], fate: Fate) -> Wakes {
        keys.iter().for_each(|key| self.admission.free_share(*key));
        let mut wakes = Wakes::default();
        charges.iter().for_each(|charge| wakes.add(self.settle_charge(*charge, fate)));
        wakes
    }

    /// Ends the current epoch; a flush waits until it is settled.
    pub(crate) fn flush(&mut self) -> Epoch {
        self.admission.end_epoch()
    }

    /// Whether everything up to `epoch` is settled; waits for it if not.
    pub(crate) fn flushed_or_wait(&mut self, epoch: Epoch, ticket: &mut Option<Ticket>, waker: &Waker) -> bool {
        if self.admission.is_settled(epoch) {
            if let Some(ticket) = ticket.take() {
                self.flushes.leave(ticket);
            }
            return true;
        }
        *ticket = Some(self.flushes.wait(ticket.take(), waker));
        false
    }

    /// Whether what is in flight is to be let go; waits for that if not.
    pub(crate) fn abandoned_or_wait(&mut self, ticket: &mut Option<Ticket>, waker: &Waker) -> bool {
        if self.phase == Phase::Abandoned {
            return true;
        }
        *ticket = Some(self.busy.wait(ticket.take(), waker));
        false
    }

    pub(crate) fn stop_being_busy(&mut self, ticket: Ticket) {
        self.busy.leave(ticket);
    }

    pub(crate) fn stop_flushing(&mut self, ticket: Ticket) {
        self.flushes.leave(ticket);
    }

    /// From now on nothing enters.
    pub(crate) fn close(&mut self) -> Wakes {
        self.phase = self.phase.max(Phase::Closed);
        self.wake_all()
    }

    /// From now on nothing enters and nothing is worked off. What was queued is settled and returned.
    pub(crate) fn abandon(&mut self) -> (Vec<T>, Wakes) {
        self.phase = Phase::Abandoned;
        let mut wakes = Wakes::default();
        let mut items = Vec::with_capacity(self.lanes.len());
        while let Next::Item(item, held) = self.next(None, &mut Vec::new(), &mut wakes) {
            wakes.add(self.settle(held, Fate::Dropped(DropReason::Shutdown)));
            items.push(item);
        }
        wakes.add(self.wake_all());
        wakes.add(Wakes::Many(self.busy.release_all()));
        (items, wakes)
    }

    fn wake_all(&mut self) -> Wakes {
        let mut wakes = self.wake_senders();
        wakes.add(Wakes::Many(self.receivers.release_all()));
        wakes
    }

    /// Items that wait.
    pub(crate) fn queued(&self) -> usize {
        self.lanes.len()
    }
}

// === impl Entry ===

impl<T> Entry<T> {
    #[inline]
    pub(crate) fn into_item(self) -> T {
        self.item
    }
}

/// Why an offer that may wait did not enter.
pub(crate) enum Refused<T> {
    Wait(Offer<T>, Ticket),
    Rejected(Rejected<T>, Wakes),
}

// === impl Wakes ===

impl Wakes {
    #[inline]
    pub(crate) fn one(waker: Option<Waker>) -> Self {
        waker.map_or(Self::None, Self::One)
    }

    #[inline]
    pub(crate) fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::None) => {}
            (Self::None, other) => *self = other,
            (_, other) => self.add_many(other),
        }
    }

    #[cold]
    fn add_many(&mut self, other: Self) {
        let mut all = std::mem::take(self).into_vec();
        all.append(&mut other.into_vec());
        *self = Self::Many(all);
    }

    fn into_vec(self) -> Vec<Waker> {
        match self {
            Self::None => Vec::new(),
            Self::One(waker) => vec![waker],
            Self::Many(wakers) => wakers,
        }
    }

    /// Wakes them; call it without a lock.
    #[inline]
    pub(crate) fn wake(self) {
        match self {
            Self::None => {}
            Self::One(waker) => waker.wake(),
            Self::Many(wakers) => wakers.into_iter().for_each(Waker::wake),
        }
    }
}
