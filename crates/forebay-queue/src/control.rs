use crate::shared::Shared;
use forebay_core::{ConfigError, Totals};
use forebay_intake::{Control, Epoch, Limits, Registration, Ticket};
use std::{task::Waker, time::Duration};

/// What stands beside a queue under its lock, and so decides how items leave that are not worked off.
pub(crate) trait Aside<Entry, T>: Send + Sized {
    /// The items of entries that left the queue. Called without the lock.
    fn discard(shared: &Shared<Entry, Self>, entries: Vec<Entry>) -> Vec<T>;
}

impl<T> Aside<T, T> for () {
    fn discard(_: &Shared<T>, entries: Vec<T>) -> Vec<T> {
        entries
    }
}

impl<Entry: Send, A: Aside<Entry, T>, T> Control<T> for Shared<Entry, A> {
    fn totals(&self) -> Totals {
        self.totals()
    }

    fn queued(&self) -> usize {
        self.lock().state.queued()
    }

    fn bytes(&self) -> usize {
        self.lock().state.intake.admission.bytes()
    }

    fn fullness(&self) -> f64 {
        self.lock().state.intake.admission.fullness()
    }

    fn max_items(&self) -> u64 {
        self.lock().state.intake.admission.max_items()
    }

    fn max_bytes(&self) -> usize {
        self.lock().state.intake.admission.max_bytes()
    }

    fn set_limits(&self, limits: &Limits) -> Result<(), ConfigError> {
        self.set_limits(limits)
    }

    fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        self.set_max_age(age)
    }

    fn close(&self) {
        self.close();
    }

    fn abandon(&self) -> Vec<T> {
        A::discard(self, self.abandon())
    }

    fn recovered(&self) -> Vec<T> {
        let entries = std::mem::take(&mut self.lock().state.recovered);
        A::discard(self, entries)
    }

    fn flush(&self) -> Epoch {
        self.lock().state.intake.admission.end_epoch()
    }

    fn is_flushed(&self, epoch: Epoch, ticket: &mut Option<Ticket>, waker: &Waker) -> bool {
        let mut registration = Registration::new(waker);
        self.lock().state.intake.flushed_or_wait(epoch, ticket, &mut registration)
    }

    fn stop_flushing(&self, ticket: Ticket) {
        let wakes = self.lock().state.intake.stop_flushing(ticket);
        wakes.wake();
    }
}
