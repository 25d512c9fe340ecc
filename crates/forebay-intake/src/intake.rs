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
    /// What happens to an item for which there is no room.
    overflow: Overflow,
    /// Senders of items of high priority that found no room, and services that are not ready.
    high_senders: WaitLine,
    /// Senders of items of normal priority that found no room.
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
    /// The weight of the item, in bytes, heap included.
    pub bytes: usize,
    /// The lane of the item.
    pub priority: Priority,
    /// A hash of the item's fair-share key, if shares are kept.
    pub key: Option<u64>,
}

/// The slot of an item that was admitted, with its part of the fair share of its key; it is held until the item has its fate.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The weight of the item. It fits, since limits keep one item below 4 GiB.
    bytes: u32,
    /// The epoch that the item was admitted in.
    epoch: Epoch,
    /// The key whose share the item takes; `None` where no shares are kept.
    key: Option<u64>,
}

/// Why an item that may wait was not admitted.
#[derive(Debug)]
pub enum AdmitError {
    /// The item waits in line, with this ticket.
    Waits(Ticket),
    /// The item is refused, and the refusal is counted. The wakers are those of the senders that get its turn.
    Refused(DropReason, WakerSet),
}

// === impl Intake ===

impl Intake {
    /// An empty, open intake.
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

    /// Admits an item if there is room; a refusal is not counted.
    ///
    /// # Errors
    ///
    /// The reason for which the item is not admitted now.
    #[inline]
    pub fn admit(&mut self, meta: OfferMeta) -> Result<Epoch, DropReason> {
        if self.lifecycle != Lifecycle::Open {
            return Err(DropReason::Shutdown);
        }
        self.admission.admit(meta.bytes, meta.priority, meta.key)
    }

    /// Admits an item, after evictions where the overflow policy asks for them, or counts its refusal.
    ///
    /// `evictable` is what could be freed in all, `evict` frees the oldest item of normal priority. The tasks that can go on
    /// because of it are added to `wakers`.
    ///
    /// # Errors
    ///
    /// The reason for which the item is refused.
    pub fn admit_or_evict(
        &mut self,
        meta: OfferMeta,
        evictable: Charge,
        mut evict: impl FnMut() -> Option<Slot>,
        wakers: &mut WakerSet,
    ) -> Result<Epoch, DropReason> {
        let reason = match self.admit(meta) {
            Ok(epoch) => return Ok(epoch),
            Err(reason) => reason,
        };
        let passes = matches!(reason, DropReason::SoftLimit | DropReason::Full | DropReason::Bytes);
        let OfferMeta { bytes, priority, .. } = meta;
        // Items are evicted only if that makes enough room.
        if self.overflow == Overflow::DropOldest && passes && self.admission.would_have_room(bytes, priority, evictable)
        {
            while let Some(slot) = evict() {
                self.settle(slot, Fate::Dropped(DropReason::Evicted), wakers);
                if let Ok(epoch) = self.admit(meta) {
                    return Ok(epoch);
                }
            }
            debug_assert!(false, "less could be freed than was said");
        }
        self.admission.refuse(reason, 1);
        Err(reason)
    }

    /// Admits an item if there is room and no sender waits in line before it.
    #[must_use]
    pub fn admit_unless_wait(&mut self, meta: OfferMeta) -> Option<Epoch> {
        if self.line(meta.priority).is_empty() { self.admit(meta).ok() } else { None }
    }

    /// Admits an item, or lets its sender wait in line.
    ///
    /// # Errors
    ///
    /// When the sender waits, or the item is refused for a reason that waiting does not change.
    pub fn admit_or_wait(
        &mut self,
        meta: OfferMeta,
        ticket: Option<Ticket>,
        registration: &mut Registration<'_>,
    ) -> Result<(Epoch, WakerSet), AdmitError> {
        // A new sender never overtakes senders that already wait.
        let waits_behind =
            ticket.is_none() && self.lifecycle == Lifecycle::Open && !self.line(meta.priority).is_empty();
        let reason = if waits_behind && !self.admission.is_too_large(meta.bytes) {
            DropReason::Full
        } else {
            match self.admit(meta) {
                // CORRECTNESS: one item that left may make room for several; each sender that is admitted wakes the next.
                Ok(epoch) => {
                    self.leave_line(meta.priority, ticket, registration);
                    return Ok((epoch, self.wake_sender()));
                }
                Err(reason) => reason,
            }
        };
        match reason {
            DropReason::SoftLimit | DropReason::Full | DropReason::Bytes => {
                Err(AdmitError::Waits(self.line(meta.priority).wait(ticket, registration)))
            }
            _ => {
                self.admission.refuse(reason, 1);
                self.leave_line(meta.priority, ticket, registration);
                // CORRECTNESS: a sender that was woken and cannot use its turn passes the turn on.
                Err(AdmitError::Refused(reason, self.wake_sender()))
            }
        }
    }

    /// CORRECTNESS: a sender may be polled before it is woken. A place that it left behind in the line would take the turn of
    /// one that still waits.
    fn leave_line(&mut self, priority: Priority, ticket: Option<Ticket>, registration: &mut Registration<'_>) {
        if let Some(ticket) = ticket {
            registration.retire(self.line(priority).leave(ticket));
        }
    }

    /// A sender that waits is dropped.
    pub fn stop_waiting(&mut self, ticket: Ticket, priority: Priority) -> WakerSet {
        match self.line(priority).leave(ticket) {
            Some(waker) => WakerSet::Retired(waker),
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
        // CORRECTNESS: the room is only seen, not taken, so the next sender may see it too.
        Ok(match self.high_senders.leave(ticket) {
            Some(waker) => WakerSet::Retired(waker),
            None => self.wake_sender(),
        })
    }

    /// Whether no sender has to wait for room: there is some, or the intake is closed.
    #[inline]
    #[must_use]
    pub fn has_room_or_ended(&self) -> bool {
        self.lifecycle != Lifecycle::Open || self.admission.has_room(0, Priority::High)
    }

    /// Lets every sender that waits try again, after the limits have changed.
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

    /// Whether a sender waits in line for room.
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

    /// Counts the fate of an item that left, and frees its slot. The tasks that can go on because of it are added to `wakers`.
    #[inline]
    pub fn settle(&mut self, slot: Slot, fate: Fate, wakers: &mut WakerSet) {
        if let Some(key) = slot.key {
            self.admission.free_share(key);
        }
        self.settle_charge(slot.charge(), fate, wakers);
    }

    /// As [`settle`](Self::settle), for items that left together. Their fair shares are freed apart.
    #[inline]
    pub fn settle_charge(&mut self, charge: Charge, fate: Fate, wakers: &mut WakerSet) {
        if self.admission.settle(fate, charge) {
            wakers.add(WakerSet::Many(self.flushes.release_all()));
        }
        if self.has_senders() {
            wakers.add(self.wake_sender());
        }
    }

    /// Whether every item up to `epoch` is settled; waits for it if not.
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

    /// A flush is dropped before it is over.
    pub fn stop_flushing(&mut self, ticket: Ticket) -> WakerSet {
        self.flushes.leave(ticket).map_or(WakerSet::None, WakerSet::Retired)
    }

    /// From now on no item is admitted.
    pub fn close(&mut self) -> WakerSet {
        self.lifecycle = self.lifecycle.max(Lifecycle::Closed);
        self.wake_senders()
    }

    /// From now on no item is admitted, and none is processed.
    pub fn abandon(&mut self) -> WakerSet {
        self.lifecycle = Lifecycle::Aborted;
        self.wake_senders()
    }
}

// === impl Slot ===

impl Slot {
    /// The slot of one item of `bytes` that was admitted in `epoch`, in the fair share of `key`.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "admitted, so below 4 GiB")]
    pub const fn new(bytes: usize, epoch: Epoch, key: Option<u64>) -> Self {
        Self { bytes: bytes as u32, epoch, key }
    }

    /// The key whose fair share the item takes.
    #[inline]
    #[must_use]
    pub const fn key(&self) -> Option<u64> {
        self.key
    }

    /// What the slot holds.
    #[inline]
    #[must_use]
    pub const fn charge(&self) -> Charge {
        Charge { items: 1, bytes: self.bytes as usize, epoch: self.epoch }
    }
}
