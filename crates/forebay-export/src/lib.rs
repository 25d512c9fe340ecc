#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod compression;
mod counters;
mod encode;
mod encoding;
mod endpoint;
mod exporter;
mod patience;
mod receive;
mod report;
mod runtime;

pub use self::{
    builder::{ExportBreaker, ExportRetry, ExporterBuilder, NoNews},
    compression::Compression,
    counters::{Counters, RetryCount},
    encode::{BodyTooLarge, Encode, Skipped},
    endpoint::Endpoint,
    exporter::{Exporter, ResponseFuture},
    receive::TransportError,
    report::Report,
};
