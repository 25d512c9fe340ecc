//! What client and broker say to each other, as types. How it becomes bytes is a transport's business.

mod code;
mod id;
mod message;

pub use self::{
    code::ErrorCode,
    id::InstanceId,
    message::{
        GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, PushTelemetryRequest,
        PushTelemetryResponse, TelemetryRequest, TelemetryResponse,
    },
};
