use super::Identity;
use forebay_core::ConfigError;
use std::{collections::HashMap, error::Error, fmt, net::Ipv6Addr, sync::Arc};

/// Where a client talks to, and as whom: a key that is equal whenever both are.
///
/// Made by [`Endpoints`]. Make it once for each client and keep it: looking a client up by it allocates nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// `scheme://host:port`, normalised.
    origin: Arc<str>,
    identity: Identity,
}

/// Makes [`EndpointKey`]s of what users write.
///
/// | written | meant |
/// | --- | --- |
/// | `HTTPS://Db.Example` | case does not matter |
/// | `db.example` | the default scheme, `https` |
/// | `db.example.` | a name that is complete, as all are |
/// | `https://db.example:443` | the scheme's own port |
/// | `https://db.example/sql?x=1` | path, query and fragment belong to a request, not to a client |
/// | an [alias](EndpointsBuilder::alias) | the host it stands for |
/// | `[0:0:0:0:0:0:0:1]` | `[::1]` |
///
/// All of the first five give one key. `http` and `https` never do, whatever the port: a client without TLS is not to be
/// had by asking for one with it. A name that is not ASCII has to be given in its `xn--` form.
///
/// ```
/// use forebay_databricks::{Endpoints, Identity};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoints = Endpoints::builder().alias("db", "db.example").build()?;
/// let key = endpoints.key("https://DB.example.:443/sql", Identity::anonymous())?;
/// assert_eq!(key, endpoints.key("db", Identity::anonymous())?);
/// assert_ne!(key, endpoints.key("db", Identity::named("tenant-7"))?);
/// assert_eq!(key.origin(), "https://db.example:443");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Endpoints {
    default_scheme: String,
    ports: HashMap<String, u16>,
    aliases: HashMap<String, String>,
}

/// Builds [`Endpoints`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`default_scheme`](Self::default_scheme) | `https` | a scheme with a port |
/// | [`default_port`](Self::default_port) | `http` and `ws` 80, `https` and `wss` 443 | 1 to 65,535 |
/// | [`alias`](Self::alias) | none | host names; no alias of an alias |
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct EndpointsBuilder {
    default_scheme: String,
    ports: Vec<(String, u16)>,
    aliases: Vec<(String, String)>,
}

/// What was written is no endpoint.
///
/// It does not repeat what was written, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointError {
    /// There is a user name or a password in it. Credentials are given as an [`Identity`] and to the client; in an
    /// address they end up in logs.
    UserInfo,
    /// The scheme is none.
    Scheme,
    /// The host is missing, or neither a name in ASCII nor an address.
    Host,
    /// The port is not a number from 1 to 65,535.
    Port,
    /// No port is given, and the scheme has none of its own.
    NoPort,
}

// === impl EndpointKey ===

impl EndpointKey {
    /// Scheme, host and port, as in `https://db.example:443`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// As whom the client talks.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The scheme, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.origin.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// Host and port, as in `db.example:443`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, authority)| authority)
    }

    /// The host, in lower case; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority().rsplit_once(':').map_or("", |(host, _)| host)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
    }
}

impl fmt::Debug for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointKey").field("origin", &self.origin).field("identity", &self.identity).finish()
    }
}

/// The origin alone.
impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

// === impl Endpoints ===

impl Endpoints {
    /// With the defaults in the table of [`EndpointsBuilder`].
    pub fn builder() -> EndpointsBuilder {
        EndpointsBuilder {
            default_scheme: "https".to_owned(),
            ports: ["http", "ws"]
                .map(|scheme| (scheme.to_owned(), 80))
                .into_iter()
                .chain(["https", "wss"].map(|scheme| (scheme.to_owned(), 443)))
                .collect(),
            aliases: Vec::new(),
        }
    }

    /// The key of `address`, for a client that talks as `identity`.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when `address` is no endpoint.
    pub fn key(&self, address: &str, identity: Identity) -> Result<EndpointKey, EndpointError> {
        let (scheme, rest) = match address.trim_matches(|c: char| c.is_ascii_whitespace()).split_once("://") {
            Some((scheme, rest)) => (scheme_of(scheme)?, rest),
            None => (self.default_scheme.clone(), address.trim_matches(|c: char| c.is_ascii_whitespace())),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // Before all else, so that no other error is about a password.
        if authority.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let host = host_of(host)?;
        let host = self.aliases.get(&host).unwrap_or(&host);
        let port = match port {
            Some(port) => port_of(port)?,
            None => *self.ports.get(&scheme).ok_or(EndpointError::NoPort)?,
        };
        Ok(EndpointKey { origin: Arc::from(format!("{scheme}://{host}:{port}")), identity })
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        let EndpointsBuilder { default_scheme, ports, .. } = Self::builder();
        Self { default_scheme, ports: ports.into_iter().collect(), aliases: HashMap::new() }
    }
}

// === impl EndpointsBuilder ===

impl EndpointsBuilder {
    /// What is meant when no scheme is written.
    pub fn default_scheme(mut self, scheme: impl Into<String>) -> Self {
        self.default_scheme = scheme.into();
        self
    }

    /// What is meant when no port is written with this scheme.
    pub fn default_port(mut self, scheme: impl Into<String>, port: u16) -> Self {
        self.ports.push((scheme.into(), port));
        self
    }

    /// `alias` is another name of `host`. The port stays what is written.
    pub fn alias(mut self, alias: impl Into<String>, host: impl Into<String>) -> Self {
        self.aliases.push((alias.into(), host.into()));
        self
    }

    /// The normaliser.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a scheme or a host that is none, for port 0, for an alias with two hosts, and for one whose
    /// host is an alias itself.
    pub fn build(self) -> Result<Endpoints, ConfigError> {
        let scheme = |knob, text: &str| {
            scheme_of(text)
                .map_err(|_why| ConfigError::new(knob, text, "a letter, then letters, digits, `+`, `-`, `.`"))
        };
        let host = |text: &str| host_of(text).map_err(|_why| ConfigError::new("alias", text, "a host name in ASCII"));
        let mut ports = HashMap::new();
        for (name, port) in &self.ports {
            if *port == 0 {
                return Err(ConfigError::new("default_port", port, "1 to 65535"));
            }
            ports.insert(scheme("default_port", name)?, *port);
        }
        let default_scheme = scheme("default_scheme", &self.default_scheme)?;
        if !ports.contains_key(&default_scheme) {
            return Err(ConfigError::new("default_scheme", default_scheme, "a scheme with a `default_port`"));
        }
        let mut aliases = HashMap::new();
        for (alias, target) in &self.aliases {
            let (alias, target) = (host(alias)?, host(target)?);
            if let Some(other) = aliases.insert(alias.clone(), target.clone())
                && other != target
            {
                return Err(ConfigError::new("alias", alias, "one host for each alias"));
            }
        }
        if let Some((alias, _)) =
            aliases.iter().find(|(alias, target)| *alias != *target && aliases.contains_key(*target))
        {
            return Err(ConfigError::new("alias", alias, "an alias of a host that is no alias itself"));
        }
        Ok(Endpoints { default_scheme, ports, aliases })
    }
}

/// RFC 3986, section 3.1.
fn scheme_of(text: &str) -> Result<String, EndpointError> {
    let mut bytes = text.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(EndpointError::Scheme)
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), EndpointError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(inside) => {
            let end = inside.find(']').ok_or(EndpointError::Host)?;
            let (host, rest) = authority.split_at(end + 2);
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(EndpointError::Port),
            }
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    // RFC 3986, section 6.2.3: an empty port is the scheme's own.
    Ok((host, port.filter(|port| !port.is_empty())))
}

fn port_of(text: &str) -> Result<u16, EndpointError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EndpointError::Port);
    }
    text.parse().ok().filter(|port| *port != 0).ok_or(EndpointError::Port)
}

/// Lengths as in RFC 1035, section 2.3.4; the underscore, which names of services have, is let through.
fn host_of(text: &str) -> Result<String, EndpointError> {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_malformed| EndpointError::Host)?;
        return Ok(format!("[{address}]"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() <= 253 && name.split('.').all(label) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(EndpointError::Host)
    }
}

// === impl EndpointError ===

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserInfo => "an endpoint must not hold a user name or a password",
            Self::Scheme => "the scheme of the endpoint is none",
            Self::Host => "the host of the endpoint is missing or malformed",
            Self::Port => "the port of the endpoint is not a number from 1 to 65535",
            Self::NoPort => "the endpoint has no port, and its scheme has none of its own",
        })
    }
}

impl Error for EndpointError {}
