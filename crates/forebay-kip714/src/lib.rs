#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod codec;
mod labels;
pub mod names;
mod payload;
mod selector;
mod session;
mod source;
mod state;
mod wire;

pub use self::{
    codec::{Codec, Codecs, CompressionFailed},
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
