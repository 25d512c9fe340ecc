use crate::shared::Shared;
use forebay_core::ConfigError;
use forebay_intake::{Intake, IntakeOwner};
use std::time::Duration;

/// What stands beside a queue under its lock, and so decides how items leave that are not processed.
pub(crate) trait Aside<Entry>: Send + Sized {
    /// What an entry carries.
    type Item;

    /// The items of entries that left the queue. Called without the lock.
    fn discard(shared: &Shared<Entry, Self>, entries: Vec<Entry>) -> Vec<Self::Item>;
}

impl<T> Aside<T> for () {
    type Item = T;

    fn discard(_: &Shared<T>, entries: Vec<T>) -> Vec<T> {
        entries
    }
}

impl<Entry: Send, A: Aside<Entry>> IntakeOwner for Shared<Entry, A> {
    type Item = A::Item;

    fn with_intake<R>(&self, act: impl FnOnce(&mut Intake) -> R) -> R {
        act(&mut self.lock().state.intake)
    }

    fn queued(&self) -> usize {
        self.lock().state.queued()
    }

    fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        self.set_max_age(age)
    }

    fn close(&self) {
        self.close();
    }

    fn abandon(&self) -> Vec<A::Item> {
        A::discard(self, self.abandon())
    }

    fn recovered(&self) -> Vec<A::Item> {
        let entries = std::mem::take(&mut self.lock().state.recovered);
        A::discard(self, entries)
    }
}
