#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod compression;
mod counters;
mod encode;
mod encoding;
mod endpoint;
mod error;
mod exporter;
mod failures;
mod framing;
mod patience;
mod read;
mod receive;
mod refusal;
mod report;
mod runtime;
mod server_text;
mod transport;

pub use self::{
    builder::{ExportBreaker, ExportRetry, ExporterBuilder, NoNews},
    compression::Compression,
    counters::{Counters, RetryCount},
    encode::{BodyTooLarge, Encode, Skipped},
    endpoint::Endpoint,
    error::{ExportError, ExportErrorKind, ExportErrorStatus},
    exporter::{Exporter, ResponseFuture},
    framing::Framing,
    refusal::GrpcError,
    report::Report,
    server_text::ServerText,
    transport::TransportError,
};
