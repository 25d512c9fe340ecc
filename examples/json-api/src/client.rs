//! The stack.

use forebay::{
    ServiceBuilderExt,
    breaker::{BreakerHandle, BreakerLayer, OpenFor, State, Trip},
    core::{
        Advice, BoxError, Outcome, Priority, Totals, Verdict, cause_ref,
        http::{Classifier, StatusError},
        is_caused_by,
    },
    queue::{Limits, Queue, QueueLayer},
    registry::{LeasedService, RegistryLayer, RegistryMake},
    retry::{Backoff, RetryLayer},
};
use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};
use reqwest::redirect::Policy;
use serde_json::Value;
use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};
use tower::{ServiceBuilder, ServiceExt, service_fn, timeout::error::Elapsed};

/// A customer of the API: a host, and a token that is valid there.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tenant {
    name: Arc<str>,
    host: SocketAddr,
}

/// One call of the API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    tenant: Tenant,
    path: String,
    priority: Priority,
}

/// The API, for all tenants.
#[derive(Clone)]
pub(crate) struct Client {
    queue: Queue<Call, Value>,
    circuits: BreakerHandle<String>,
    clients: RegistryMake<Tenant, reqwest::Client>,
}

// === impl Client ===

impl Client {
    pub(crate) fn new() -> Result<Self, BoxError> {
        // One client for each tenant, and with it the connections and the token, which must not be shared.
        let registry = RegistryLayer::builder().linger(Duration::from_secs(60)).max_entries(1_000).build()?;
        let clients = ServiceBuilder::new()
            .with_registry(registry)
            .service(service_fn(|tenant: Tenant| std::future::ready(connect(&tenant))));
        let breaker = BreakerLayer::builder()
            .key(|call: &Call| &*call.tenant.name)
            .trip(Trip::consecutive(5))
            .open_for(OpenFor::new(Duration::from_millis(200)))
            .close_after(1)
            .classify(outcome)
            .build()?;
        let circuits = breaker.handle();
        let retry = RetryLayer::builder(outcome)
            .max_retries(2)
            .backoff(Backoff::exponential(Duration::from_millis(10)))
            .without_budget()
            .build()?;
        let queue = QueueLayer::builder()
            .limits(Limits::new().items(1_000))
            .workers(4)
            .weigh(|call: &Call| size_of::<Call>() + call.path.len())
            .priority(|call: &Call| call.priority)
            .build()?;
        let leases = clients.clone();
        let queue = ServiceBuilder::new()
            .with_queue(queue)
            .with_breaker(breaker)
            .with_retry(retry)
            .timeout(Duration::from_millis(500))
            .service(service_fn(move |call: Call| {
                let clients = leases.clone();
                async move { fetch(clients.oneshot(call.tenant.clone()).await?, call).await }
            }));
        Ok(Self { queue, circuits, clients })
    }

    /// The response to `call`, or why there is none.
    pub(crate) async fn call(&self, call: Call) -> Result<Value, BoxError> {
        self.queue.clone().oneshot(call).await
    }

    /// Calls that have not ended.
    pub(crate) fn pending(&self) -> usize {
        usize::try_from(self.queue.handle().totals().pending).unwrap_or(usize::MAX)
    }

    /// Waits until so many calls are pending.
    pub(crate) async fn reaches(&self, pending: usize) -> Result<(), BoxError> {
        let reached = async {
            while self.pending() < pending {
                tokio::task::yield_now().await;
            }
        };
        Ok(tokio::time::timeout(Duration::from_secs(5), reached).await?)
    }

    /// The circuit of a tenant.
    pub(crate) fn state(&self, tenant: &str) -> State {
        self.circuits.state(tenant)
    }

    /// What the registry has done.
    pub(crate) fn clients(&self) -> forebay::registry::Counts {
        self.clients.registry().snapshot().counts
    }

    /// Admits nothing any more, ends what was admitted, and closes the books.
    pub(crate) async fn close(self) -> Totals {
        let report = self.queue.handle().drain(Duration::from_secs(5)).await;
        let _closed = self.clients.registry().close_all(Duration::from_secs(1)).await;
        report.totals
    }
}

/// The client of one tenant, which sends the token of that tenant and no other.
fn connect(tenant: &Tenant) -> Result<reqwest::Client, BoxError> {
    let mut token = HeaderValue::from_str(&format!("Bearer {}", tenant.name))?;
    token.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, token)]);
    Ok(reqwest::Client::builder().default_headers(headers).redirect(Policy::none()).build()?)
}

/// One attempt. The lease lives as long as the response is read, so that the client is not closed meanwhile.
async fn fetch(client: LeasedService<reqwest::Client>, call: Call) -> Result<Value, BoxError> {
    let url = format!("http://{}/{}", call.tenant.host, call.path).parse()?;
    let response = client.clone().oneshot(reqwest::Request::new(Method::GET, url)).await?;
    let status = response.status();
    if !status.is_success() {
        // The table of the presets: what may pass is worth a retry, and counts against the server; a 404 or 422 does neither.
        let outcome = Classifier::general().status(status, response.headers());
        return Err(StatusError::new(status, outcome).into());
    }
    let body = response.bytes().await?;
    drop(client);
    Ok(serde_json::from_slice(&body)?)
}

/// What a result means, to the retry and to the breaker.
fn outcome(result: &Result<Value, BoxError>) -> Outcome {
    let Err(error) = result else { return Outcome::Success };
    let error = &**error;
    // Found below what the retry puts around it when it has given up, so that this is a failure to the breaker, too.
    if let Some(verdict) = cause_ref::<StatusError>(error).and_then(|error| Verdict::of(error)) {
        return match verdict.advice() {
            Advice::Never => Outcome::Ignored,
            advice => Outcome::of_advice(advice),
        };
    }
    if is_caused_by::<Elapsed>(error) || is_caused_by::<reqwest::Error>(error) {
        return Outcome::RETRYABLE;
    }
    // A response that is no JSON, a registry that is full: neither passes by itself, nor is it the server's state.
    Outcome::Ignored
}

// === impl Call ===

impl Call {
    pub(crate) fn new(tenant: &Tenant, path: &str) -> Self {
        Self { tenant: tenant.clone(), path: path.to_owned(), priority: Priority::Normal }
    }

    /// A person waits for the response.
    pub(crate) fn urgent(mut self, urgent: bool) -> Self {
        self.priority = if urgent { Priority::High } else { Priority::Normal };
        self
    }
}

// === impl Tenant ===

impl Tenant {
    pub(crate) fn new(name: &str, host: SocketAddr) -> Self {
        Self { name: name.into(), host }
    }
}

/// The name only: the registry prints keys.
impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
