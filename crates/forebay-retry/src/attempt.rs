use std::fmt;

/// Which attempt of a request this is: 1 is the first.
///
/// A [`Policy`](crate::Policy) can put it on the request. The one for HTTP (feature `http`) puts it into the extensions
/// of every attempt after the first; `Attempt::of` reads it. A first attempt carries none, because an extension
/// would cost each call an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt(u32);

// === impl Attempt ===

impl Attempt {
    /// The first attempt.
    pub const FIRST: Self = Self(1);

    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number of the attempt, counted from 1.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// How many attempts came before.
    #[must_use]
    pub const fn previous(self) -> u32 {
        self.0 - 1
    }

    /// Which attempt a request with these extensions is.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    #[must_use]
    pub fn of(extensions: &http::Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::FIRST)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
