use super::{
    exchange::Endpoint,
    fault::Fault,
    faults::Faults,
    handle::Receiver,
    plan::Plan,
    received::Disposition,
    rules::Rules,
    server::Server,
    store::{Keep, OnLogs, Store},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Builds a [`Receiver`].
///
/// | knob | default |
/// | --- | --- |
/// | [`address`](Self::address) | a free port of 127.0.0.1 |
/// | [`faults`](Self::faults), [`script`](Self::script) | none |
/// | [`seed`](Self::seed) | 0 |
/// | [`keep`](Self::keep) | [`Keep::Everything`] |
/// | [`max_bytes`](Self::max_bytes) | 64 MiB |
/// | [`max_records`](Self::max_records) | no limit |
/// | [`require_authorization`](Self::require_authorization) | none |
/// | [`reject_if`](Self::reject_if), [`refuse_if`](Self::refuse_if) | nothing |
/// | [`on_logs`](Self::on_logs), [`route`](Self::route) | none |
#[must_use = "nothing listens before `start`"]
pub struct ReceiverBuilder {
    address: SocketAddr,
    faults: Faults,
    script: VecDeque<Fault>,
    seed: u64,
    keep: Keep,
    on_logs: Option<Box<OnLogs>>,
    rules: Rules,
}

// === impl ReceiverBuilder ===

impl ReceiverBuilder {
    pub(super) fn new() -> Self {
        let rules = Rules {
            most_bytes: 64 << 20,
            most_records: usize::MAX,
            authorization: None,
            reject_if: None,
            refuse_if: None,
            routes: HashMap::new(),
        };
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            faults: Faults::none(),
            script: VecDeque::new(),
            seed: 0,
            keep: Keep::default(),
            on_logs: None,
            rules,
        }
    }

    /// Where to listen; port 0 is any free one.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The faults of requests that no script covers.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The first request gets the first fault, the second the second, and so on; the rest get those of
    /// [`faults`](Self::faults).
    pub fn script(mut self, script: impl IntoIterator<Item = Fault>) -> Self {
        self.script = script.into_iter().collect();
        self
    }

    /// Makes the faults repeatable: request number n gets the same one in every run with the same seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How much to remember.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Responds with 413 to a body of more than `bytes` bytes, counted without its content encoding.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.rules.most_bytes = bytes;
        self
    }

    /// Responds with 413 to a request of more than `records` records.
    pub fn max_records(mut self, records: usize) -> Self {
        self.rules.most_records = records;
        self
    }

    /// Responds with 401 to every request without this value of `Authorization`.
    pub fn require_authorization(mut self, value: HeaderValue) -> Self {
        self.rules.authorization = Some(value);
        self
    }

    /// Rejects each log record whose body passes `test`, and takes in the others: a partial success.
    pub fn reject_if(mut self, test: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.rules.reject_if = Some(Box::new(test));
        self
    }

    /// Responds with 400 to every request with a log record whose body passes `test`: a poison record.
    pub fn refuse_if(mut self, test: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.rules.refuse_if = Some(Box::new(test));
        self
    }

    /// Shows the accepted records of each logs request to `on_logs`, whatever the receiver keeps.
    ///
    /// It is called once with [`Disposition::Accepted`], before the response is sent, and a second time with
    /// [`Disposition::Ambiguous`] when it turns out that the client cannot know. It runs on the connection's task and
    /// should be quick; a panic costs that connection.
    pub fn on_logs(mut self, on_logs: impl Fn(&ExportLogsServiceRequest, Disposition) + Send + Sync + 'static) -> Self {
        self.on_logs = Some(Box::new(on_logs));
        self
    }

    /// Responds to requests to `path` with what `handler` returns; the handler sees bodies without their content encoding.
    ///
    /// Every method is let through. Faults, [`require_authorization`](Self::require_authorization) and
    /// [`max_bytes`](Self::max_bytes) hold here too; a request that is not processed never reaches the handler, and one
    /// that gets a status below 200 or above 299 is not taken in.
    pub fn route(
        mut self,
        path: impl Into<String>,
        handler: impl Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.rules.routes.insert(path.into(), Arc::new(handler));
        self
    }

    /// Listens, and serves on the current tokio runtime until the [`Receiver`] is dropped.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound, or a route does not begin with `/`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or on one without I/O.
    pub async fn start(self) -> io::Result<Receiver> {
        if let Some(path) = self.rules.routes.keys().find(|path| !path.starts_with('/')) {
            let why = format!("`route` is {path}; allowed: a path that begins with /");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let store = Store::new(self.keep, Plan::new(self.seed, self.faults, self.script), self.on_logs);
        let endpoint = Endpoint { store: Arc::clone(&store), rules: self.rules };
        Ok(Receiver::new(Server::bind(self.address, Arc::new(endpoint))?, store))
    }
}

impl fmt::Debug for ReceiverBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverBuilder")
            .field("address", &self.address)
            .field("faults", &self.faults)
            .field("script", &self.script)
            .field("seed", &self.seed)
            .field("keep", &self.keep)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
