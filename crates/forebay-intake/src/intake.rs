use crate::{
    Overflow,
    admission::{Admission, Charge, Epoch},
    registration::Registration,
    wait::{Ticket, WaitLine},
    wakers::WakerSet,
};
use forebay_core::{DropReason, Fate, Priority};

/// Admission control shared by the queue and the batcher: limits, the line of waiting senders, flush epochs, and the lifecycle.
///
/// Pure state. The owner stores the admitted items and decides their order. No user code runs here: methods return the
/// wakers to wake, and the owner wakes them after it has released its lock.
#[derive(Debug)]
pub struct Intake {
    /// Limits, slots and ledger.
    pub admission: Admission,
    /// Whether items are admitted and processed.
    lifecycle: Lifecycle,
    overflow: Overflow,
    /// Senders that found no room.
    high_senders: WaitLine,
    normal_senders: WaitLine,
    /// Flushes that are not over.
    flushes: WaitLine,
}

/// Whether items are admitted and processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lifecycle {
    /// Items are admitted and processed.
    Open,
    /// No item is admitted. Items already admitted are processed.
    Closed,
    /// No item is processed. Items in flight are being released.
    Aborted,
}

/// What admission needs to know of an item: its weight, its lane, and its fair-share key.
#[derive(Clone, Copy, Debug)]
pub struct OfferMeta {
    /// Its weight.
    pub bytes: usize,
    /// Its lane.
    pub priority: Priority,
    /// Its fair-share key, if shares are kept.
    pub key: Option<u64>,
}

/// The slot of an item that was admitted, with its part of the fair share of its key; it is held until the item has its fate.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Fits: limits keep one item below 4 GiB.
    bytes: u32,
    epoch: Epoch,
    key: Option<u64>,
}

/// Why an item that may wait was not admitted.
#[derive(Debug)]
pub enum AdmitError {
    /// It waits in line, with this ticket.
    Waits(Ticket),
    /// It is refused, and the refusal is counted; its turn was passed on.
    Refused(DropReason, WakerSet),
}

// === impl Intake ===

impl Intake {
    /// An open door.
    #[must_use]
    pub const fn new(admission: Admission, overflow: Overflow) -> Self {
        Self {
            admission,
            lifecycle: Lifecycle::Open,
            overflow,
            high_senders: WaitLine::new(),
            normal_senders: WaitLine::new(),
            flushes: WaitLine::new(),
        }
    }

    /// Whether items are admitted and processed.
    #[inline]
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// Lets `candidate` in if there is room; a refusal is not counted.
    ///
    /// # Errors
    ///
    /// The reason for which it may not enter now.
    #[inline]
    pub fn admit(&mut self, candidate: OfferMeta) -> Result<Epoch, DropReason> {
        if self.lifecycle != Lifecycle::Open {
            return Err(DropReason::Shutdown);
        }
        self.admission.admit(candidate.bytes, candidate.priority, candidate.key)
    }

    /// Lets `candidate` in, making room with `evict` where the overflow policy says so, or counts its refusal.
    ///
    /// `evictable` is what could be freed in all, `evict` frees the oldest item of normal priority. Who can go on because of it
    /// is added to `wakes`.
    ///
    /// # Errors
    ///
    /// The reason for which it was refused.
    pub fn admit_or_evict(
        &mut self,
        candidate: OfferMeta,
        evictable: Charge,
        mut evict: impl FnMut() -> Option<Held>,
        wakes: &mut WakerSet,
    ) -> Result<Epoch, DropReason> {
        let reason = match self.admit(candidate) {
            Ok(epoch) => return Ok(epoch),
            Err(reason) => reason,
        };
        let passes = matches!(reason, DropReason::SoftLimit | DropReason::Full | DropReason::Bytes);
        let OfferMeta { bytes, priority, .. } = candidate;
        // Dropping what is there must not be for nothing: there has to be room once all that may go is gone.
        if self.overflow == Overflow::DropOldest && passes && self.admission.would_have_room(bytes, priority, evictable)
        {
            while let Some(held) = evict() {
                self.settle(held, Fate::Dropped(DropReason::Evicted), wakes);
                if let Ok(epoch) = self.admit(candidate) {
                    return Ok(epoch);
                }
            }
            debug_assert!(false, "less could be freed than was said");
        }
        self.admission.refuse(reason, 1);
        Err(reason)
    }

    /// Lets `candidate` in if there is room and nobody waits in line before it.
    #[must_use]
    pub fn admit_unless_wait(&mut self, candidate: OfferMeta) -> Option<Epoch> {
        if self.line(candidate.priority).is_empty() { self.admit(candidate).ok() } else { None }
    }

    /// Lets `candidate` in, or lets it wait in line.
    ///
    /// # Errors
    ///
    /// When it waits, or is refused for a reason that does not pass.
    pub fn admit_or_wait(
        &mut self,
        candidate: OfferMeta,
        ticket: Option<Ticket>,
        registration: &mut Registration<'_>,
    ) -> Result<(Epoch, WakerSet), AdmitError> {
        // Who comes anew does not overtake who waits.
        let waits_behind =
            ticket.is_none() && self.lifecycle == Lifecycle::Open && !self.line(candidate.priority).is_empty();
        let reason = if waits_behind && !self.admission.is_too_large(candidate.bytes) {
            DropReason::Full
        } else {
            match self.admit(candidate) {
                // CORRECTNESS: one item that left may make room for several; each that enters wakes the next.
                Ok(epoch) => {
                    self.leave_line(candidate.priority, ticket, registration);
                    return Ok((epoch, self.wake_sender()));
                }
                Err(reason) => reason,
            }
        };
        match reason {
            DropReason::SoftLimit | DropReason::Full | DropReason::Bytes => {
                Err(AdmitError::Waits(self.line(candidate.priority).wait(ticket, registration)))
            }
            _ => {
                self.admission.refuse(reason, 1);
                self.leave_line(candidate.priority, ticket, registration);
                // CORRECTNESS: whoever was let go and cannot use the turn passes it on.
                Err(AdmitError::Refused(reason, self.wake_sender()))
            }
        }
    }

    /// CORRECTNESS: a sender may have been polled before it was let go. A place that it left behind in the line would take the
    /// turn of one that still waits.
    fn leave_line(&mut self, priority: Priority, ticket: Option<Ticket>, registration: &mut Registration<'_>) {
        if let Some(ticket) = ticket {
            registration.retire(self.line(priority).leave(ticket));
        }
    }

    /// A sender that waited goes away.
    pub fn stop_waiting(&mut self, ticket: Ticket, priority: Priority) -> WakerSet {
        match self.line(priority).leave(ticket) {
            Some(waker) => WakerSet::Gone(waker),
            None => self.wake_sender(),
        }
    }

    /// Waits for room without an item, as `poll_ready` does.
    ///
    /// # Errors
    ///
    /// The ticket with which it waits.
    pub fn wait_for_room(
        &mut self,
        ticket: Option<Ticket>,
        registration: &mut Registration<'_>,
    ) -> Result<WakerSet, Ticket> {
        if !self.has_room_or_ended() {
            return Err(self.high_senders.wait(ticket, registration));
        }
        let Some(ticket) = ticket else { return Ok(WakerSet::None) };
        // CORRECTNESS: the room is only seen, not taken; the next may see it too.
        Ok(match self.high_senders.leave(ticket) {
            Some(waker) => WakerSet::Gone(waker),
            None => self.wake_sender(),
        })
    }

    /// Whether no sender has to wait for room: there is some, or there will never be any.
    #[inline]
    #[must_use]
    pub fn has_room_or_ended(&self) -> bool {
        self.lifecycle != Lifecycle::Open || self.admission.has_room(0, Priority::High)
    }

    /// Lets everybody who waits try again, after the limits have changed.
    pub fn wake_senders(&mut self) -> WakerSet {
        let lines = [&mut self.high_senders, &mut self.normal_senders];
        WakerSet::Many(lines.into_iter().flat_map(WaitLine::release_all).collect())
    }

    fn line(&mut self, priority: Priority) -> &mut WaitLine {
        match priority {
            Priority::High => &mut self.high_senders,
            Priority::Normal => &mut self.normal_senders,
        }
    }

    /// Whether anybody waits in line for room.
    #[inline]
    #[must_use]
    pub fn has_senders(&self) -> bool {
        !self.high_senders.is_empty() || !self.normal_senders.is_empty()
    }

    /// Lets the next sender try, if there may be room for it.
    fn wake_sender(&mut self) -> WakerSet {
        let line = if !self.high_senders.is_empty() && self.admission.has_room(0, Priority::High) {
            &mut self.high_senders
        } else if !self.normal_senders.is_empty() && self.admission.has_room(0, Priority::Normal) {
            &mut self.normal_senders
        } else {
            return WakerSet::None;
        };
        WakerSet::one(line.release())
    }

    /// Counts the fate of an item that left, and frees its slot; who can go on because of it is added to `wakes`.
    #[inline]
    pub fn settle(&mut self, held: Held, fate: Fate, wakes: &mut WakerSet) {
        if let Some(key) = held.key {
            self.admission.free_share(key);
        }
        self.settle_charge(held.charge(), fate, wakes);
    }

    /// As [`settle`](Self::settle), for any number of items that left together, whose shares are freed apart.
    #[inline]
    pub fn settle_charge(&mut self, charge: Charge, fate: Fate, wakes: &mut WakerSet) {
        if self.admission.settle(fate, charge) {
            wakes.add(WakerSet::Many(self.flushes.release_all()));
        }
        if self.has_senders() {
            wakes.add(self.wake_sender());
        }
    }

    /// Whether everything up to `epoch` is settled; waits for it if not.
    pub fn flushed_or_wait(
        &mut self,
        epoch: Epoch,
        ticket: &mut Option<Ticket>,
        registration: &mut Registration<'_>,
    ) -> bool {
        if self.admission.is_settled(epoch) {
            if let Some(ticket) = ticket.take() {
                registration.retire(self.flushes.leave(ticket));
            }
            return true;
        }
        *ticket = Some(self.flushes.wait(ticket.take(), registration));
        false
    }

    /// A flush goes away.
    pub fn stop_flushing(&mut self, ticket: Ticket) -> WakerSet {
        self.flushes.leave(ticket).map_or(WakerSet::None, WakerSet::Gone)
    }

    /// From now on nothing enters.
    pub fn close(&mut self) -> WakerSet {
        self.lifecycle = self.lifecycle.max(Lifecycle::Closed);
        self.wake_senders()
    }

    /// From now on nothing enters, and nothing is worked off.
    pub fn abandon(&mut self) -> WakerSet {
        self.lifecycle = Lifecycle::Aborted;
        self.wake_senders()
    }
}

// === impl Held ===

impl Held {
    /// One item of `bytes` that entered in `epoch`, of the fair share of `key`.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "admitted, so below 4 GiB")]
    pub const fn new(bytes: usize, epoch: Epoch, key: Option<u64>) -> Self {
        Self { bytes: bytes as u32, epoch, key }
    }

    /// Whose fair share it is.
    #[inline]
    #[must_use]
    pub const fn key(&self) -> Option<u64> {
        self.key
    }

    /// Its slot.
    #[inline]
    #[must_use]
    pub const fn charge(&self) -> Charge {
        Charge { items: 1, bytes: self.bytes as usize, epoch: self.epoch }
    }
}
