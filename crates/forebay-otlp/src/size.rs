use std::sync::atomic::{AtomicUsize, Ordering};

/// The size of the last body, to reserve room for the next one.
///
/// It is only a hint: batches that are encoded at the same time may mix the two numbers.
#[derive(Debug, Default)]
pub(crate) struct SizeHint {
    items: AtomicUsize,
    bytes: AtomicUsize,
}

// === impl SizeHint ===

impl SizeHint {
    /// The length of a small record, for the first batch.
    const FIRST_ITEM: usize = 128;

    /// The expected length of the body of `items` items.
    ///
    /// It is at most an eighth longer than the last one: one batch of very large items must not reserve memory for thousands.
    pub(crate) fn expected(&self, items: usize) -> usize {
        let (last, bytes) = (self.items.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        if last == 0 {
            return items.saturating_mul(Self::FIRST_ITEM);
        }
        let scaled = if items < last { bytes / last * items } else { bytes };
        scaled.saturating_add(scaled / 8)
    }

    /// Records that a body of `items` items took this many bytes.
    pub(crate) fn record(&self, items: usize, bytes: usize) {
        // Relaxed, and in two stores: a mixed pair is only a worse hint.
        self.items.store(items, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expectation_follows_the_last_body_and_never_leaps_above_it() {
        let hint = SizeHint::default();
        assert_eq!(hint.expected(10), 1_280);
        hint.record(100, 80_000);
        assert_eq!(hint.expected(100), 90_000);
        assert_eq!(hint.expected(10), 9_000);
        assert_eq!(hint.expected(1_000_000), 90_000);
        hint.record(0, 12);
        assert_eq!(hint.expected(10), 1_280, "an empty batch says nothing");
    }
}
