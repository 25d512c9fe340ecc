use crate::{Intake, Limits, Registration, admission::Epoch, wait::Ticket};
use forebay_core::{ConfigError, Fate, Priority, Totals};
use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

/// What an [`IntakeHandle`](crate::IntakeHandle) does with a container of items, whatever stands under its lock.
///
/// Every [`IntakeOwner`] is one.
pub trait Control<T>: Send + Sync {
    /// What became of every item so far.
    fn totals(&self) -> Totals;
    /// Items that wait, without those in flight.
    fn queued(&self) -> usize;
    /// Bytes held, in flight included.
    fn bytes(&self) -> usize;
    /// The larger of the shares of items and of bytes.
    fn fullness(&self) -> f64;
    /// The most items that may be held, in flight included.
    fn max_items(&self) -> u64;
    /// The most bytes that may be held, in flight included.
    fn max_bytes(&self) -> usize;
    /// Changes the limits, or nothing.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range.
    fn set_limits(&self, limits: &Limits) -> Result<(), ConfigError>;
    /// Changes the age limit, or nothing.
    ///
    /// # Errors
    ///
    /// When there is none to change.
    fn set_max_age(&self, age: Duration) -> Result<(), ConfigError>;
    /// From now on no item is admitted.
    fn close(&self);
    /// From now on no item is processed: the items that were queued, whose callers have their error.
    fn abandon(&self) -> Vec<T>;
    /// Items that were let go after [`abandon`](Self::abandon), where they could be recovered.
    fn recovered(&self) -> Vec<T>;
    /// Ends the epoch, and with it sends what only waits for more items.
    fn flush(&self) -> Epoch;
    /// Whether all up to `epoch` is settled; waits with `waker` if not.
    fn is_flushed(&self, epoch: Epoch, ticket: &mut Option<Ticket>, waker: &Waker) -> bool;
    /// A flush is dropped before it is over.
    fn stop_flushing(&self, ticket: Ticket);
    /// Items that were spooled have met their final fate: how many of so many are counted as spooled.
    fn settle_spooled(&self, fate: Fate, items: u64) -> u64;
}

/// The owner of an [`Intake`], which it keeps under a lock beside the items.
///
/// Only what the owner stores and how its items leave is its own; everything that the intake knows is read from there.
pub trait IntakeOwner {
    /// What the owner keeps.
    type Item;
    /// Runs `act` on the intake, under the lock of the owner. It runs no user code.
    fn with_intake<R>(&self, act: impl FnOnce(&mut Intake) -> R) -> R;
    /// As [`Control::queued`].
    fn queued(&self) -> usize;
    /// As [`Control::set_max_age`].
    ///
    /// # Errors
    ///
    /// When there is none to change.
    fn set_max_age(&self, age: Duration) -> Result<(), ConfigError>;
    /// As [`Control::close`].
    fn close(&self);
    /// As [`Control::abandon`].
    fn abandon(&self) -> Vec<Self::Item>;
    /// As [`Control::recovered`].
    fn recovered(&self) -> Vec<Self::Item>;
    /// As [`Control::flush`]; an owner that lets items wait for more of them sends these here.
    fn flush(&self) -> Epoch {
        self.with_intake(|intake| intake.admission.end_epoch())
    }

    /// As [`Control::totals`].
    fn totals(&self) -> Totals {
        self.with_intake(|intake| intake.admission.totals())
    }

    /// Ready when no sender has to wait for room; waits in line with `ticket` if not. A `Service` whose `call` takes the room is
    /// ready then.
    fn poll_room(&self, cx: &Context<'_>, ticket: &mut Option<Ticket>) -> Poll<()> {
        if ticket.is_none() && self.with_intake(|intake| intake.has_room_or_ended()) {
            return Poll::Ready(());
        }
        // CORRECTNESS: the waker is cloned before the lock is taken, and others are woken after it is released.
        let mut registration = Registration::new(cx.waker());
        match self.with_intake(|intake| intake.wait_for_room(ticket.take(), &mut registration)) {
            Ok(wakers) => {
                wakers.wake();
                Poll::Ready(())
            }
            Err(place) => {
                *ticket = Some(place);
                Poll::Pending
            }
        }
    }

    /// A sender that waits in the line of `priority` is dropped, and passes its turn on.
    fn stop_waiting(&self, ticket: Ticket, priority: Priority) {
        let wakers = self.with_intake(|intake| intake.stop_waiting(ticket, priority));
        wakers.wake();
    }
}

impl<O: IntakeOwner + Send + Sync> Control<O::Item> for O {
    fn totals(&self) -> Totals {
        IntakeOwner::totals(self)
    }

    fn queued(&self) -> usize {
        IntakeOwner::queued(self)
    }

    fn bytes(&self) -> usize {
        self.with_intake(|intake| intake.admission.bytes())
    }

    fn fullness(&self) -> f64 {
        self.with_intake(|intake| intake.admission.fullness())
    }

    fn max_items(&self) -> u64 {
        self.with_intake(|intake| intake.admission.max_items())
    }

    fn max_bytes(&self) -> usize {
        self.with_intake(|intake| intake.admission.max_bytes())
    }

    fn set_limits(&self, limits: &Limits) -> Result<(), ConfigError> {
        let wakers = self.with_intake(|intake| {
            intake.admission.set_limits(limits)?;
            Ok(intake.wake_senders())
        })?;
        wakers.wake();
        Ok(())
    }

    fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        IntakeOwner::set_max_age(self, age)
    }

    fn close(&self) {
        IntakeOwner::close(self);
    }

    fn abandon(&self) -> Vec<O::Item> {
        IntakeOwner::abandon(self)
    }

    fn recovered(&self) -> Vec<O::Item> {
        IntakeOwner::recovered(self)
    }

    fn flush(&self) -> Epoch {
        IntakeOwner::flush(self)
    }

    fn is_flushed(&self, epoch: Epoch, ticket: &mut Option<Ticket>, waker: &Waker) -> bool {
        let mut registration = Registration::new(waker);
        self.with_intake(|intake| intake.flushed_or_wait(epoch, ticket, &mut registration))
    }

    fn settle_spooled(&self, fate: Fate, items: u64) -> u64 {
        self.with_intake(|intake| intake.admission.settle_spooled(fate, items))
    }

    fn stop_flushing(&self, ticket: Ticket) {
        let wakers = self.with_intake(|intake| intake.stop_flushing(ticket));
        wakers.wake();
    }
}
