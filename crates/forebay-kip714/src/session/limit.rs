//! How large a payload may be, as refusals teach it.

/// A limit below the one that a broker states, learned from `TELEMETRY_TOO_LARGE`.
///
/// A refusal halves what was sent. Pushes that are taken afterwards probe upward, so a refusal that had a passing cause is
/// forgotten, and one series that was refused never leads to empty payloads for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LearnedLimit {
    /// The limit in bytes; `None` as long as nothing was refused, and when it has grown beyond the stated one.
    bytes: Option<usize>,
    /// Pushes that were taken under this limit.
    taken: u32,
}

/// After so many pushes that were taken, a larger one is tried: a cause that stays costs one push in five.
const PROBE_AFTER: u32 = 4;

/// The least by which the limit grows: from nothing at all, a small series fits after one step.
const LEAST_STEP: usize = 256;

// === impl LearnedLimit ===

impl LearnedLimit {
    /// The limit in bytes, if there is one.
    pub(super) fn bytes(self) -> Option<usize> {
        self.bytes
    }

    /// A payload of this length was refused for its length.
    pub(super) fn refuse(&mut self, sent: usize) {
        *self = Self { bytes: Some(sent / 2), taken: 0 };
    }

    /// A push was taken; `stated` is the limit that the broker states.
    pub(super) fn take(&mut self, stated: Option<usize>) {
        let Some(bytes) = self.bytes else { return };
        self.taken += 1;
        if self.taken < PROBE_AFTER {
            return;
        }
        let larger = bytes.saturating_add((bytes / 4).max(LEAST_STEP));
        let forgotten = larger == usize::MAX || stated.is_some_and(|stated| larger >= stated);
        *self = Self { bytes: (!forgotten).then_some(larger), taken: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A broker that takes payloads up to a size of its own: whatever is to be sent, the client comes back to what fits, and
        /// refusals stay rare.
        #[test]
        fn k06_a_limit_recovers_from_any_refusal(real in 512..100_000_usize, wanted in 1..200_000_usize, first in 0..100_000_usize) {
            let mut limit = LearnedLimit::default();
            // A refusal for a passing cause.
            limit.refuse(first);
            let (mut largest, mut refused) = (0, 0);
            for _ in 0..1_000 {
                let sent = wanted.min(limit.bytes().unwrap_or(usize::MAX));
                if sent <= real {
                    largest = largest.max(sent);
                    limit.take(None);
                } else {
                    refused += 1;
                    limit.refuse(sent);
                }
            }
            prop_assert!(largest * 2 >= real.min(wanted).saturating_sub(LEAST_STEP), "{} of {}", largest, real.min(wanted));
            prop_assert!(refused <= 250, "{refused} of 1,000");
        }
    }

    #[test]
    fn k06_the_stated_limit_ends_the_learned_one() {
        let mut limit = LearnedLimit::default();
        limit.refuse(1_000);
        for _ in 0..PROBE_AFTER - 1 {
            limit.take(Some(700));
        }
        assert_eq!(limit.bytes(), Some(500), "not after the first");
        limit.take(Some(700));
        assert_eq!(limit.bytes(), None);
    }
}
