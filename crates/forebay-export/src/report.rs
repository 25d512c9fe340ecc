use crate::{Counters, ExportError};
use forebay_core::Totals;

/// What became of everything that an exporter was given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report<T> {
    /// The ledger; its equation holds.
    pub totals: Totals,
    /// Requests, retries, and how often the circuit opened.
    pub counters: Counters,
    /// The items that were not sent, or whose sending was let go, as far as they could be recovered. They count as dropped
    /// by shutdown, and are the caller's again.
    pub unsent: Vec<T>,
    /// The last export that failed: why nothing, or not everything, arrives.
    pub last_error: Option<ExportError>,
}
