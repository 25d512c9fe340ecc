use crate::{Counters, ExportError};
use forebay_core::Totals;

/// The fate of everything that was handed to an exporter.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report<T> {
    /// The ledger; its equation holds.
    pub totals: Totals,
    /// Requests, retries, and how often the circuit opened.
    pub counters: Counters,
    /// The items that were not sent, or whose request was abandoned, as far as they could be recovered. They count as dropped
    /// by shutdown, and belong to the caller again.
    pub unsent: Vec<T>,
    /// The last export that failed: the reason why nothing, or not everything, arrives.
    pub last_error: Option<ExportError>,
}
