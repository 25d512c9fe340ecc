//! The server, which fails as the program wants.

use bytes::Bytes;
use forebay_example_support::server::http1_with;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, RETRY_AFTER},
};
use http_body_util::Full;
use serde_json::json;
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// The API of three tenants, on this machine.
#[derive(Clone)]
pub(crate) struct Api {
    tenants: Arc<Mutex<HashMap<String, Tenant>>>,
    address: SocketAddr,
    /// Whether responses are held back.
    held: watch::Sender<bool>,
}

#[derive(Default)]
struct Tenant {
    seen: u32,
    is_down: bool,
}

/// What becomes of one request.
enum Fate {
    Responds,
    Refuses,
    Hangs,
}

// === impl Api ===

impl Api {
    pub(crate) async fn start() -> io::Result<Self> {
        let tenants = Arc::new(Mutex::new(HashMap::new()));
        let books = Arc::clone(&tenants);
        let (held, released) = watch::channel(false);
        let address = http1_with(move |request| respond(request, Arc::clone(&books), released.clone())).await?;
        Ok(Self { tenants, address, held })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests of `tenant` have arrived.
    pub(crate) fn seen(&self, tenant: &str) -> u32 {
        lock(&self.tenants).get(tenant).map_or(0, |tenant| tenant.seen)
    }

    /// Holds all responses back, until they are released.
    pub(crate) fn hold(&self, hold: bool) {
        self.held.send_replace(hold);
    }

    pub(crate) fn set_down(&self, tenant: &str, down: bool) {
        lock(&self.tenants).entry(tenant.to_owned()).or_default().is_down = down;
    }
}

async fn respond(
    request: Request<Bytes>,
    tenants: Arc<Mutex<HashMap<String, Tenant>>>,
    mut held: watch::Receiver<bool>,
) -> Response<Full<Bytes>> {
    let token = request.headers().get(AUTHORIZATION).and_then(|token| token.to_str().ok()).unwrap_or_default();
    let Some(name) = token.strip_prefix("Bearer ") else {
        return response(StatusCode::UNAUTHORIZED, String::new());
    };
    let fate = lock(&tenants).entry(name.to_owned()).or_default().next(name);
    match fate {
        Fate::Responds => {
            // As long as a look-up in a database takes.
            tokio::time::sleep(Duration::from_millis(2)).await;
            if held.wait_for(|held| !held).await.is_err() {
                return response(StatusCode::SERVICE_UNAVAILABLE, String::new());
            }
            let path = request.uri().path();
            response(StatusCode::OK, json!({ "tenant": name, "path": path }).to_string())
        }
        Fate::Refuses => {
            let mut refused = response(StatusCode::SERVICE_UNAVAILABLE, String::new());
            refused.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("0"));
            refused
        }
        Fate::Hangs => std::future::pending().await,
    }
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Tenant ===

impl Tenant {
    fn next(&mut self, name: &str) -> Fate {
        self.seen += 1;
        match (name, self.seen) {
            _ if self.is_down => Fate::Refuses,
            ("initech", 1) => Fate::Refuses,
            ("initech", 2) => Fate::Hangs,
            _ => Fate::Responds,
        }
    }
}
