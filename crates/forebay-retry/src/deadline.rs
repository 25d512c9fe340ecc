use forebay_core::time::saturating_add;
use std::time::Duration;
use tokio::time::Instant;

/// When a request is worth nothing any more.
///
/// No wait of the retry layer goes past it: where a retry could only begin later, the attempts end at once. An attempt that
/// is under way is not cut off: a timeout inside limits one attempt, a timeout outside limits all.
///
/// For HTTP (feature `http`) it is an extension of the request that any layer may set and read. For other requests a
/// [`Policy`](crate::Policy) says where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deadline(Instant);

// === impl Deadline ===

impl Deadline {
    /// The deadline is `instant`.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The deadline is `time` from now; what is further away than 30 years is 30 years away.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(Instant::from_std(saturating_add(Instant::now().into_std(), time)))
    }

    /// The instant itself.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// How much time is left; zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The deadline of a request with these extensions.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    #[must_use]
    pub fn of(extensions: &http::Extensions) -> Option<Self> {
        extensions.get().copied()
    }
}
