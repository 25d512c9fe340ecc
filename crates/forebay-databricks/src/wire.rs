//! The frontend log, with all its fields, as the service reads it.

use crate::own_logs::Ticket;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// One log: what the driver reports about one statement, one error or one connection.
///
/// Made by a [`Connection`](crate::Connection) and its statements. Its id stays the same over every attempt to send it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FrontendLog {
    /// The workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<i64>,
    /// Names this log, so that the service recognizes it when it comes twice.
    pub frontend_log_event_id: String,
    /// Who sends it, and when it was.
    pub context: Context,
    /// What happened.
    pub entry: Entry,
    /// It closes its batch at once.
    #[serde(skip)]
    pub(crate) urgent: bool,
    /// Counts it among the logs of its connection.
    #[serde(skip)]
    pub(crate) ticket: Ticket,
}

/// Who sends a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Context {
    /// The client.
    pub client_context: ClientContext,
}

/// The client that sends a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClientContext {
    /// When it happened, in milliseconds since 1970.
    pub timestamp_millis: u64,
    /// The driver, and what the customer calls the program; without authentication only the driver.
    pub user_agent: String,
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// In the driver.
    pub sql_driver_log: SqlDriverLog,
}

/// What happened in the driver.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SqlDriverLog {
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql_statement_id: Option<String>,
    /// Where the driver runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_configuration: Option<SystemConfiguration>,
    /// How it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_connection_params: Option<ConnectionParameters>,
    /// How it is authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_type: Option<String>,
    /// What was done with a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vol_operation: Option<VolumeOperation>,
    /// What was done with a statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql_operation: Option<SqlOperation>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_info: Option<ErrorInfo>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_latency_ms: Option<u64>,
}

/// Where the driver runs. Each field is optional: one that cannot be found out costs no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SystemConfiguration {
    /// The driver's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// The runtime's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_name: Option<String>,
    /// The runtime's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,
    /// Who made the runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_vendor: Option<String>,
    /// The operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_name: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The machine's architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_arch: Option<String>,
    /// The driver's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_name: Option<String>,
    /// The program that uses the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_app_name: Option<String>,
    /// The language and country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale_name: Option<String>,
    /// The encoding of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub char_set_encoding: Option<String>,
    /// The process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_name: Option<String>,
}

/// How a session is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionParameters {
    /// The path of the warehouse or cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_path: Option<String>,
    /// How statements are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// How long a socket may be silent; in whole **seconds** on the wire.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub socket_timeout: Option<Duration>,
    /// Whether results come as Arrow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_arrow: Option<bool>,
    /// Whether the session runs without a server's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_direct_results: Option<bool>,
    /// Whether there is a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_proxy: Option<bool>,
}

/// What was done with a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SqlOperation {
    /// What kind of statement it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_type: Option<String>,
    /// Whether its results are compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_compressed: Option<bool>,
    /// How its results come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_result: Option<String>,
    /// The last chunk that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_id: Option<u64>,
    /// How often its requests were tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<u64>,
    /// The chunks of its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_details: Option<ChunkDetails>,
    /// How long its result took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_latency: Option<ResultLatency>,
    /// What the driver did for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_detail: Option<OperationDetail>,
    /// Read by the service; of another driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub java_uses_patched_arrow: Option<bool>,
}

/// The chunks of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChunkDetails {
    /// How long the first one took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_chunk_latency_millis: Option<u64>,
    /// How long the slowest one took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest_chunk_latency_millis: Option<u64>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_chunks_present: Option<u64>,
    /// How many were read.
    pub total_chunks_iterated: u64,
    /// How long all of them took together.
    pub sum_chunks_download_time_millis: u64,
}

/// How long a result took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResultLatency {
    /// Until it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_set_ready_latency_millis: Option<u64>,
    /// Until it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_set_consumption_latency_millis: Option<u64>,
}

/// What the driver did for a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OperationDetail {
    /// How often it asked how the statement stands.
    pub n_operation_status_calls: u64,
    /// How long that took.
    pub operation_status_latency_millis: u64,
    /// What kind of operation it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_type: Option<String>,
    /// Whether the driver itself asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_internal_call: Option<bool>,
}

/// What was done with a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VolumeOperation {
    /// What kind of operation it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_operation_type: Option<String>,
    /// The volume's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_path: Option<String>,
}

/// What went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ErrorInfo {
    /// The error's name.
    pub error_name: String,
    /// Its text and where it came from, redacted; blank without authentication.
    pub stack_trace: String,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn seconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.serialize_u64(time.as_secs()),
        None => to.serialize_none(),
    }
}

// === impl FrontendLog ===

impl FrontendLog {
    /// Without what says who or where: for the endpoint without authentication.
    pub(crate) fn anonymous(&self, user_agent: &str) -> Self {
        let mut log = self.clone();
        log.workspace_id = None;
        user_agent.clone_into(&mut log.context.client_context.user_agent);
        let driver = &mut log.entry.sql_driver_log;
        driver.session_id = None;
        driver.sql_statement_id = None;
        driver.system_configuration = None;
        driver.driver_connection_params = None;
        if let Some(volume) = &mut driver.vol_operation {
            volume.volume_path = None;
        }
        if let Some(error) = &mut driver.error_info {
            error.stack_trace.clear();
        }
        log
    }

    /// Whether it reports an error: it survives where others have to make room.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.entry.sql_driver_log.error_info.is_some()
    }
}
