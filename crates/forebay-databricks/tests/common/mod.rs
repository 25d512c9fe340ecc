//! The service, without a network: it responds as the test says, and keeps what it was sent.

#![expect(dead_code, clippy::panic, clippy::unwrap_used, reason = "test code, of which each file takes what it needs")]

use bytes::Bytes;
use forebay_core::BoxError;
use forebay_databricks::{BearerToken, ClientInfo, Connect, DriverTelemetry, DriverTelemetryBuilder, Notice, Settings};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::{
    collections::{HashSet, VecDeque},
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tower::Service;

/// What the service does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16),
    Body(u16, String),
    RetryAfter(u64),
    Error(&'static str),
    Hang,
    Panic,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The client of the driver, with the service at its other end.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

struct State {
    seen: Vec<Seen>,
    script: VecDeque<Answer>,
    otherwise: Answer,
    flags: VecDeque<Answer>,
    flags_otherwise: Answer,
    asked: Vec<Seen>,
    /// Hosts that respond with 503 to every request.
    down: HashSet<String>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let state = State {
            seen: Vec::new(),
            script: VecDeque::new(),
            otherwise: Answer::Status(200),
            flags: VecDeque::new(),
            flags_otherwise: flag("true", 900),
            asked: Vec::new(),
            down: HashSet::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.lock().unwrap().script.extend(answers);
    }

    pub(crate) fn otherwise(&self, answer: Answer) {
        self.0.lock().unwrap().otherwise = answer;
    }

    pub(crate) fn flags(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.lock().unwrap().flags.extend(answers);
    }

    pub(crate) fn flags_otherwise(&self, answer: Answer) {
        self.0.lock().unwrap().flags_otherwise = answer;
    }

    /// A host that responds with 503 to every request from now on.
    pub(crate) fn down(&self, host: &str) {
        self.0.lock().unwrap().down.insert(host.to_owned());
    }

    /// The requests with logs, so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    /// The requests for flags, so far.
    pub(crate) fn asked(&self) -> Vec<Seen> {
        self.0.lock().unwrap().asked.clone()
    }

    /// All logs that came, one by one.
    pub(crate) fn logs(&self) -> Vec<Value> {
        self.seen().iter().flat_map(Seen::logs).collect()
    }
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn logs(&self) -> Vec<Value> {
        let body = self.json();
        let logs = body["protoLogs"].as_array().unwrap();
        logs.iter().map(|log| serde_json::from_str(log.as_str().unwrap()).unwrap()).collect()
    }
}

pub(crate) fn flag(value: &str, ttl: u64) -> Answer {
    let name = "databricks.partnerplatform.clientConfigsFeatureFlags.enableTelemetryForNodeJs";
    Answer::Body(200, format!(r#"{{"flags":[{{"name":"{name}","value":"{value}"}}],"ttl_seconds":{ttl}}}"#))
}

impl Service<Request<Full<Bytes>>> for Fake {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let state = Arc::clone(&self.0);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let (path, host) = (head.uri.path().to_owned(), head.uri.authority().unwrap().to_string());
            let of_flags = path.contains("feature-flags");
            let seen = Seen { path, host, headers: head.headers, body };
            let answer = {
                let mut state = state.lock().unwrap();
                if of_flags {
                    state.asked.push(seen);
                    state.flags.pop_front().unwrap_or_else(|| state.flags_otherwise.clone())
                } else {
                    let down = state.down.contains(seen.host.split(':').next().unwrap());
                    state.seen.push(seen);
                    if down {
                        return Response::builder().status(503).body(Full::default()).map_err(Into::into);
                    }
                    state.script.pop_front().unwrap_or_else(|| state.otherwise.clone())
                }
            };
            let respond = |status: u16, body: String| {
                Response::builder().status(status).body(Full::new(Bytes::from(body))).map_err(Into::into)
            };
            match answer {
                Answer::Status(status) => respond(status, String::new()),
                Answer::Body(status, body) => respond(status, body),
                Answer::RetryAfter(seconds) => Response::builder()
                    .status(429)
                    .header("retry-after", seconds)
                    .body(Full::default())
                    .map_err(Into::into),
                Answer::Error(text) => Err(io::Error::other(text).into()),
                Answer::Hang => std::future::pending().await,
                Answer::Panic => panic!("in the transport"),
            }
        })
    }
}

/// What the observer has received.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn matching(&self, words: &str) -> usize {
        self.all().iter().filter(|one| one.contains(words)).count()
    }
}

/// The telemetry of a process that talks to `fake`.
pub(crate) fn telemetry(fake: &Fake, settings: Settings) -> (DriverTelemetry, Heard) {
    build(DriverTelemetry::builder(fake.clone()).settings(settings))
}

pub(crate) fn build(builder: DriverTelemetryBuilder<Fake>) -> (DriverTelemetry, Heard) {
    let heard = Heard::default();
    let into = heard.clone();
    let info = ClientInfo::new("NodejsDatabricksSqlConnector/1.12.0").user_agent_entry("acme");
    let builder = builder.client_info(info).kill_switch(None);
    let telemetry = builder.observe(move |notice: &Notice<'_>| into.0.lock().unwrap().push(notice.to_string()));
    (telemetry.build().unwrap(), heard)
}

pub(crate) const HOST: &str = "adb-1.azuredatabricks.net";

/// A connection with a token.
pub(crate) fn connect() -> Connect {
    Connect::new(HOST).session_id("session-1").credentials(BearerToken::new("s3cret").unwrap())
}

/// Lets the time pass, and the tasks that it wakes run.
pub(crate) async fn advance(time: Duration) {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(time).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
