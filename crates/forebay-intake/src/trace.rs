//! The events for `tracing`; without the feature there are none.

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::*;
#[cfg(feature = "tracing")]
pub(crate) use self::on::*;

#[cfg(feature = "tracing")]
mod on {
    use forebay_core::{Totals, panic};
    use tracing::debug;

    const TARGET: &str = "forebay_intake";

    /// A drain has ended. Called without the lock, since a subscriber may hand its events to this very intake.
    pub(crate) fn drained(totals: &Totals, unsent: usize) {
        let Totals { offered, delivered, spooled, pending, .. } = *totals;
        let dropped = totals.dropped.total();
        // A subscriber that panics costs its own event alone.
        let _reported =
            panic::catch(|| debug!(target: TARGET, offered, delivered, spooled, dropped, pending, unsent, "drained"));
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use forebay_core::Totals;

    #[inline(always)]
    pub(crate) fn drained(_: &Totals, _: usize) {}
}
