#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod addresses;
mod authorize;
mod builder;
mod compression;
mod control;
mod counters;
mod credential;
mod encode;
mod encoding;
mod endpoint;
mod error;
mod exporter;
mod framing;
mod guard;
mod handle;
mod journal;
mod meters;
mod patience;
mod preset;
mod read;
mod receive;
mod refusal;
mod report;
mod runtime;
mod secrets;
mod server_text;
mod trace;
mod transport;
mod watched;

#[doc(inline)]
pub use forebay_intake::{AllNormal, Limits, Offer, Overflow, PriorityOf, Rejected};

pub use self::{
    builder::{ExportBreaker, ExportRetry, ExporterBuilder, NoNews},
    compression::Compression,
    counters::{Counters, RetryCount},
    credential::{Credential, NoCredential},
    encode::{BodyTooLarge, Encode, Skipped},
    endpoint::Endpoint,
    error::{ExportError, ExportErrorKind, ExportErrorStatus},
    exporter::{EmitOrWait, Exporter, ResponseFuture},
    framing::Framing,
    guard::{AddressRefused, EndpointGuard, GuardedResolver, Resolving},
    handle::ExporterHandle,
    preset::Preset,
    refusal::GrpcError,
    report::Report,
    server_text::ServerText,
    transport::TransportError,
};
