use crate::{admission::Epoch, runs::Runs};

/// What the entries of a lane hold: beside them, as it is mostly the same for many in a row.
#[derive(Debug)]
pub(crate) struct Charges {
    /// Each fits: limits keep one item below 4 GiB.
    bytes: Runs,
    epochs: Runs,
}

// === impl Charges ===

impl Charges {
    pub(crate) const fn new() -> Self {
        Self { bytes: Runs::new(), epochs: Runs::new() }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "admitted, so below 4 GiB")]
    pub(crate) fn push(&mut self, bytes: usize, epoch: Epoch) {
        self.bytes.push(bytes as u32);
        self.epochs.push(epoch.number());
    }

    /// Of the oldest entry, which there is.
    #[inline]
    pub(crate) fn pop(&mut self) -> (usize, Epoch) {
        let (Some(bytes), Some(epoch)) = (self.bytes.pop(), self.epochs.pop()) else {
            debug_assert!(false, "every entry has its charge");
            return (0, Epoch::default());
        };
        (bytes as usize, Epoch::numbered(epoch))
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.epochs.clear();
    }
}
