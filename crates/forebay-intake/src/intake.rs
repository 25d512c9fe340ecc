use crate::{
    Overflow,
    admission::{Admission, Charge, Epoch},
    registration::Registration,
    sender_lines::Lines,
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
    /// The senders that wait, where the admission draws from no budget; they are in its draw otherwise.
    senders: Lines,
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
    /// The item waits in line, with this ticket. The wakers are those of the tasks that get its turn.
    Waits(Ticket, WakerSet),
    /// The item is refused, and the refusal is counted. The wakers are those of the senders that get its turn.
    Refused(DropReason, WakerSet),
}

/// Whether there may be room later for an item that is refused for `reason`.
fn passes(reason: DropReason) -> bool {
    matches!(reason, DropReason::SoftLimit | DropReason::Full | DropReason::Bytes | DropReason::ByteBudget)
}

// === impl Intake ===

impl Intake {
    /// An empty, open intake.
    #[must_use]
    pub const fn new(admission: Admission, overflow: Overflow) -> Self {
        Self { admission, lifecycle: Lifecycle::Open, overflow, senders: Lines::new(), flushes: WaitLine::new() }
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
        let OfferMeta { bytes, priority, .. } = meta;
        // Items are evicted only if that makes enough room.
        if self.overflow == Overflow::DropOldest
            && passes(reason)
            && self.admission.would_have_room(bytes, priority, evictable)
        {
            // CORRECTNESS: what is evicted makes room for the new item alone: were it given back to the budget first, another
            // member could take it.
            self.keep_freed(true, wakers);
            let mut admitted = None;
            while admitted.is_none()
                && let Some(slot) = evict()
            {
                self.settle(slot, Fate::Dropped(DropReason::Evicted), wakers);
                admitted = self.admit(meta).ok();
            }
            self.keep_freed(false, wakers);
            if let Some(epoch) = admitted {
                return Ok(epoch);
            }
            // Other members may have filled the budget meanwhile.
            debug_assert!(self.admission.draw.is_some(), "less could be freed than was said");
        }
        self.admission.refuse(reason, 1);
        Err(reason)
    }

    fn keep_freed(&mut self, keeps: bool, wakers: &mut WakerSet) {
        if let Some(draw) = &mut self.admission.draw {
            draw.keep_freed(keeps);
            wakers.add(WakerSet::one(draw.take_turn()));
        }
    }

    /// Admits an item if there is room and no sender waits in line before it.
    #[must_use]
    pub fn admit_unless_wait(&mut self, meta: OfferMeta) -> Option<Epoch> {
        if self.line_is_empty(meta.priority) { self.admit(meta).ok() } else { None }
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
        let waits_behind = ticket.is_none() && self.lifecycle == Lifecycle::Open && !self.line_is_empty(meta.priority);
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
        if !passes(reason) {
            self.admission.refuse(reason, 1);
            self.leave_line(meta.priority, ticket, registration);
            // CORRECTNESS: a sender that was woken and cannot use its turn passes the turn on.
            return Err(AdmitError::Refused(reason, self.wake_sender()));
        }
        let had_turn = ticket.is_some();
        let ticket = self.with_line(meta.priority, |line| line.wait(ticket, registration));
        if reason != DropReason::ByteBudget {
            // CORRECTNESS: it may have had a turn of the budget, and waits for something else.
            return Err(AdmitError::Waits(ticket, self.pass_turn_if(had_turn)));
        }
        if let Some(draw) = &self.admission.draw {
            draw.wait(meta.bytes, meta.priority);
        }
        // CORRECTNESS: bytes that were given back before this intake waited for them were given to others, or to none.
        match self.admit(meta) {
            Ok(epoch) => {
                self.leave_line(meta.priority, Some(ticket), registration);
                Ok((epoch, self.wake_sender()))
            }
            // CORRECTNESS: it may have had a turn, and what there is may be enough for another.
            Err(_) => Err(AdmitError::Waits(ticket, self.pass_turn_if(had_turn))),
        }
    }

    fn pass_turn_if(&self, had_turn: bool) -> WakerSet {
        WakerSet::one(if had_turn { self.admission.pass_turn() } else { None })
    }

    /// CORRECTNESS: a sender may be polled before it is woken. A place that it left behind in the line would take the turn of
    /// one that still waits.
    fn leave_line(&mut self, priority: Priority, ticket: Option<Ticket>, registration: &mut Registration<'_>) {
        if let Some(ticket) = ticket {
            registration.retire(self.with_line(priority, |line| line.leave(ticket)));
        }
    }

    /// A sender that waits is dropped.
    pub fn stop_waiting(&mut self, ticket: Ticket, priority: Priority) -> WakerSet {
        let Some(waker) = self.with_line(priority, |line| line.leave(ticket)) else { return self.wake_sender() };
        let mut wakers = WakerSet::Retired(waker);
        if self.admission.draw.is_some() {
            // CORRECTNESS: the budget may know only the weight of the item that has left the line.
            wakers.add(self.next_sender());
        }
        wakers
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
            return Err(self.with_line(Priority::High, |line| line.wait(ticket, registration)));
        }
        let Some(ticket) = ticket else { return Ok(WakerSet::None) };
        // CORRECTNESS: the room is only seen, not taken, so the next sender may see it too.
        Ok(match self.with_line(Priority::High, |line| line.leave(ticket)) {
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
        WakerSet::Many(self.with_lines(Lines::release_all))
    }

    fn with_lines<R>(&mut self, act: impl FnOnce(&mut Lines) -> R) -> R {
        match &self.admission.draw {
            None => act(&mut self.senders),
            Some(draw) => draw.lines.with(act),
        }
    }

    fn with_line<R>(&mut self, priority: Priority, act: impl FnOnce(&mut WaitLine) -> R) -> R {
        self.with_lines(|lines| act(lines.of(priority)))
    }

    fn line_is_empty(&mut self, priority: Priority) -> bool {
        self.with_line(priority, |line| line.is_empty())
    }

    /// Whether a sender waits in line for room.
    #[inline]
    #[must_use]
    pub fn has_senders(&self) -> bool {
        match &self.admission.draw {
            None => !self.senders.is_empty(),
            Some(draw) => !draw.lines.is_empty(),
        }
    }

    /// Lets the next sender try, if there may be room for it. A turn of the budget that no sender can use is passed on.
    fn wake_sender(&mut self) -> WakerSet {
        match self.next_sender() {
            WakerSet::None => self.pass_turn_if(true),
            next => next,
        }
    }

    fn next_sender(&mut self) -> WakerSet {
        let mut next = WakerSet::None;
        for priority in [Priority::High, Priority::Normal] {
            if self.line_is_empty(priority) || !self.admission.may_try(priority) {
                continue;
            }
            next.add(WakerSet::one(self.with_line(priority, WaitLine::release)));
            if self.admission.draw.is_none() {
                break;
            }
            // CORRECTNESS: the budget has to know what the first of each lane needs, so both try.
        }
        next
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
        wakers.add(WakerSet::one(self.admission.take_turn()));
        if self.has_senders() {
            wakers.add(self.next_sender());
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
