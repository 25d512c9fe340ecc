//! Gathers series on a timer, and passes each report to a service.

mod builder;
mod handle;
mod worker;

pub use self::{
    builder::ReporterBuilder,
    handle::{Reporter, ReporterCounts},
    worker::ReporterWorker,
};

/// The result of one report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportEnd {
    /// The service accepted it.
    Exported,
    /// The service had no destination for it. This is no failure, and is counted.
    Skipped,
    /// The report had no series, so the service was not called.
    Empty,
    /// The service failed, panicked or took too long.
    Failed,
}

/// The response of a service to a report: `()` if it accepted the report, or its own [`ReportEnd`].
pub trait IntoReportEnd {
    /// The result of the report.
    fn into_report_end(self) -> ReportEnd;
}

// === impl IntoReportEnd ===

impl IntoReportEnd for () {
    fn into_report_end(self) -> ReportEnd {
        ReportEnd::Exported
    }
}

impl IntoReportEnd for ReportEnd {
    fn into_report_end(self) -> ReportEnd {
        self
    }
}
