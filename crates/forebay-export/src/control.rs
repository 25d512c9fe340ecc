//! What a handle may change while an exporter runs, and what each request takes from it.

use crate::{Compression, Endpoint, Endpoints, Framing, credential::is_credential, endpoints::Checked};
use forebay_core::{ConfigError, Deadline};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// The live state of an exporter: the kill switch and the settings.
#[derive(Debug)]
pub(crate) struct Control {
    /// The kill switch. It is read for each item, so it is not under the lock.
    on: AtomicBool,
    /// When the shutdowns that are under way end.
    ends: Mutex<Vec<Deadline>>,
    settings: Mutex<Settings>,
}

/// A shutdown that is under way.
pub(crate) struct Ending<'a> {
    control: &'a Control,
    end: Deadline,
}

/// The knobs that requests are made from. A builder fills them in, and a handle may change them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The URL that requests go to. An error is reported by [`checked`](Self::checked).
    pub(crate) endpoint: Result<Endpoint, ConfigError>,
    /// The headers of every request. The first error is kept.
    pub(crate) headers: Result<HeaderMap, ConfigError>,
    /// Whether a credential may go over plain `http` to another machine.
    pub(crate) plaintext_credentials: bool,
    /// Whether a provider adds a credential to each request.
    pub(crate) has_provider: bool,
    /// Whether each attempt goes to one of several endpoints, which sets its URL and its headers.
    pub(crate) has_several: bool,
    /// The product that `User-Agent` names before forebay.
    pub(crate) user_agent: Option<String>,
    pub(crate) compression: Compression,
    /// The framing of the encoder.
    pub(crate) framing: Framing,
    /// The greatest body of a request, in bytes, before compression and after.
    pub(crate) max_request_bytes: usize,
    /// How long one attempt may take.
    pub(crate) attempt_timeout: Duration,
    /// What follows from all of these; `None` before the first check.
    target: Option<Arc<Target>>,
}

/// What all requests have in common.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) compression: Compression,
    pub(crate) framing: Framing,
    /// The greatest body, in bytes, before compression and after.
    pub(crate) max_request_bytes: usize,
    /// Whether each attempt goes to one of several endpoints.
    pub(crate) has_several: bool,
}

/// The greatest body that an OTLP client should send, in bytes.
const MAX_REQUEST_BYTES: usize = 64 << 20;

// === impl Control ===

impl Control {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { on: AtomicBool::new(true), ends: Mutex::default(), settings: Mutex::new(settings) }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        // CORRECTNESS: relaxed, since the switch orders nothing. An item that passes it late is dropped by the encoder's layer.
        self.on.load(Relaxed)
    }

    pub(crate) fn switch(&self, on: bool) {
        self.on.store(on, Relaxed);
    }

    /// A shutdown that ends at `end` is under way while the guard lives.
    pub(crate) fn end_by(&self, end: Deadline) -> Ending<'_> {
        self.ends().push(end);
        Ending { control: self, end }
    }

    /// When the earliest of the shutdowns that are under way ends.
    pub(crate) fn end(&self) -> Option<Deadline> {
        self.ends().iter().min().copied()
    }

    fn ends(&self) -> MutexGuard<'_, Vec<Deadline>> {
        // CORRECTNESS: no user code runs under this lock, so a poisoned one guards a whole list.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        // CORRECTNESS: no user code runs under this lock, so a poisoned one guards whole settings.
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request that begins now has in common with the others.
    pub(crate) fn target(&self) -> Option<Arc<Target>> {
        self.settings().target.clone()
    }

    /// The endpoints, checked with these settings.
    pub(crate) fn check_endpoints(
        &self,
        endpoints: &Endpoints,
        exporter: &Arc<str>,
    ) -> Result<Vec<Checked>, ConfigError> {
        let settings = self.settings().clone();
        endpoints.checked(&settings, exporter)
    }

    /// Changes the settings, or leaves them all as they are.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), ConfigError> {
        // CORRECTNESS: the lock is held from the copy to the store, so that two changes at a time do not undo one another.
        let mut settings = self.settings();
        let mut changed = settings.clone();
        change(&mut changed);
        *settings = changed.checked()?;
        Ok(())
    }
}

// === impl Ending ===

/// CANCEL: after a shutdown that was dropped the items are sent all the same, and attempts have all of their time again.
impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut ends = self.control.ends();
        if let Some(index) = ends.iter().position(|end| *end == self.end) {
            ends.swap_remove(index);
        }
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: Err(ConfigError::new("endpoint", "missing", "an http or https URL")),
            headers: Ok(HeaderMap::new()),
            plaintext_credentials: false,
            has_provider: false,
            has_several: false,
            user_agent: None,
            compression: Compression::None,
            framing: Framing::Plain,
            max_request_bytes: MAX_REQUEST_BYTES,
            attempt_timeout: Duration::from_secs(10),
            target: None,
        }
    }
}

impl Settings {
    /// The URL that a request to `endpoint` goes to.
    pub(crate) fn uri(&self, endpoint: &Endpoint) -> Result<Uri, ConfigError> {
        match self.framing {
            Framing::Plain => Ok(endpoint.uri().clone()),
            Framing::Grpc { method } => endpoint.with_method(method),
        }
    }

    /// These settings with the target that follows from them.
    pub(crate) fn checked(mut self) -> Result<Self, ConfigError> {
        let (endpoint, mut headers) = (self.endpoint.clone()?, self.headers.clone()?);
        if !(1 << 10..=MAX_REQUEST_BYTES).contains(&self.max_request_bytes) {
            return Err(ConfigError::new("max_request_bytes", self.max_request_bytes, "1 KiB to 64 MiB, in bytes"));
        }
        if self.attempt_timeout.is_zero() {
            return Err(ConfigError::new("attempt_timeout", "0s", "above zero"));
        }
        let secret = self.has_provider || headers.keys().any(is_credential);
        if endpoint.is_exposed() && secret && !self.plaintext_credentials {
            let allowed = "https, or `allow_plaintext_credentials`: each machine on the way can read these headers";
            return Err(ConfigError::new("endpoint", &endpoint, allowed));
        }
        if !headers.contains_key(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, user_agent(self.user_agent.as_deref())?);
        }
        let compression = self.compression.validate()?;
        if let Framing::Grpc { .. } = self.framing {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert("grpc-accept-encoding", HeaderValue::from_static(Compression::ACCEPTED));
            if let Some(timeout) = grpc_timeout(self.attempt_timeout) {
                headers.insert("grpc-timeout", timeout);
            }
        }
        if let Some(encoding) = compression.content_encoding() {
            let name = match self.framing {
                Framing::Plain => header::CONTENT_ENCODING,
                Framing::Grpc { .. } => HeaderName::from_static("grpc-encoding"),
            };
            headers.insert(name, encoding);
        }
        let uri = self.uri(&endpoint)?;
        let Self { framing, max_request_bytes, has_several, .. } = self;
        self.target = Some(Arc::new(Target { uri, headers, compression, framing, max_request_bytes, has_several }));
        Ok(self)
    }
}

fn user_agent(product: Option<&str>) -> Result<HeaderValue, ConfigError> {
    const OURS: &str = concat!("forebay/", env!("CARGO_PKG_VERSION"), " (rust)");
    match product {
        None => Ok(HeaderValue::from_static(OURS)),
        Some(product) => HeaderValue::try_from(format!("{product} {OURS}"))
            .map_err(|_why| ConfigError::new("user_agent", format!("{product:?}"), "visible ASCII: `name/version`")),
    }
}

/// At most eight digits and a unit, as gRPC has it. A longer timeout has no header, which means no limit.
pub(crate) fn grpc_timeout(timeout: Duration) -> Option<HeaderValue> {
    let units = [(timeout.as_millis(), 'm'), (timeout.as_secs().into(), 'S'), ((timeout.as_secs() / 3600).into(), 'H')];
    let (number, unit) = units.into_iter().find(|(number, _)| *number < 100_000_000)?;
    HeaderValue::try_from(format!("{}{unit}", number.max(1))).ok()
}
