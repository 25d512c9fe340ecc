#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod addresses;
mod attempt;
mod authorize;
mod builder;
mod compression;
mod control;
mod counters;
mod credential;
mod encode;
mod encoding;
mod endpoint;
mod endpoints;
mod error;
mod error_response;
mod exporter;
mod framing;
mod grpc_error;
mod guard;
mod handle;
mod knobs;
mod meters;
mod park_backoff;
mod preset;
mod read_body;
mod read_response;
mod replay;
mod report;
mod reporting_worker;
mod response_classifier;
mod runtime;
mod sampled;
mod secrets;
mod server_text;
mod spool;
mod spool_worker;
mod spread;
mod stack;
mod telemetry;
mod trace;
mod transport;

pub use self::{
    builder::ExporterBuilder,
    compression::Compression,
    counters::Counters,
    credential::{Credential, NoCredential},
    encode::{BodyTooLarge, Encode, Skipped},
    endpoint::Endpoint,
    endpoints::{
        Addresses, Balance, Destination, DnsEndpoints, EndpointFailed, EndpointStatus, Endpoints, EndpointsAway,
        EndpointsBusy, Failover, HostPort, SystemLookup,
    },
    error::{ExportError, ExportErrorKind, ExportErrorStatus},
    exporter::{EmitOrWait, Exporter, ResponseFuture},
    framing::Framing,
    grpc_error::GrpcError,
    guard::{AddressRefused, EndpointGuard, GuardedResolver, Resolving},
    handle::ExporterHandle,
    knobs::{ExportBreaker, ExportRetry},
    preset::Preset,
    report::Report,
    server_text::ServerText,
    spool::{ExportSpool, Origin, ReplayFate, Replayed, Replayer, SpoolTask},
    transport::TransportError,
};
// What the builder and the handle take, and what the errors are, so that this crate is one line in a `Cargo.toml`.
pub use forebay_batch::{Adaptive, AdaptiveBuilder, BatchHandle, Batching, Items, MaxInFlight};
pub use forebay_breaker::{BreakerBuilder, BreakerEvent, BreakerHandle, CircuitOpen, Mode, OpenFor, Ramp, State, Trip};
#[cfg(all(feature = "reqwest", not(target_family = "wasm")))]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub use forebay_core::http::Reqwest;
pub use forebay_core::{
    BoxError, ByFootprint, ConfigError, DropReason, Fate, Footprint, Observe, Priority, Seen, Settlement, Totals,
    Verdict, Weigh,
    http::{Classifier, StatusError},
};
#[doc(inline)]
pub use forebay_intake::{AllNormal, ByteBudget, DrainReport, Flush, Limits, Offer, Overflow, PriorityOf, Rejected};
pub use forebay_retry::{
    AnotherServer, Backoff, Budget, Jitter, RetriesExhausted, RetryBuilder, RetryEvent, Throttle, Throttled, grpc,
};
