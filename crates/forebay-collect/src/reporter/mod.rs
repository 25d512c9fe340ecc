//! Gathers on a timer, and hands the report on.

mod builder;
mod handle;
mod worker;

pub use self::{
    builder::ReporterBuilder,
    handle::{Reporter, ReporterCounts},
    worker::ReporterWorker,
};

/// What became of one report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportEnd {
    /// The service took it.
    Exported,
    /// The service had nowhere to send it, and said so: no failure, and counted.
    Skipped,
    /// There was nothing to report, so the service was not called.
    Empty,
    /// The service failed, panicked or took too long.
    Failed,
}

/// What a service says about a report: `()` if it took it, or its own [`ReportEnd`].
pub trait ReportAnswer {
    /// What became of the report.
    fn end(self) -> ReportEnd;
}

// === impl ReportAnswer ===

impl ReportAnswer for () {
    fn end(self) -> ReportEnd {
        ReportEnd::Exported
    }
}

impl ReportAnswer for ReportEnd {
    fn end(self) -> ReportEnd {
        self
    }
}
