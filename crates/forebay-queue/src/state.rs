use crate::{
    Offer, Rejected,
    charges::Charges,
    drained::Burst,
    lanes::Lanes,
    parked::{Attempt, Delays, Parked, ParkingLot},
};
use forebay_core::{DropReason, Fate, Priority, panic};
use forebay_intake::{
    AdmitError, Charge, Epoch, Held, Intake, Lifecycle, OfferMeta, Registration, Ticket, WaitLine, WakerSet,
};
use std::{
    task::Waker,
    time::{Duration, Instant},
};

/// A queue without its lock: what is in it, in which order it leaves, and who waits for it. Pure state.
#[derive(Debug)]
pub(crate) struct State<T> {
    pub(crate) intake: Intake,
    lanes: Lanes<T>,
    /// What every entry of each lane holds, in step with it.
    high: Charges,
    normal: Charges,
    /// What only some queues know of an entry, in step with `lanes`; empty in all others.
    tracked: Option<Lanes<Tracked>>,
    /// Items that wait for another attempt; empty in all but some queues before a service.
    parked: ParkingLot<T>,
    /// Bytes that wait in the high lane.
    high_bytes: usize,
    /// Bytes that have left the lanes and are not settled.
    in_hand: usize,
    pub(crate) max_age: Option<Duration>,
    /// Receivers that found nothing.
    receivers: WaitLine,
    /// Workers with an item in flight, to be told when the queue is abandoned.
    busy: WaitLine,
    /// Items that workers had in hand when they let go of them, for a drain to return.
    pub(crate) recovered: Vec<T>,
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    entered: Option<Instant>,
    key: Option<u64>,
}

/// Why an offer that may wait did not enter.
pub(crate) enum Refused<T> {
    Wait(Offer<T>, Ticket),
    Rejected(Rejected<T>, WakerSet),
}

/// What was in a queue when it was abandoned.
pub(crate) struct Leftover<T> {
    pub(crate) items: Vec<T>,
    /// Code of the user, to be dropped outside of the lock.
    delays: Vec<Delays>,
}

// === impl State ===

impl<T> State<T> {
    pub(crate) const fn new(intake: Intake, max_age: Option<Duration>, fair_shares: bool) -> Self {
        Self {
            intake,
            lanes: Lanes::new(),
            high: Charges::new(),
            normal: Charges::new(),
            tracked: if max_age.is_some() || fair_shares { Some(Lanes::new()) } else { None },
            parked: ParkingLot::new(),
            high_bytes: 0,
            in_hand: 0,
            max_age,
            receivers: WaitLine::new(),
            busy: WaitLine::new(),
            recovered: Vec::new(),
        }
    }

    /// Lets an item like `candidate` in, where no more is to be done than to [`push`](Self::push) it.
    ///
    /// The item itself is not looked at, so that it is moved just once, into its place.
    #[inline]
    pub(crate) fn admit_simply(&mut self, candidate: OfferMeta) -> Option<Epoch> {
        if self.tracked.is_some() || self.intake.has_senders() {
            return None;
        }
        self.intake.admit(OfferMeta { key: None, ..candidate }).ok()
    }

    /// Takes `offer` in, or hands it back and counts that. Evicted items are put into `evicted`.
    pub(crate) fn offer(
        &mut self,
        offer: Offer<T>,
        now: Option<Instant>,
        evicted: &mut Vec<T>,
        wakes: &mut WakerSet,
    ) -> Result<(), Rejected<T>> {
        let candidate = self.candidate(&offer);
        let evictable = Charge {
            items: self.lanes.normal.len() as u64,
            bytes: self.intake.admission.bytes() - self.in_hand - self.high_bytes,
            ..Charge::default()
        };
        let Self { intake, lanes, normal, tracked, .. } = self;
        let evict = || {
            let item = lanes.normal.pop()?;
            let (bytes, epoch) = normal.pop();
            let tracked = tracked.as_mut().and_then(|tracked| tracked.normal.pop());
            evicted.push(item);
            Some(Held::new(bytes, epoch, tracked.and_then(|tracked| tracked.key)))
        };
        match intake.admit_or_evict(candidate, evictable, evict, wakes) {
            Ok(epoch) => {
                wakes.add(self.enter(offer, epoch, now));
                Ok(())
            }
            Err(reason) => Err(Rejected::new(offer.item, reason)),
        }
    }

    /// Takes `offer` in if there is room for it and nobody waits in line before it.
    pub(crate) fn offer_unless_wait(&mut self, offer: Offer<T>, now: Option<Instant>) -> Result<WakerSet, Offer<T>> {
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
        registration: &mut Registration<'_>,
    ) -> Result<WakerSet, Refused<T>> {
        let candidate = self.candidate(&offer);
        match self.intake.admit_or_wait(candidate, ticket, registration) {
            Ok((epoch, mut wakes)) => {
                wakes.add(self.enter(offer, epoch, now));
                Ok(wakes)
            }
            Err(AdmitError::Waits(ticket)) => Err(Refused::Wait(offer, ticket)),
            Err(AdmitError::Refused(reason, wakes)) => Err(Refused::Rejected(Rejected::new(offer.item, reason), wakes)),
        }
    }

    fn candidate(&self, offer: &Offer<T>) -> OfferMeta {
        let key = if self.tracked.is_some() { offer.key } else { None };
        OfferMeta { bytes: offer.bytes, priority: offer.priority, key }
    }

    fn enter(&mut self, offer: Offer<T>, epoch: Epoch, now: Option<Instant>) -> WakerSet {
        if let Some(tracked) = &mut self.tracked {
            let key = if offer.priority == Priority::Normal { offer.key } else { None };
            tracked.push(Tracked { entered: now, key }, offer.priority);
        }
        let candidate = offer.meta();
        WakerSet::one(self.push(offer.item, candidate, epoch))
    }

    /// Puts an item that was admitted as `candidate` into its lane, and names the receiver to wake.
    #[inline]
    pub(crate) fn push(&mut self, item: T, candidate: OfferMeta, epoch: Epoch) -> Option<Waker> {
        let OfferMeta { bytes, priority, .. } = candidate;
        self.lanes.push(item, priority);
        match priority {
            Priority::Normal => self.normal.push(bytes, epoch),
            Priority::High => {
                self.high.push(bytes, epoch);
                self.high_bytes += bytes;
            }
        }
        self.receivers.release()
    }

    /// The next item. Those that outlived the age limit at `now` are settled and put into `expired`.
    ///
    /// Always inlined, for the reason for which an offer is.
    #[inline(always)]
    pub(crate) fn next(
        &mut self,
        now: Option<Instant>,
        expired: &mut Vec<T>,
        wakes: &mut WakerSet,
    ) -> Option<(T, Held)> {
        loop {
            let (item, priority) = self.lanes.pop()?;
            let (bytes, epoch) = match priority {
                Priority::Normal => self.normal.pop(),
                Priority::High => {
                    let (bytes, epoch) = self.high.pop();
                    self.high_bytes -= bytes;
                    (bytes, epoch)
                }
            };
            let (key, is_expired) = if self.tracked.is_some() { self.pop_tracked(now) } else { (None, false) };
            let held = Held::new(bytes, epoch, key);
            if is_expired {
                self.intake.settle(held, Fate::Dropped(DropReason::Expired), wakes);
                expired.push(item);
                continue;
            }
            self.in_hand += bytes;
            return Some((item, held));
        }
    }

    /// The key of the item that was just popped, and whether it outlived the age limit at `now`.
    #[cold]
    fn pop_tracked(&mut self, now: Option<Instant>) -> (Option<u64>, bool) {
        let tracked = self.tracked.as_mut().and_then(Lanes::pop).map(|(tracked, _)| tracked);
        let entered = tracked.and_then(|tracked| tracked.entered);
        let is_expired = match (self.max_age, now, entered) {
            (Some(limit), Some(now), Some(entered)) => now.saturating_duration_since(entered) > limit,
            _ => false,
        };
        (tracked.and_then(|tracked| tracked.key), is_expired)
    }

    /// Waits for an item where there is [none](Self::next), in the line of the others; `None` if there will be none.
    #[inline]
    pub(crate) fn wait(&mut self, ticket: Option<Ticket>, registration: &mut Registration<'_>) -> Option<Ticket> {
        // What waits for another attempt may yet be for a receiver that waits.
        if self.intake.lifecycle() == Lifecycle::Open || !self.parked.is_empty() {
            return Some(self.receivers.wait(ticket, registration));
        }
        self.stop_waiting(ticket, registration);
        None
    }

    /// Waits no longer: it was let go for the item it has, or found it by chance.
    #[inline]
    pub(crate) fn stop_waiting(&mut self, ticket: Option<Ticket>, registration: &mut Registration<'_>) {
        if let Some(ticket) = ticket {
            registration.retire(self.receivers.leave(ticket));
        }
    }

    /// Takes up to `most` items into `burst`, by two swaps where that is possible.
    #[inline]
    pub(crate) fn drain(
        &mut self,
        most: usize,
        now: Option<Instant>,
        burst: &mut Burst<T>,
        expired: &mut Vec<T>,
        wakes: &mut WakerSet,
    ) {
        let waiting = self.lanes.len();
        if let Some(epoch) = self.intake.admission.only_epoch()
            && waiting <= most
            && self.tracked.is_none()
            && self.lanes.swap(&mut burst.high, &mut burst.normal, &mut burst.turn)
        {
            // All that is held and was not in anybody's hands.
            let bytes = self.intake.admission.bytes() - self.in_hand;
            self.in_hand += bytes;
            self.high_bytes = 0;
            self.high.clear();
            self.normal.clear();
            burst.charges.push(Charge { items: waiting as u64, bytes, epoch });
            return;
        }
        for _ in 0..most {
            let Some((item, held)) = self.next(now, expired, wakes) else { break };
            burst.keys.extend(held.key());
            burst.add(held.charge());
            burst.ordered.push(item);
        }
    }

    /// A receiver goes away: whatever it was woken for is for another.
    pub(crate) fn stop_receiving(&mut self, ticket: Ticket) -> WakerSet {
        if let Some(waker) = self.receivers.leave(ticket) {
            return WakerSet::Retired(waker);
        }
        let nothing = self.lanes.len() == 0 && self.parked.is_empty();
        if nothing { WakerSet::None } else { WakerSet::one(self.receivers.release()) }
    }

    /// An item that was taken off waits for another attempt until `due`, and keeps its slot; at most `max_bytes` do.
    ///
    /// Handed back when the queue is abandoned; those that have to go are settled and put into `evicted`.
    pub(crate) fn park(
        &mut self,
        parked: Parked<T>,
        due: Instant,
        max_bytes: usize,
        evicted: &mut Vec<Parked<T>>,
        wakes: &mut WakerSet,
    ) -> Result<(), Parked<T>> {
        if self.intake.lifecycle() == Lifecycle::Aborted {
            return Err(parked);
        }
        self.parked.park(parked, due);
        while let Some(oldest) = self.parked.evict(max_bytes) {
            self.settle(oldest.held, Fate::Dropped(DropReason::Evicted), wakes);
            evicted.push(oldest);
        }
        // CORRECTNESS: whoever parks it may be busy when it is due; one who is idle learns of the time.
        wakes.add(WakerSet::one(self.receivers.release()));
        Ok(())
    }

    /// Whether any item waits for another attempt.
    #[inline]
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// An item whose next attempt is due at `now`.
    pub(crate) fn unpark(&mut self, now: Instant, wakes: &mut WakerSet) -> Option<Parked<T>> {
        let parked = self.parked.take_due(now)?;
        if self.parked.is_empty() && self.intake.lifecycle() != Lifecycle::Open {
            // CORRECTNESS: those that stayed for what was parked have nothing to stay for.
            wakes.add(WakerSet::Many(self.receivers.release_all()));
        } else if self.lanes.len() > 0 {
            // CORRECTNESS: it may have been woken for one of these.
            wakes.add(WakerSet::one(self.receivers.release()));
        }
        Some(parked)
    }

    /// An attempt of an item that was parked is over.
    pub(crate) fn unparked(&mut self, attempt: Attempt, wakes: &mut WakerSet) {
        self.parked.landed(attempt);
        if !self.parked.is_empty() {
            // CORRECTNESS: another may go now, or twice as many, and somebody has to see to it.
            wakes.add(WakerSet::one(self.receivers.release()));
        }
    }

    /// An item that was parked gets no other attempt, as its caller is gone.
    pub(crate) fn withdraw(&mut self, held: Held, wakes: &mut WakerSet) {
        self.unparked(Attempt::Withdrawn, wakes);
        self.settle(held, Fate::Dropped(DropReason::Cancelled), wakes);
    }

    /// When the next of those that wait may go.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.parked.next_due()
    }

    /// Counts the fate of an item that was taken off, and frees its slot.
    #[inline]
    pub(crate) fn settle(&mut self, held: Held, fate: Fate, wakes: &mut WakerSet) {
        self.in_hand -= held.charge().bytes;
        self.intake.settle(held, fate, wakes);
    }

    /// As [`settle`](Self::settle), for items that left together.
    pub(crate) fn settle_all(&mut self, charges: &[Charge], keys: &[u64], fate: Fate, wakes: &mut WakerSet) {
        keys.iter().for_each(|key| self.intake.admission.free_share(*key));
        for charge in charges {
            self.in_hand -= charge.bytes;
            self.intake.settle_charge(*charge, fate, wakes);
        }
    }

    /// Whether what is in flight is to be let go; waits for that if not.
    pub(crate) fn abandoned_or_wait(
        &mut self,
        ticket: &mut Option<Ticket>,
        registration: &mut Registration<'_>,
    ) -> bool {
        if self.intake.lifecycle() == Lifecycle::Aborted {
            return true;
        }
        *ticket = Some(self.busy.wait(ticket.take(), registration));
        false
    }

    pub(crate) fn stop_being_busy(&mut self, ticket: Ticket) -> WakerSet {
        self.busy.leave(ticket).map_or(WakerSet::None, WakerSet::Retired)
    }

    /// From now on nothing enters.
    pub(crate) fn close(&mut self) -> WakerSet {
        let mut wakes = self.intake.close();
        wakes.add(WakerSet::Many(self.receivers.release_all()));
        wakes
    }

    /// From now on nothing enters and nothing is worked off. What was queued is settled and returned.
    pub(crate) fn abandon(&mut self) -> (Leftover<T>, WakerSet) {
        let mut wakes = self.intake.abandon();
        let mut items = Vec::with_capacity(self.lanes.len() + self.parked.len());
        let mut delays = Vec::new();
        while let Some((item, held)) = self.next(None, &mut Vec::new(), &mut wakes) {
            self.settle(held, Fate::Dropped(DropReason::Shutdown), &mut wakes);
            items.push(item);
        }
        while let Some(parked) = self.parked.pop() {
            self.settle(parked.held, Fate::Dropped(DropReason::Shutdown), &mut wakes);
            items.push(parked.item);
            delays.push(parked.delays);
        }
        wakes.add(WakerSet::Many(self.receivers.release_all()));
        wakes.add(WakerSet::Many(self.busy.release_all()));
        (Leftover { items, delays }, wakes)
    }

    /// Items that wait.
    pub(crate) fn queued(&self) -> usize {
        self.lanes.len() + self.parked.len()
    }
}

// === impl Leftover ===

impl<T> Default for Leftover<T> {
    fn default() -> Self {
        Self { items: Vec::new(), delays: Vec::new() }
    }
}

impl<T> Drop for Leftover<T> {
    fn drop(&mut self) {
        self.items.drain(..).for_each(panic::discard);
        self.delays.drain(..).for_each(panic::discard);
    }
}
