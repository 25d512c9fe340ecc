#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod client_info;
mod clock;
mod connection;
mod credentials;
mod encoder;
mod footprint;
mod gate;
mod guard;
mod host;
mod host_client;
mod key;
mod label;
mod notice;
mod own_logs;
mod redact;
mod settings;
mod statement;
mod telemetry;
mod wire;

pub use forebay_breaker::{Reason as CircuitReason, State as CircuitState};
pub use forebay_core::{BoxError, ConfigError, Observe, Totals};
pub use forebay_export::{Counters, ExportError};
pub use forebay_registry::CloseEnd;

pub use self::{
    client_info::ClientInfo,
    connection::{Connect, Connection, ResultInfo, Severity, StatementContext},
    credentials::{BearerToken, Credentials},
    gate::{FeatureFlag, KILL_SWITCH},
    host::HostError,
    host_client::HostReport,
    key::{EndpointError, EndpointKey, Endpoints, EndpointsBuilder, Identity},
    notice::Notice,
    redact::{MAX_TRACE, redact},
    settings::{Driver, KNOBS, Knob, Settings},
    telemetry::{DriverTelemetry, DriverTelemetryBuilder, ShutdownReport},
    wire::{
        ChunkDetails, ClientContext, ConnectionParameters, Context, Entry, ErrorInfo, FrontendLog, OperationDetail,
        ResultLatency, SqlDriverLog, SqlOperation, SystemConfiguration, VolumeOperation,
    },
};
