use forebay_core::{Advice, DropReason, Seen, Verdict};
use std::{error::Error, fmt};
use sync_wrapper::SyncWrapper;

/// An item was not admitted, and is handed back.
///
/// The inner service has not seen it. Whether offering it again is sensible depends on the reason: not when it is too
/// large or the queue is closed. The refusal is in the ledger; offering the item again counts as a new offer.
///
/// As a `tower` service a queue fails with a boxed error, which must be `Sync` while its item need not be. A refusal
/// therefore never lends its item: it only [gives it back](Self::into_item). In a boxed error it is found as any
/// other error is, with `error.is::<Rejected<T>>()` and `error.downcast::<Rejected<T>>()`.
///
/// ```
/// use forebay_core::{BoxError, DropReason};
/// use forebay_intake::Rejected;
///
/// let error: BoxError = Rejected::new("ten bytes", DropReason::Full).into();
/// assert!(error.is::<Rejected<&str>>());
/// assert_eq!(error.downcast::<Rejected<&str>>().map(|refused| refused.into_item()).ok(), Some("ten bytes"));
/// ```
#[non_exhaustive]
pub struct Rejected<T> {
    /// Only ever taken out: the wrapper makes a refusal `Sync` for every item that is `Send`. A mutex would do as well, but moves of
    /// it cost a refusal a tenth more: its flag stands between the bytes that are copied at once.
    item: SyncWrapper<T>,
    /// Why it was not admitted.
    pub reason: DropReason,
    verdict: Verdict,
}

// === impl Rejected ===

impl<T> Rejected<T> {
    /// `item` was refused for `reason`.
    #[must_use]
    pub const fn new(item: T, reason: DropReason) -> Self {
        let advice = match reason {
            DropReason::SoftLimit
            | DropReason::Full
            | DropReason::Bytes
            | DropReason::ByteBudget
            | DropReason::FairShare => Advice::Retry,
            _ => Advice::Never,
        };
        Self { item: SyncWrapper::new(item), reason, verdict: Verdict::new(reason, Seen::No, advice) }
    }

    /// The item that was refused.
    #[must_use]
    pub fn into_item(self) -> T {
        self.item.into_inner()
    }

    /// The refusal of what `with` makes of the item.
    #[must_use]
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Rejected<U> {
        let Self { item, reason, verdict } = self;
        let item = with(item.into_inner());
        Rejected { item: SyncWrapper::new(item), reason, verdict }
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            DropReason::SoftLimit => "refused: the queue is above its soft limit",
            DropReason::Full => "refused: the queue is full",
            DropReason::Bytes => "refused: the queue holds as many bytes as it may",
            DropReason::ByteBudget => "refused: the queues that share a byte budget hold as many bytes as they may",
            DropReason::TooLarge => "refused: the item is too large",
            DropReason::FairShare => "refused: the key has its share of the queue",
            DropReason::Shutdown => "refused: the queue is closed",
            DropReason::Disabled => "refused: the queue is switched off",
            _ => return write!(f, "refused: {}", self.reason),
        })
    }
}

impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The item may be large or secret, or may not be `Debug`.
        f.debug_struct("Rejected").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<T> Error for Rejected<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

/// Declares errors that say what became of an item that was admitted.
macro_rules! errors {
    ($($(#[$doc:meta])* $error:ident: $words:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $error {
            verdict: Verdict,
        }

        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($words)
            }
        }

        impl Error for $error {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.verdict)
            }
        }
    )*};
    ($($error:ident => $reason:ident, $seen:ident, $advice:ident);* $(;)?) => {$(
        impl $error {
            /// The one value.
            #[must_use]
            pub const fn new() -> Self {
                Self { verdict: Verdict::new(DropReason::$reason, Seen::$seen, Advice::$advice) }
            }
        }

        impl Default for $error {
            fn default() -> Self {
                Self::new()
            }
        }
    )*};
}

errors! {
    /// The queue ended while the item was in it, or while the inner service worked on it.
    ///
    /// In the second case the server may have seen it, and the [`Verdict`] says so.
    Abandoned: "the queue ended before the item was done",
    /// The inner service panicked while it worked on the item.
    ///
    /// The server may have seen it. The panic hook reports the panic as usual; the queue goes on.
    Panicked: "the inner service panicked",
    /// The item was older than the age limit, or its deadline had passed, when its turn came; the inner service has not seen it.
    Expired: "the item outlived its age limit or its deadline in the queue",
    /// A newer item took the place of this one; the inner service has not seen it.
    Evicted: "a newer item took the place of this one",
    /// The queue was overloaded, and the item waited in it for too long; the inner service has not seen it.
    ///
    /// See [`Overflow::ShedByDelay`](crate::Overflow::ShedByDelay).
    Shed: "the queue was overloaded, and the item waited for too long",
}

errors! {
    Panicked => Panicked, Maybe, Never;
    Expired => Expired, No, Never;
    Evicted => Evicted, No, Retry;
    Shed => Shed, No, Retry;
}

impl Abandoned {
    /// The queue ended; `seen` says whether the inner service had got the item.
    #[must_use]
    pub const fn new(seen: Seen) -> Self {
        Self { verdict: Verdict::new(DropReason::Shutdown, seen, Advice::Never) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::BoxError;
    use forebay_testkit::laws;

    #[test]
    fn a_boxed_refusal_is_found_by_its_type_and_gives_its_item_back() {
        type Item = std::cell::Cell<i32>;
        // `Cell` is `Send` and not `Sync`, as many request bodies are.
        let error: BoxError = Rejected::new(Item::new(7), DropReason::Full).into();
        assert_eq!(Verdict::of(&*error).unwrap().reason(), DropReason::Full);
        assert!(error.is::<Rejected<Item>>());
        assert!(!error.is::<Rejected<String>>());
        assert!(error.downcast_ref::<Rejected<Item>>().is_some());
        let error = error.downcast::<Rejected<String>>().unwrap_err();
        assert_eq!(error.downcast::<Rejected<Item>>().unwrap().into_item().get(), 7);
    }

    #[test]
    fn every_refusal_says_three_things_once() {
        for reason in DropReason::ALL {
            let error = Rejected::new((), reason);
            laws::error_chain_has_one_link_per_sentence(&error);
            assert_eq!(Verdict::of(&error).unwrap().seen(), Seen::No);
        }
        laws::error_chain_has_one_link_per_sentence(&Abandoned::new(Seen::Maybe));
        laws::error_chain_has_one_link_per_sentence(&Panicked::new());
        laws::error_chain_has_one_link_per_sentence(&Expired::new());
        laws::error_chain_has_one_link_per_sentence(&Evicted::new());
        laws::error_chain_has_one_link_per_sentence(&Shed::new());
    }
}
