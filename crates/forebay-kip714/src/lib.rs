#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod client;
mod codec;
mod error;
mod labels;
pub mod names;
mod payload;
mod runtime;
mod selector;
mod session;
mod source;
mod state;
#[cfg(feature = "tcp")]
#[cfg_attr(docsrs, doc(cfg(feature = "tcp")))]
pub mod tcp;
mod trace;
mod wire;

pub use self::{
    client::{ClientBuilder, ClientEvent, Counters, Kip714Client, PushSize, Report, Status},
    codec::{Codec, Codecs, CompressionFailed},
    error::TelemetryUnsupported,
    labels::ClientLabels,
    selector::Selector,
    session::{Change, Failure, Next, PushOrder, Session, Stopped, Subscription},
    source::Source,
    state::State,
    wire::{
        ErrorCode, GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, InstanceId,
        PushTelemetryRequest, PushTelemetryResponse, TelemetryRequest, TelemetryResponse,
    },
};
