//! The events for `tracing`, each emitted without the lock, since a subscriber may hand it to this very intake.

use forebay_core::{Totals, event};

const TARGET: &str = "forebay_intake";

/// A drain has ended.
pub(crate) fn drained(totals: &Totals, unsent: usize) {
    let Totals { offered, delivered, spooled, pending, .. } = *totals;
    let dropped = totals.dropped.total();
    event!(
        TARGET,
        "drained",
        offered = offered,
        delivered = delivered,
        spooled = spooled,
        dropped = dropped,
        pending = pending,
        unsent = unsent
    );
}
