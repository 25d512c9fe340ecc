use crate::{
    Offer, Rejected,
    admission::{Charge, Epoch},
    drained::Burst,
    intake::{Candidate, Held, Intake, NotNow, Phase},
    lanes::Lanes,
    wait::{Ticket, WaitLine},
    wakes::Wakes,
};
use forebay_core::{DropReason, Fate, Priority};
use std::{
    task::Waker,
    time::{Duration, Instant},
};

/// A queue without its lock: what is in it, in which order it leaves, and who waits for it. Pure state.
#[derive(Debug)]
pub(crate) struct State<T> {
    pub(crate) intake: Intake,
    lanes: Lanes<Entry<T>>,
    /// What only some queues know of an entry, in step with `lanes`; empty in all others.
    tracked: Option<Lanes<Tracked>>,
    pub(crate) max_age: Option<Duration>,
    /// Receivers that found nothing.
    receivers: WaitLine,
    /// Workers with an item in flight, to be told when the queue is abandoned.
    busy: WaitLine,
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

/// What came of asking for an item.
pub(crate) enum Next<T> {
    Item(T, Held),
    /// Nothing now.
    Empty,
    /// Nothing ever again.
    End,
}

/// Why an offer that may wait did not enter.
pub(crate) enum Refused<T> {
    Wait(Offer<T>, Ticket),
    Rejected(Rejected<T>, Wakes),
}

// === impl State ===

impl<T> State<T> {
    pub(crate) const fn new(intake: Intake, max_age: Option<Duration>, fair_shares: bool) -> Self {
        Self {
            intake,
            lanes: Lanes::new(),
            tracked: if max_age.is_some() || fair_shares { Some(Lanes::new()) } else { None },
            max_age,
            receivers: WaitLine::new(),
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
        if self.tracked.is_some() {
            return Err(offer);
        }
        match self.intake.admit(Candidate { bytes: offer.bytes, priority: offer.priority, key: None }) {
            Ok(epoch) => Ok(self.push(offer, epoch)),
            Err(_undecided) => Err(offer),
        }
    }

    /// Takes `offer` in, or hands it back and counts that. Evicted items are put into `evicted`.
    pub(crate) fn offer(
        &mut self,
        offer: Offer<T>,
        now: Option<Instant>,
        evicted: &mut Vec<T>,
    ) -> Result<Wakes, Rejected<T>> {
        let (candidate, evictable) = (self.candidate(&offer), self.lanes.normal.bytes);
        let Self { intake, lanes, tracked, .. } = self;
        let admitted = intake.admit_or_evict(candidate, evictable, || {
            let entry = lanes.normal.pop()?;
            let tracked = tracked.as_mut().and_then(|tracked| tracked.normal.pop());
            let (item, held) = leave(lanes, entry, Priority::Normal, tracked);
            evicted.push(item);
            Some(held)
        });
        match admitted {
            Ok((epoch, mut wakes)) => {
                wakes.add(self.enter(offer, epoch, now));
                Ok(wakes)
            }
            Err(reason) => Err(Rejected::new(offer.item, reason)),
        }
    }

    /// Takes `offer` in if there is room for it and nobody waits in line before it.
    pub(crate) fn offer_unless_wait(&mut self, offer: Offer<T>, now: Option<Instant>) -> Result<Wakes, Offer<T>> {
        let candidate = self.candidate(&offer);
        match self.intake.admit_unless_wait(candidate) {
            Some(epoch) => Ok(self.enter(offer, epoch, now)),
            None => Err(offer),
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
        let candidate = self.candidate(&offer);
        match self.intake.admit_or_wait(candidate, ticket, waker) {
            Ok((epoch, mut wakes)) => {
                wakes.add(self.enter(offer, epoch, now));
                Ok(wakes)
            }
            Err(NotNow::Waits(ticket)) => Err(Refused::Wait(offer, ticket)),
            Err(NotNow::Refused(reason, wakes)) => Err(Refused::Rejected(Rejected::new(offer.item, reason), wakes)),
        }
    }

    fn candidate(&self, offer: &Offer<T>) -> Candidate {
        let key = if self.tracked.is_some() { offer.key } else { None };
        Candidate { bytes: offer.bytes, priority: offer.priority, key }
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

    /// The next item. Those that outlived the age limit at `now` are settled and put into `expired`.
    #[inline]
    pub(crate) fn next(&mut self, now: Option<Instant>, expired: &mut Vec<T>, wakes: &mut Wakes) -> Next<T> {
        if self.tracked.is_some() {
            return self.next_tracked(now, expired, wakes);
        }
        match self.lanes.pop() {
            Some((entry, priority)) => {
                let (item, held) = leave(&mut self.lanes, entry, priority, None);
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
            let (item, held) = leave(&mut self.lanes, entry, priority, tracked);
            if let (Some(limit), Some(now), Some(entered)) = (self.max_age, now, entered)
                && now.saturating_duration_since(entered) > limit
            {
                wakes.add(self.intake.settle(held, Fate::Dropped(DropReason::Expired)));
                expired.push(item);
                continue;
            }
            return Next::Item(item, held);
        }
        self.empty()
    }

    fn empty(&self) -> Next<T> {
        if self.intake.phase() == Phase::Open { Next::Empty } else { Next::End }
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
        if let Some(epoch) = self.intake.admission.only_epoch()
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

    /// As [`settle`](Self::settle), for items that left together.
    pub(crate) fn settle_all(&mut self, charges: &[Charge], keys: &[u64], fate: Fate) -> Wakes {
        keys.iter().for_each(|key| self.intake.admission.free_share(*key));
        let mut wakes = Wakes::default();
        charges.iter().for_each(|charge| wakes.add(self.intake.settle_charge(*charge, fate)));
        wakes
    }

    /// Whether what is in flight is to be let go; waits for that if not.
    pub(crate) fn abandoned_or_wait(&mut self, ticket: &mut Option<Ticket>, waker: &Waker) -> bool {
        if self.intake.phase() == Phase::Abandoned {
            return true;
        }
        *ticket = Some(self.busy.wait(ticket.take(), waker));
        false
    }

    pub(crate) fn stop_being_busy(&mut self, ticket: Ticket) {
        self.busy.leave(ticket);
    }

    /// From now on nothing enters.
    pub(crate) fn close(&mut self) -> Wakes {
        let mut wakes = self.intake.close();
        wakes.add(Wakes::Many(self.receivers.release_all()));
        wakes
    }

    /// From now on nothing enters and nothing is worked off. What was queued is settled and returned.
    pub(crate) fn abandon(&mut self) -> (Vec<T>, Wakes) {
        let mut wakes = self.intake.abandon();
        let mut items = Vec::with_capacity(self.lanes.len());
        while let Next::Item(item, held) = self.next(None, &mut Vec::new(), &mut wakes) {
            wakes.add(self.intake.settle(held, Fate::Dropped(DropReason::Shutdown)));
            items.push(item);
        }
        wakes.add(Wakes::Many(self.receivers.release_all()));
        wakes.add(Wakes::Many(self.busy.release_all()));
        (items, wakes)
    }

    /// Items that wait.
    pub(crate) fn queued(&self) -> usize {
        self.lanes.len()
    }
}

#[inline]
fn leave<T>(lanes: &mut Lanes<Entry<T>>, entry: Entry<T>, priority: Priority, tracked: Option<Tracked>) -> (T, Held) {
    let Entry { item, bytes, epoch } = entry;
    lanes.lane(priority).bytes -= bytes as usize;
    let key = tracked.and_then(|tracked| tracked.key);
    (item, Held { charge: Charge::one(bytes as usize, epoch), key })
}

// === impl Entry ===

impl<T> Entry<T> {
    #[inline]
    pub(crate) fn into_item(self) -> T {
        self.item
    }
}
