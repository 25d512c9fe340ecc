use crate::{Endpoint, addresses::is_public};
use forebay_core::{Advice, BoxError, ConfigError, DropReason, Seen, Verdict};
use http::uri::Scheme;
use pin_project_lite::pin_project;
use std::{
    error::Error,
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// Checks an endpoint that a server, and not the application, has named.
///
/// An attacker who can choose where a program sends its telemetry and its credential must not be able to name the machine
/// itself, its neighbours, or the metadata service of a cloud. A name is checked twice: as it is written, and, with
/// [`resolver`](Self::resolver), by the addresses that it has at each connection.
///
/// | | refused, unless allowed |
/// | --- | --- |
/// | scheme | all but `https`; [`allow_plaintext`](Self::allow_plaintext) |
/// | text | control characters, white space, what is not ASCII, `\`, `%` in the host, user names, queries, `//` in the path |
/// | names | `localhost`, `*.localhost`, `*.local`, `*.internal`, `metadata` and the like, names without a dot, numbers that are no plain address; [`allow_private`](Self::allow_private) |
/// | addresses | this machine, private, link-local, shared, multicast, reserved and documentation ranges, in IPv4, in IPv6 and as IPv4 inside IPv6; [`allow_private`](Self::allow_private) |
///
/// ```
/// use forebay_export::EndpointGuard;
///
/// let guard = EndpointGuard::new().only_under("example.com");
/// assert!(guard.check("https://otel.example.com/v1/logs").is_ok());
/// assert!(guard.check("https://169.254.169.254/latest/meta-data").is_err());
/// assert!(guard.check("https://example.com.evil.example/").is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct EndpointGuard {
    plaintext: bool,
    private: bool,
    under: Vec<String>,
}

/// A resolver of names that withholds the addresses which an [`EndpointGuard`] refuses.
///
/// It is a service over any service whose response is an iterator of [`SocketAddr`], as a resolver of hyper-util is.
#[derive(Clone, Debug)]
pub struct GuardedResolver<R> {
    inner: R,
    guard: EndpointGuard,
}

/// An [`EndpointGuard`] refused all addresses of a name. Nothing was sent.
#[derive(Clone, Debug)]
pub struct AddressRefused {
    verdict: Verdict,
}

pin_project! {
    /// The future of [`GuardedResolver`].
    #[derive(Debug)]
    pub struct Resolving<F> {
        #[pin]
        resolving: F,
        guard: EndpointGuard,
    }
}

// === impl EndpointGuard ===

impl EndpointGuard {
    /// A guard that allows only `https` to public addresses.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows plain `http`.
    #[must_use]
    pub fn allow_plaintext(mut self) -> Self {
        self.plaintext = true;
        self
    }

    /// Allows names and addresses that are not public: for tests, and for servers in a private network.
    #[must_use]
    pub fn allow_private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Allows only `domain` and the names under it. Several calls allow several domains.
    #[must_use]
    pub fn only_under(mut self, domain: &str) -> Self {
        self.under.push(domain.trim_matches('.').to_ascii_lowercase());
        self
    }

    /// The endpoint that `url` names.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when it is no endpoint, or when the table above refuses it.
    pub fn check(&self, url: &str) -> Result<Endpoint, ConfigError> {
        let refuse = |allowed: &str| Err(ConfigError::new("server endpoint", format!("{:.200?}", shown(url)), allowed));
        if url.chars().any(|char| !char.is_ascii_graphic() || matches!(char, '\\' | '"' | '<' | '>' | '^' | '`')) {
            return refuse("a URL of visible ASCII");
        }
        if url.contains(['?', '#']) {
            return refuse("a URL without query and fragment");
        }
        let endpoint: Endpoint = url.parse()?;
        let uri = endpoint.uri();
        if uri.scheme() != Some(&Scheme::HTTPS) && !self.plaintext {
            return refuse("an https URL");
        }
        if uri.path().contains("//") || uri.path().split('/').any(|segment| matches!(segment, "." | "..")) {
            return refuse("a URL with a plain path");
        }
        match self.check_host(uri.host().unwrap_or_default()) {
            Ok(()) => Ok(endpoint),
            Err(allowed) => refuse(allowed),
        }
    }

    /// Whether this host is allowed: a name as it is written, or an address.
    ///
    /// ```
    /// use forebay_export::EndpointGuard;
    ///
    /// let guard = EndpointGuard::new();
    /// assert!(guard.allows_host("otel.example.com"));
    /// assert!(!guard.allows_host("metadata.google.internal") && !guard.allows_host("[2002:7f00:1::]"));
    /// ```
    #[must_use]
    pub fn allows_host(&self, host: &str) -> bool {
        self.check_host(host).is_ok()
    }

    fn check_host(&self, host: &str) -> Result<(), &'static str> {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let is_under = |domain: &String| {
            host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if !self.under.is_empty() && !self.under.iter().any(is_under) {
            return Err("a host under the domains that are allowed");
        }
        if self.private {
            return Ok(());
        }
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            return if is_public(address) { Ok(()) } else { Err("a public address") };
        }
        // A C library reads these as addresses: `127.1`, `0x7f.1`, `2130706433`.
        let last = host.rsplit('.').next().unwrap_or_default();
        if last.is_empty() || last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("a name, or an address in its plain form");
        }
        if host.contains(['%', '[', ']', ':']) || !host.contains('.') {
            return Err("a name with a dot in it");
        }
        // This name looks public, and is that of a cloud's metadata service.
        if host == "metadata.azure.com" {
            return Err("a public name");
        }
        if ["localhost", "local", "internal", "localdomain", "home", "lan", "corp"].contains(&last) {
            return Err("a public name");
        }
        Ok(())
    }

    /// Whether a connection to `address` is allowed.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.private || is_public(address)
    }

    /// Puts the guard around the resolver of a client, so that an allowed name cannot resolve to a private address later.
    #[must_use]
    pub fn resolver<R>(&self, inner: R) -> GuardedResolver<R> {
        GuardedResolver { inner, guard: self.clone() }
    }
}

/// A refused URL without the parts that may be secret.
fn shown(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}

// === impl GuardedResolver ===

impl<R, Name, Addresses> Service<Name> for GuardedResolver<R>
where
    R: Service<Name, Response = Addresses>,
    R::Error: Into<BoxError>,
    Addresses: Iterator<Item = SocketAddr>,
{
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Resolving<R::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Resolving { resolving: self.inner.call(name), guard: self.guard.clone() }
    }
}

// === impl Resolving ===

impl<F, Addresses, E> Future for Resolving<F>
where
    F: Future<Output = Result<Addresses, E>>,
    E: Into<BoxError>,
    Addresses: Iterator<Item = SocketAddr>,
{
    type Output = Result<std::vec::IntoIter<SocketAddr>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let addresses = ready!(this.resolving.poll(cx)).map_err(Into::into)?;
        // The check is at the connection, not at the configuration: a name may resolve to another address each time.
        let allowed: Vec<_> = addresses.filter(|address| this.guard.allows(address.ip())).collect();
        Poll::Ready(if allowed.is_empty() { Err(AddressRefused::new().into()) } else { Ok(allowed.into_iter()) })
    }
}

// === impl AddressRefused ===

impl AddressRefused {
    fn new() -> Self {
        Self { verdict: Verdict::new(DropReason::Failed, Seen::No, Advice::Never) }
    }
}

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no address that may be connected to")
    }
}

impl Error for AddressRefused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::{ServiceExt, service_fn};

    #[test]
    fn x06_nothing_that_is_not_public_passes() {
        let guard = EndpointGuard::new();
        for url in [
            "http://example.com/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://printer.local/",
            "https://metadata.google.internal/",
            "https://metadata.azure.com/",
            "https://metadata/",
            "https://intranet/",
            "https://127.0.0.1/",
            "https://127.0.0.1./",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://0.0.0.0/",
            "https://10.1.2.3/",
            "https://100.100.100.200/",
            "https://169.254.169.254/latest/meta-data",
            "https://172.16.0.1/",
            "https://172.31.255.255/",
            "https://192.168.1.1/",
            "https://192.0.0.192/",
            "https://168.63.129.16/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::]/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[2002:7f00:1::]/",
            "https://[2001:0:1::]/",
            "https://[fe80::1]/",
            "https://[fd00:ec2::254]/",
            "https://[ff02::1]/",
            "https://[2001:db8::1]/",
            "https://user:hunter2@example.com/",
            "https://example.com\\@127.0.0.1/",
            "https://example.com/a//b",
            "https://example.com/../x",
            "https://example.com/?token=hunter2",
            "https://example.com/#x",
            "https://exa mple.com/",
            "https://example.com/\r\nhost: a",
            "https://example.com/\u{200b}",
            "https://ex\u{430}mple.com/",
            "https://%31%32%37.0.0.1/",
            "//example.com/",
            "",
        ] {
            let error = guard.check(url).map(|endpoint| endpoint.to_string()).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2") && !text.contains(['\r', '\n', '\u{200b}']), "{text}");
        }
        for url in [
            "https://example.com",
            "https://otel.example.com:4318/v1/logs",
            "https://8.8.8.8/",
            "https://172.32.0.1/",
            "https://[2606:4700::1111]/",
            "https://[::ffff:8.8.8.8]/",
        ] {
            assert!(guard.check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn x06_what_is_allowed_passes_and_no_more() {
        let private = EndpointGuard::new().allow_private().allow_plaintext();
        assert!(private.check("http://127.0.0.1:4318/v1/logs").is_ok());
        assert!(private.check("http://user@127.0.0.1/").is_err());
        let under = EndpointGuard::new().only_under("example.com");
        assert!(under.check("https://example.com/").is_ok() && under.check("https://a.EXAMPLE.com/").is_ok());
        for url in ["https://notexample.com/", "https://example.com.evil.org/", "https://example.org/"] {
            assert!(under.check(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn x06_a_name_that_turns_to_a_private_address_is_not_connected_to() {
        let resolver = |addresses: &'static [&str]| {
            let inner = service_fn(move |_: &'static str| async move {
                Ok::<_, BoxError>(addresses.iter().map(|address| address.parse::<SocketAddr>().unwrap()))
            });
            EndpointGuard::new().resolver(inner)
        };
        let rebound = resolver(&["127.0.0.1:443", "[::1]:443"]).oneshot("rebind.example.com").await.unwrap_err();
        assert!(forebay_core::is_caused_by::<AddressRefused>(&*rebound));
        forebay_testkit::laws::error_chain_has_one_link_per_sentence(&AddressRefused::new());
        let mixed = resolver(&["10.0.0.1:443", "8.8.8.8:443"]).oneshot("mixed.example.com").await.unwrap();
        assert_eq!(mixed.map(|address| address.to_string()).collect::<Vec<_>>(), ["8.8.8.8:443"]);
    }
}
