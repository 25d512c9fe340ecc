//! The telemetry service of the Databricks drivers, on loopback: both endpoints, the feature flag, and faults.
//!
//! ```no_run
//! use forebay_testkit::{
//!     databricks::{Flag, TelemetryService},
//!     receiver::Fault,
//! };
//! use http::StatusCode;
//!
//! # async fn example() -> std::io::Result<()> {
//! let service = TelemetryService::start().await?;
//! service.script([Fault::None, Fault::status(StatusCode::SERVICE_UNAVAILABLE)]);
//! // .. a driver whose telemetry goes to `service.address()` ..
//! assert_eq!(service.logs().len(), 1);
//! service.set_flag(Flag::Off);
//! # Ok(())
//! # }
//! ```

use crate::receiver::{Disposition, Fault, Faults, Received, Receiver, ReceiverBuilder};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The telemetry service, closed when it is dropped.
///
/// It reads what a driver sends as strictly as it can: a body that is no envelope of logs is refused with 400. It runs on a
/// [`Receiver`], whose faults it plays: number n of all requests, those for flags included, gets the n-th of a script.
#[derive(Debug)]
pub struct TelemetryService {
    receiver: Receiver,
    shared: Arc<Mutex<Shared>>,
}

/// What the service says when it is asked for the feature flag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Flag {
    /// Telemetry is wanted.
    #[default]
    On,
    /// It is not.
    Off,
    /// The flag is not among those that it knows.
    Missing,
    /// A response with this status, and without a flag.
    Status(StatusCode),
    /// A success with this body, whatever it means.
    Body(String),
}

/// One request with logs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogRequest {
    /// Whether it came to the endpoint that wants credentials, `/telemetry-ext`.
    pub authenticated: bool,
    /// The value of `Authorization`, if there is one.
    pub authorization: Option<String>,
    /// The value of `User-Agent`, if there is one.
    pub user_agent: Option<String>,
    /// The body, if it is JSON.
    pub envelope: Value,
    /// The logs in it, decoded from the JSON texts that they are.
    pub logs: Vec<Value>,
    /// The status of the response; `None` where none was begun.
    pub status: Option<StatusCode>,
    /// What became of the logs.
    pub disposition: Disposition,
}

#[derive(Debug)]
struct Shared {
    flag: Flag,
    ttl: Duration,
    /// How many logs of a request are taken at most.
    takes: usize,
}

const WITH_CREDENTIALS: &str = "/telemetry-ext";
const WITHOUT_CREDENTIALS: &str = "/telemetry-unauth";
const FLAGS: &str = "/api/2.0/connector-service/feature-flags/";

// === impl TelemetryService ===

impl TelemetryService {
    /// Starts it on a free port, without faults; the flag is on for 15 minutes.
    ///
    /// # Errors
    ///
    /// As [`ReceiverBuilder::start`].
    pub async fn start() -> io::Result<Self> {
        Self::start_on(Receiver::builder()).await
    }

    /// Starts it on a receiver with settings of its own: faults, a seed, a limit of bytes, a required token.
    ///
    /// # Errors
    ///
    /// As [`ReceiverBuilder::start`].
    pub async fn start_on(receiver: ReceiverBuilder) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared { flag: Flag::On, ttl: Duration::from_secs(900), takes: usize::MAX }));
        let take = |shared: &Arc<Mutex<Shared>>| {
            let shared = Arc::clone(shared);
            move |request: &Request<Bytes>| take(request, lock(&shared).takes)
        };
        let of_flags = Arc::clone(&shared);
        let receiver = receiver
            .route(WITH_CREDENTIALS, take(&shared))
            .route(WITHOUT_CREDENTIALS, take(&shared))
            .route(format!("{FLAGS}*"), move |request| lock(&of_flags).flag(request))
            .start()
            .await?;
        Ok(Self { receiver, shared })
    }

    /// Its address, as a user of a driver writes it: `http://127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.receiver.endpoint()
    }

    /// The server below it: to pause it, to await requests, to read all of them.
    #[must_use]
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// The next requests get these faults, one each.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.receiver.script(faults);
    }

    /// The faults of requests that no script covers.
    pub fn set_faults(&self, faults: Faults) {
        self.receiver.set_faults(faults);
    }

    /// What it says of the feature flag from now on.
    pub fn set_flag(&self, flag: Flag) {
        lock(&self.shared).flag = flag;
    }

    /// For how long it says that the flag is good, in whole seconds.
    pub fn set_flag_ttl(&self, ttl: Duration) {
        lock(&self.shared).ttl = ttl;
    }

    /// Takes no more than this many logs of each request, and says so: a partial success.
    pub fn take_at_most(&self, logs: usize) {
        lock(&self.shared).takes = logs;
    }

    /// The requests with logs, in the order of arrival, refused ones included.
    #[must_use]
    pub fn requests(&self) -> Vec<LogRequest> {
        self.receiver.requests().iter().filter_map(LogRequest::of).collect()
    }

    /// The logs that were taken in, in the order of arrival. One that came twice is here twice.
    #[must_use]
    pub fn logs(&self) -> Vec<Value> {
        let taken = self.requests().into_iter().filter(|request| request.disposition != Disposition::Unprocessed);
        taken.flat_map(|request| request.logs).collect()
    }

    /// How often it was asked for the feature flag.
    #[must_use]
    pub fn flags_asked(&self) -> usize {
        self.receiver.requests().iter().filter(|request| request.path().starts_with(FLAGS)).count()
    }
}

// === impl Shared ===

impl Shared {
    fn flag(&self, request: &Request<Bytes>) -> Response<Bytes> {
        // `.../feature-flags/<client>/<version>`: the flag of a client is named after it.
        let client = request.uri().path().strip_prefix(FLAGS).and_then(|rest| rest.split('/').next());
        let name = match client {
            Some("NODEJS") => "enableTelemetryForNodeJs".to_owned(),
            other => format!("enableTelemetryFor{}", other.unwrap_or_default()),
        };
        let name = format!("databricks.partnerplatform.clientConfigsFeatureFlags.{name}");
        let flags = |value: Option<&str>| {
            let flags: Vec<_> = value.map(|value| json!({"name": name, "value": value})).into_iter().collect();
            respond(StatusCode::OK, json!({"flags": flags, "ttl_seconds": self.ttl.as_secs()}).to_string())
        };
        match &self.flag {
            Flag::On => flags(Some("true")),
            Flag::Off => flags(Some("false")),
            Flag::Missing => flags(None),
            Flag::Status(status) => respond(*status, String::new()),
            Flag::Body(body) => respond(StatusCode::OK, body.clone()),
        }
    }
}

// === impl LogRequest ===

impl LogRequest {
    fn of(request: &Received) -> Option<Self> {
        let authenticated = match request.path() {
            WITH_CREDENTIALS => true,
            WITHOUT_CREDENTIALS => false,
            _ => return None,
        };
        let envelope: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        Some(Self {
            authenticated,
            authorization: request.header(header::AUTHORIZATION.as_str()).map(str::to_owned),
            user_agent: request.header(header::USER_AGENT.as_str()).map(str::to_owned),
            logs: logs(&envelope).unwrap_or_default(),
            envelope,
            status: request.status,
            disposition: request.disposition,
        })
    }
}

/// The logs of an envelope; `None` if it is none, or one of them is no text with an object in it.
fn logs(envelope: &Value) -> Option<Vec<Value>> {
    envelope["uploadTime"].as_u64()?;
    let read = |log: &Value| serde_json::from_str::<Value>(log.as_str()?).ok().filter(Value::is_object);
    envelope["protoLogs"].as_array()?.iter().map(read).collect()
}

fn take(request: &Request<Bytes>, most: usize) -> Response<Bytes> {
    let logs = serde_json::from_slice(request.body()).ok().and_then(|envelope| logs(&envelope));
    let Some(logs) = logs else {
        return respond(StatusCode::BAD_REQUEST, json!({"errors": ["not an envelope of logs"]}).to_string());
    };
    let taken = logs.len().min(most);
    let errors = if taken < logs.len() { json!(["too many"]) } else { json!([]) };
    respond(StatusCode::OK, json!({"errors": errors, "numSuccess": 0, "numProtoSuccess": taken}).to_string())
}

fn respond(status: StatusCode, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
