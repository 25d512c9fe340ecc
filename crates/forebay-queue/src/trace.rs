//! What is told to `tracing`; without the feature nothing is.

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::*;
#[cfg(feature = "tracing")]
pub(crate) use self::on::*;

#[cfg(feature = "tracing")]
mod on {
    use forebay_core::{Totals, panic};
    use tracing::debug;

    const TARGET: &str = "forebay_queue";

    /// A subscriber that panics is not allowed to take the worker along. Called without the lock: a subscriber may hand
    /// its events to this very queue.
    fn quietly(tell: impl FnOnce()) {
        let _reported = panic::catch(tell);
    }

    /// The inner service panicked, and the item in its hands is lost.
    pub(crate) fn panicked() {
        quietly(|| debug!(target: TARGET, "inner service panicked"));
    }

    /// A drain has ended.
    pub(crate) fn drained(totals: &Totals, unsent: usize) {
        let Totals { offered, delivered, spooled, pending, .. } = *totals;
        let dropped = totals.dropped.total();
        quietly(|| debug!(target: TARGET, offered, delivered, spooled, dropped, pending, unsent, "drained"));
    }

    /// A worker was dropped, and so many items with it.
    pub(crate) fn closed(items: usize) {
        quietly(|| debug!(target: TARGET, items, "worker closed with losses"));
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use forebay_core::Totals;

    #[inline(always)]
    pub(crate) fn panicked() {}

    #[inline(always)]
    pub(crate) fn drained(_: &Totals, _: usize) {}

    #[inline(always)]
    pub(crate) fn closed(_: usize) {}
}
