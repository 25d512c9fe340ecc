use crate::{Rejected, call::CallQueue};
use forebay_core::{BoxError, ConfigError, Deadline, DeadlineOf, panic};
use forebay_intake::{DeadlineRule, Intake, IntakeOwner};
use std::{sync::Arc, time::Duration};

/// A request of a shared queue, with a clone of the service that it was called on.
pub(crate) struct Routed<T, S> {
    pub(crate) request: T,
    pub(crate) service: S,
}

/// What a handle controls: a shared queue whose items are plain requests to its user.
pub(crate) struct RoutedControl<T, S, Res>(pub(crate) Arc<CallQueue<Routed<T, S>, Res>>);

/// The deadline of a routed request is that of the request.
struct ByRequest<T>(DeadlineRule<T>);

/// The rule for requests that are stored with their services.
pub(crate) fn for_routed<T: 'static, S>(rule: DeadlineRule<T>) -> DeadlineRule<Routed<T, S>> {
    DeadlineRule::new(ByRequest(rule))
}

// === impl ByRequest ===

impl<T, S> DeadlineOf<Routed<T, S>> for ByRequest<T> {
    fn deadline_of(&self, routed: &Routed<T, S>) -> Option<Deadline> {
        self.0.ask(&routed.request)
    }
}

// === impl Routed ===

impl<T, S> Routed<T, S> {
    pub(crate) fn into_request(self) -> T {
        panic::discard(self.service);
        self.request
    }

    /// The error of a caller whose request was refused.
    pub(crate) fn rejected(rejected: Rejected<Self>) -> BoxError
    where
        T: Send + 'static,
    {
        rejected.map(Self::into_request).into()
    }
}

// === impl RoutedControl ===

impl<T, S, Res> IntakeOwner for RoutedControl<T, S, Res> {
    type Item = T;

    fn with_intake<R>(&self, act: impl FnOnce(&mut Intake) -> R) -> R {
        self.0.with_intake(act)
    }

    fn queued(&self) -> usize {
        IntakeOwner::queued(&*self.0)
    }

    fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        IntakeOwner::set_max_age(&*self.0, age)
    }

    fn close(&self) {
        IntakeOwner::close(&*self.0);
    }

    fn abandon(&self) -> Vec<T> {
        IntakeOwner::abandon(&*self.0).into_iter().map(Routed::into_request).collect()
    }

    fn recovered(&self) -> Vec<T> {
        IntakeOwner::recovered(&*self.0).into_iter().map(Routed::into_request).collect()
    }
}
