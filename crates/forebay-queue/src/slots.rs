use crate::runs::Runs;
use forebay_intake::Epoch;

/// The weights and epochs of the entries of a lane, in step with it. They stand apart from the entries, since most equal the one
/// before, and such a run takes no memory of its own.
#[derive(Debug)]
pub(crate) struct SlotRuns {
    /// The weights. Each fits, since limits keep one item below 4 GiB.
    bytes: Runs,
    /// The epochs that the items were admitted in.
    epochs: Runs,
}

// === impl SlotRuns ===

impl SlotRuns {
    pub(crate) const fn new() -> Self {
        Self { bytes: Runs::new(), epochs: Runs::new() }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "admitted, so below 4 GiB")]
    pub(crate) fn push(&mut self, bytes: usize, epoch: Epoch) {
        self.bytes.push(bytes as u32);
        self.epochs.push(epoch.number());
    }

    /// The weight and epoch of the oldest entry; there has to be one.
    #[inline]
    pub(crate) fn pop(&mut self) -> (usize, Epoch) {
        let (Some(bytes), Some(epoch)) = (self.bytes.pop(), self.epochs.pop()) else {
            debug_assert!(false, "every entry has a weight and an epoch");
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
