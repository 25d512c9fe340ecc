use forebay_core::ConfigError;

/// How many items and bytes a queue may hold, queued and in flight together.
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`items`](Self::items) | 65,536 | 1 and more |
/// | [`bytes`](Self::bytes) | 64 MiB | 1 to 2^53 |
/// | [`item_bytes`](Self::item_bytes) | as `bytes` | 1 to `bytes`, and below 4 GiB |
/// | [`soft_limit`](Self::soft_limit) | 0.9 | a share from 0.0 to 1.0 |
/// | [`fair_share`](Self::fair_share) | 1.0 | a share above 0.0, to 1.0 |
///
/// No memory is allocated ahead, so a large limit costs memory only when it is used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    items: usize,
    bytes: usize,
    /// `None` stands for `bytes`.
    item_bytes: Option<usize>,
    soft_limit: f64,
    fair_share: f64,
}

/// [`Limits`] as the numbers that an admission compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) items: u64,
    pub(crate) bytes: usize,
    pub(crate) item_bytes: usize,
    pub(crate) soft_items: u64,
    pub(crate) soft_bytes: usize,
    pub(crate) share_items: u64,
}

/// Up to here a share of a number is exact in `f64`.
pub(crate) const MOST_BYTES: u64 = 1 << 53;

// === impl Limits ===

impl Limits {
    /// The defaults of the table above.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: 65_536, bytes: 64 << 20, item_bytes: None, soft_limit: 0.9, fair_share: 1.0 }
    }

    /// The most items, queued and in flight. Default: 65,536.
    #[must_use]
    pub const fn items(mut self, items: usize) -> Self {
        self.items = items;
        self
    }

    /// The most bytes, queued and in flight, as `Weigh` counts them. Default: 64 MiB.
    ///
    /// By default an item weighs its [`Footprint`](forebay_core::Footprint), so this is a limit of memory: the items that wait
    /// hold at most a quarter more. Beyond it are the bodies of the batches in flight, and, while a shutdown hands the items
    /// back, their own size without the heap once more. The list in which the items of a queue wait (not those of a batch)
    /// grows by doubling, and may take three times their own size without the heap.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// The most bytes of one item; a heavier one is refused as too large, whatever room there is. Default: as `bytes`.
    #[must_use]
    pub const fn item_bytes(mut self, bytes: usize) -> Self {
        self.item_bytes = Some(bytes);
        self
    }

    /// The share of `items` and of `bytes` above which only high priority is admitted. Default: 0.9. 1.0 switches the limit off.
    #[must_use]
    pub const fn soft_limit(mut self, share: f64) -> Self {
        self.soft_limit = share;
        self
    }

    /// The share of `items` that one key may hold with normal priority. Default: 1.0, which switches the limit off.
    #[must_use]
    pub const fn fair_share(mut self, share: f64) -> Self {
        self.fair_share = share;
        self
    }

    /// Checks every knob.
    ///
    /// # Errors
    ///
    /// The first knob whose value is outside of the table above.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.bounds().map(drop)
    }

    pub(crate) fn bounds(&self) -> Result<Bounds, ConfigError> {
        /// A weight fits into the 32 bits that an entry stores.
        const MOST_ITEM_BYTES: usize = u32::MAX as usize;

        let Self { items, bytes, item_bytes, soft_limit, fair_share } = *self;
        if items == 0 {
            return Err(ConfigError::new("items", items, "1 and more"));
        }
        if bytes == 0 || bytes as u64 > MOST_BYTES {
            return Err(ConfigError::new("bytes", bytes, "1 to 2^53"));
        }
        if let Some(item_bytes) = item_bytes
            && (item_bytes == 0 || item_bytes > bytes || item_bytes > MOST_ITEM_BYTES)
        {
            let allowed = format!("1 to {}", bytes.min(MOST_ITEM_BYTES));
            return Err(ConfigError::new("item_bytes", item_bytes, allowed));
        }
        if !(0.0..=1.0).contains(&soft_limit) {
            return Err(ConfigError::new("soft_limit", soft_limit, "a share from 0.0 to 1.0"));
        }
        if !(fair_share > 0.0 && fair_share <= 1.0) {
            return Err(ConfigError::new("fair_share", fair_share, "a share above 0.0, to 1.0"));
        }
        Ok(Bounds {
            items: items as u64,
            bytes,
            item_bytes: item_bytes.unwrap_or(bytes).min(MOST_ITEM_BYTES),
            soft_items: share_of(items as u64, soft_limit),
            // A share is no more than the whole.
            soft_bytes: usize::try_from(share_of(bytes as u64, soft_limit)).unwrap_or(bytes),
            // A key may always hold one item.
            share_items: share_of(items as u64, fair_share).max(1),
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share from 0.0 to 1.0 of a number below 2^53 is between zero and that number"
)]
pub(crate) fn share_of(whole: u64, share: f64) -> u64 {
    (whole as f64 * share).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q12_zero_is_refused_by_name_and_huge_is_allowed() {
        // A zero falls back to a default elsewhere; here it fails, with the knob's name, before anything is built.
        let knob = |limits: Limits| limits.validate().unwrap_err().knob();
        assert_eq!(knob(Limits::new().items(0)), "items");
        assert_eq!(knob(Limits::new().bytes(0)), "bytes");
        assert_eq!(knob(Limits::new().item_bytes(0)), "item_bytes");
        assert_eq!(knob(Limits::new().bytes(10).item_bytes(11)), "item_bytes");
        assert_eq!(knob(Limits::new().soft_limit(f64::NAN)), "soft_limit");
        assert_eq!(knob(Limits::new().soft_limit(-0.1)), "soft_limit");
        assert_eq!(knob(Limits::new().fair_share(0.0)), "fair_share");
        assert_eq!(knob(Limits::new().bytes(usize::MAX)), "bytes");
        assert!(Limits::new().items(usize::MAX).bytes(1 << 53).validate().is_ok());
    }

    #[test]
    fn shares_are_of_items_and_of_bytes() {
        let bounds = Limits::new().items(1000).bytes(5000).soft_limit(0.9).fair_share(0.3).bounds().unwrap();
        assert_eq!((bounds.soft_items, bounds.soft_bytes, bounds.share_items), (900, 4500, 300));
        let tiny = Limits::new().items(1).fair_share(0.1).bounds().unwrap();
        assert_eq!(tiny.share_items, 1);
    }
}
