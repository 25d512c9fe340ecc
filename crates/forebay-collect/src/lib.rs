#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod aggregate;
mod cap;
mod clock;
mod filter;
mod remote;
mod reporter;
mod schedule;
mod scope;
mod series;
mod source;
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
mod sources;

#[cfg(feature = "opentelemetry")]
pub use self::sources::OpenTelemetrySource;
#[cfg(feature = "metrics")]
pub use self::sources::{Recorder, RecorderBuilder};
pub use self::{
    aggregate::{
        Aggregator, AggregatorBuilder, CollectEvent, Emission, End, Fold, FoldFn, Folded, Gathered, IntoFate, Place,
        Refused, Ticker,
    },
    cap::{Capped, CardinalityCap},
    filter::{
        Anchoring, BadPattern, Filter, FilterBuilder, FilterLayer, Filtering, FilteringFuture, LiveFilter,
        WhenUndecided,
    },
    remote::{Configured, FetchError, FetchedConfig, RemoteConfig, RemoteConfigBuilder, RemoteStatus, RemoteWorker},
    reporter::{IntoReportEnd, ReportEnd, Reporter, ReporterBuilder, ReporterCounts, ReporterWorker},
    schedule::Schedule,
    series::{
        Deltas, Histogram, LabelValue, Labels, NotMerged, Number, Pending, Precedence, Reported, Series, Temporality,
        Value,
    },
    source::{Gathering, Source},
};
// What the builders take and the errors contain, so that this crate is one line in a `Cargo.toml`.
pub use forebay_core::{
    Advice, BoxError, ConfigError, DropReason, Fate, Footprint, Observe, Priority, Seen, Totals, Verdict,
};
