use std::time::{Duration, Instant};

/// When a request is worth nothing any more.
///
/// For HTTP (feature `http`) it is an extension of the request that any layer may set and read; [`of`](Self::of) reads it. For
/// other requests the layer's own configuration says where it is.
///
/// An attempt that is under way is not cut off by it: a timeout inside a retry limits one attempt, a timeout outside limits
/// all. A deadline says that work which could only begin later is not begun.
///
/// It keeps a plain instant. What reads the clock, [`after`](Self::after) and [`remaining`](Self::remaining), needs the feature
/// `clock` and reads tokio's, which tests may pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// Where a request keeps its [`Deadline`].
///
/// Any `Fn(&Req) -> Option<Deadline>` is a `DeadlineOf<Req>`; for HTTP there is `http::ByExtension` (feature `http`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not give the deadline of a `{Req}`",
    note = "pass a function `Fn(&{Req}) -> Option<Deadline>`"
)]
pub trait DeadlineOf<Req: ?Sized> {
    /// The deadline of `request`, if it has one. It must not block and should not panic.
    fn deadline_of(&self, request: &Req) -> Option<Deadline>;
}

// === impl Deadline ===

impl Deadline {
    /// The deadline is `instant`, of the standard library or of tokio.
    #[must_use]
    pub fn at(instant: impl Into<Instant>) -> Self {
        Self(instant.into())
    }

    /// The deadline is `time` from now; what is further away than 30 years is 30 years away.
    #[cfg(feature = "clock")]
    #[cfg_attr(docsrs, doc(cfg(feature = "clock")))]
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(crate::time::saturating_add(crate::support::clock::now(), time))
    }

    /// The instant itself.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// How much time is left; zero when it has passed.
    #[cfg(feature = "clock")]
    #[cfg_attr(docsrs, doc(cfg(feature = "clock")))]
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.remaining_at(crate::support::clock::now())
    }

    /// How much time is left at `now`; zero when it has passed.
    #[must_use]
    pub fn remaining_at(self, now: impl Into<Instant>) -> Duration {
        self.0.saturating_duration_since(now.into())
    }

    /// The deadline of a request with these extensions.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    #[must_use]
    pub fn of(extensions: &http::Extensions) -> Option<Self> {
        extensions.get().copied()
    }
}

// === impl DeadlineOf ===

impl<Req: ?Sized, F: Fn(&Req) -> Option<Deadline>> DeadlineOf<Req> for F {
    #[inline]
    fn deadline_of(&self, request: &Req) -> Option<Deadline> {
        self(request)
    }
}

#[cfg(all(test, feature = "clock"))]
mod tests {
    use super::*;
    use crate::time::FAR;
    use tokio::time::{Instant, advance};

    #[tokio::test(start_paused = true)]
    async fn f02_a_deadline_is_measured_by_the_clock_that_tests_pause() {
        let start = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(5));
        assert_eq!(deadline, Deadline::at(start + Duration::from_secs(5)));
        advance(Duration::from_secs(2)).await;
        assert_eq!(deadline.remaining(), Duration::from_secs(3));
        assert_eq!(deadline.remaining_at(start), Duration::from_secs(5));
        advance(Duration::from_secs(4)).await;
        assert_eq!(deadline.remaining(), Duration::ZERO);
        assert_eq!(Deadline::after(Duration::MAX).remaining(), FAR);
    }

    #[cfg(feature = "http")]
    #[test]
    fn a_deadline_is_an_extension_of_a_request() {
        let mut extensions = http::Extensions::new();
        assert_eq!(Deadline::of(&extensions), None);
        let deadline = Deadline::at(crate::support::clock::now());
        extensions.insert(deadline);
        assert_eq!(Deadline::of(&extensions), Some(deadline));
        let mut request = http::Request::new(());
        *request.extensions_mut() = extensions;
        assert_eq!(crate::http::ByExtension.deadline_of(&request), Some(deadline));
    }
}
