//! The service of the drivers' telemetry, in this process: it takes logs, keeps books, and misbehaves.

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::net::TcpListener;

/// A service on a port of this machine.
#[derive(Clone, Debug)]
pub struct Service {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
}

/// What the service has taken.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Requests with logs.
    pub requests: u64,
    /// Requests that were answered with an error, or not at all.
    pub faults: u64,
    /// How often each log came, by its id.
    pub logs: HashMap<String, u64>,
    /// Of those, logs that tell of an error.
    pub errors: u64,
    /// Logs that were sent under the credentials of another.
    pub misattributed: u64,
    /// Requests for the feature flag.
    pub flags: u64,
    /// The state of the generator of faults.
    chance: u64,
    /// Requests of a hundred that go wrong.
    percent: u64,
}

/// How a request goes wrong.
enum Fault {
    Busy,
    Refused,
    /// The logs are taken, and there is no response.
    Unanswered,
}

// === impl Service ===

impl Service {
    /// Starts it; `percent` of a hundred requests go wrong, which ones is decided by `seed`.
    ///
    /// # Errors
    /// If this machine gives it no port.
    pub async fn start(percent: u64, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let books = Books { chance: seed, percent, ..Books::default() };
        let service = Self { address: listener.local_addr()?, books: Arc::new(Mutex::new(books)) };
        let serving = service.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // Without it an answer waits for the client's acknowledgement; an error only costs time.
                drop(socket.set_nodelay(true));
                let service = serving.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| service.clone().answer(request));
                    // A connection that ends badly is one of the faults, or the client's.
                    drop(http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await);
                });
            }
        });
        Ok(service)
    }

    /// Its address, as a user would write it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has taken so far.
    #[must_use]
    pub fn books(&self) -> Books {
        self.lock().clone()
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        if head.uri.path().starts_with("/api/2.0/connector-service/feature-flags/") {
            self.lock().flags += 1;
            let flag = json!({"name": "clientConfigs.enableTelemetryForNodeJs", "value": "true"});
            return Ok(respond(StatusCode::OK, &json!({"flags": [flag], "ttl_seconds": 900})));
        }
        let mut books = self.lock();
        books.requests += 1;
        let fault = books.fault();
        books.faults += u64::from(fault.is_some());
        match fault {
            Some(Fault::Busy) => return Ok(respond(StatusCode::SERVICE_UNAVAILABLE, &Value::Null)),
            Some(Fault::Refused) => return Ok(respond(StatusCode::TOO_MANY_REQUESTS, &Value::Null)),
            Some(Fault::Unanswered) | None => {}
        }
        let taken = books.take(&head, &body);
        match fault {
            Some(_) => Err(io::Error::other("the connection ends without an answer")),
            None => Ok(respond(StatusCode::OK, &json!({"errors": [], "numSuccess": 0, "numProtoSuccess": taken}))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Books ===

impl Books {
    /// The fault of the next request: SplitMix64, so that a seed gives the same ones again.
    fn fault(&mut self) -> Option<Fault> {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if z % 100 >= self.percent {
            return None;
        }
        Some(match (z / 100) % 3 {
            0 => Fault::Busy,
            1 => Fault::Refused,
            _ => Fault::Unanswered,
        })
    }

    /// Takes the logs of one request, and says how many.
    fn take(&mut self, head: &Parts, body: &[u8]) -> usize {
        let tenant = head.headers.get("authorization").and_then(|token| token.to_str().ok()).map(str::to_owned);
        let envelope: Value = serde_json::from_slice(body).unwrap_or_default();
        let logs = envelope["protoLogs"].as_array().map_or(&[][..], Vec::as_slice);
        let mut taken = 0;
        for log in logs.iter().filter_map(Value::as_str) {
            let Ok(log) = serde_json::from_str::<Value>(log) else { continue };
            let Some(id) = log["frontend_log_event_id"].as_str() else { continue };
            let driver = &log["entry"]["sql_driver_log"];
            // In this example a session's id begins with its tenant's name, which is its token too.
            let session = driver["session_id"].as_str().and_then(|session| session.split('/').next());
            if session.map(|tenant| format!("Bearer {tenant}")) != tenant {
                self.misattributed += 1;
            }
            let times = self.logs.entry(id.to_owned()).or_default();
            *times += 1;
            if *times == 1 && !driver["error_info"].is_null() {
                self.errors += 1;
            }
            taken += 1;
        }
        taken
    }
}

fn respond(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
}
