use crate::{Compression, Endpoint, Framing, encoding::Target};
use forebay_core::ConfigError;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// What a handle can change while an exporter runs.
#[derive(Debug)]
pub(crate) struct Control {
    on: AtomicBool,
    settings: Mutex<Settings>,
}

/// Where requests go, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: HeaderMap,
    pub(crate) plaintext_credentials: bool,
    pub(crate) has_provider: bool,
    pub(crate) compression: Compression,
    pub(crate) framing: Framing,
    pub(crate) max_body: usize,
    pub(crate) grpc_timeout: Option<HeaderValue>,
    /// What follows from all of these.
    target: Option<Arc<Target>>,
}

// === impl Control ===

impl Control {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { on: AtomicBool::new(true), settings: Mutex::new(settings) }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    pub(crate) fn switch(&self, on: bool) {
        self.on.store(on, Relaxed);
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request that begins now has in common with the others.
    pub(crate) fn target(&self) -> Option<Arc<Target>> {
        self.settings().target.clone()
    }

    /// Changes the settings, or leaves them all as they are.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(&mut Settings) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        let mut settings = self.settings();
        let mut changed = settings.clone();
        change(&mut changed)?;
        *settings = changed.checked()?;
        Ok(())
    }
}

// === impl Settings ===

impl Settings {
    pub(crate) fn new(endpoint: Endpoint, headers: HeaderMap, framing: Framing) -> Self {
        Self {
            endpoint,
            headers,
            plaintext_credentials: false,
            has_provider: false,
            compression: Compression::None,
            framing,
            max_body: 0,
            grpc_timeout: None,
            target: None,
        }
    }

    /// The URL that a request to `endpoint` goes to.
    pub(crate) fn uri(&self, endpoint: &Endpoint) -> Result<Uri, ConfigError> {
        match self.framing {
            Framing::Plain => Ok(endpoint.uri().clone()),
            Framing::Grpc { method } => endpoint.with_method(method),
        }
    }

    /// These settings with what follows from them.
    pub(crate) fn checked(mut self) -> Result<Self, ConfigError> {
        let secret = self.has_provider || self.headers.keys().any(crate::credential::is_credential);
        if self.endpoint.is_exposed() && secret && !self.plaintext_credentials {
            let allowed =
                "https, or `allow_plaintext_credentials`: with these headers anybody on the way reads a secret";
            return Err(ConfigError::new("endpoint", &self.endpoint, allowed));
        }
        let compression = self.compression.validate()?;
        let mut headers = self.headers.clone();
        if let Framing::Grpc { .. } = self.framing {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert("grpc-accept-encoding", HeaderValue::from_static(Compression::ACCEPTED));
            if let Some(timeout) = &self.grpc_timeout {
                headers.insert("grpc-timeout", timeout.clone());
            }
        }
        if let Some(encoding) = compression.content_encoding() {
            let name = match self.framing {
                Framing::Plain => header::CONTENT_ENCODING,
                Framing::Grpc { .. } => HeaderName::from_static("grpc-encoding"),
            };
            headers.insert(name, encoding);
        }
        let uri = self.uri(&self.endpoint)?;
        let (framing, max_body) = (self.framing, self.max_body);
        self.target = Some(Arc::new(Target { uri, headers, compression, framing, max_body }));
        Ok(self)
    }
}
