use super::{sasl::Sasl, transport::TcpTransport};
use forebay_core::ConfigError;
use std::{fmt, sync::Arc, time::Duration};

/// Makes a [`TcpTransport`].
///
/// | knob | default |
/// | --- | --- |
/// | [`bootstrap`](Self::bootstrap) | none: must be given |
/// | [`client_id`](Self::client_id) | empty |
/// | [`software`](Self::software) | `forebay-kip714` and its version |
/// | [`sasl`](Self::sasl) | none: the broker must not ask |
/// | `tls` (feature `tls`) | none: not encrypted |
/// | [`connect_timeout`](Self::connect_timeout) | 10 s, for connecting and all of the handshake; above zero |
/// | [`max_response`](Self::max_response) | 1 MiB |
#[derive(Clone, Debug)]
#[must_use]
pub struct TcpBuilder {
    bootstrap: Vec<String>,
    settings: Settings,
}

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) bootstrap: Vec<Arc<str>>,
    pub(super) client_id: String,
    pub(super) software_name: String,
    pub(super) software_version: String,
    pub(super) sasl: Option<Sasl>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
    pub(super) connect_timeout: Duration,
    pub(super) max_response: usize,
}

// === impl TcpBuilder ===

impl TcpBuilder {
    pub(super) fn new() -> Self {
        Self {
            bootstrap: Vec::new(),
            settings: Settings {
                bootstrap: Vec::new(),
                client_id: String::new(),
                software_name: env!("CARGO_PKG_NAME").to_owned(),
                software_version: env!("CARGO_PKG_VERSION").to_owned(),
                sasl: None,
                #[cfg(feature = "tls")]
                tls: None,
                connect_timeout: Duration::from_secs(10),
                max_response: 1024 * 1024,
            },
        }
    }

    /// Where brokers are, as `host:port`, several separated by commas.
    ///
    /// One is chosen at random, and asked for all brokers of its cluster (a `Metadata` request). One of those is chosen at
    /// random, and kept until it fails; then the next one is tried, and after all of them this list again.
    pub fn bootstrap(mut self, servers: &str) -> Self {
        let servers = servers.split(',').map(str::trim).filter(|server| !server.is_empty());
        self.bootstrap.extend(servers.map(str::to_owned));
        self
    }

    /// The `client.id` of the client whose metrics these are; a subscription can ask for it.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.settings.client_id = client_id.into();
        self
    }

    /// The name and version of the client library; a subscription can ask for them. Letters, digits, dots and dashes.
    pub fn software(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.settings.software_name = name.into();
        self.settings.software_version = version.into();
        self
    }

    /// The credentials, for brokers that ask for them.
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.settings.sasl = Some(sasl);
        self
    }

    /// Encrypts, and believes the certificates that this configuration believes.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(mut self, config: Arc<tokio_rustls::rustls::ClientConfig>) -> Self {
        self.settings.tls = Some(config);
        self
    }

    /// How long connecting to one broker may take, with all that belongs to it.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// The longest response that is read, in bytes.
    pub fn max_response(mut self, bytes: usize) -> Self {
        self.settings.max_response = bytes;
        self
    }

    /// A transport, its task running on the runtime of the caller. It connects when there is something to send.
    ///
    /// # Errors
    ///
    /// When there is no broker, one has no port, `connect_timeout` is zero, the software's name or version is one that
    /// brokers refuse, or when there is no tokio runtime.
    pub fn build(mut self) -> Result<TcpTransport, ConfigError> {
        if self.bootstrap.is_empty() {
            return Err(ConfigError::new("bootstrap", "empty", "one host:port at least"));
        }
        for server in &self.bootstrap {
            let port =
                server.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) {
                return Err(ConfigError::new("bootstrap", server, "host:port"));
            }
        }
        if self.settings.connect_timeout.is_zero() {
            return Err(ConfigError::new("connect_timeout", "0s", "above zero"));
        }
        for text in [&self.settings.software_name, &self.settings.software_version] {
            if !is_software(text) {
                let allowed = "letters, digits, dots and dashes, the first and the last no dot or dash";
                return Err(ConfigError::new("software", text, allowed));
            }
        }
        let runtime = crate::runtime::current()?;
        self.settings.bootstrap = self.bootstrap.into_iter().map(Arc::from).collect();
        Ok(TcpTransport::spawn(Arc::new(self.settings), &runtime))
    }
}

/// Brokers refuse a name or version that breaks this, since KIP-511.
fn is_software(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(sound) && text.ends_with(sound) && text.chars().all(|c| sound(c) || c == '.' || c == '-')
}

// === impl Settings ===

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("bootstrap", &self.bootstrap)
            .field("client_id", &self.client_id)
            .field("sasl", &self.sasl)
            .finish_non_exhaustive()
    }
}
