use forebay_core::ConfigError;
use http::{Uri, uri::Scheme};
use std::fmt;

/// The URL that an exporter sends to: an absolute `http` or `https` URL.
///
/// It must come from the application. A user name or password in it is refused, because it would end up in logs; a credential
/// belongs in a header. `Display` leaves the query out.
///
/// ```
/// use forebay_export::Endpoint;
///
/// let endpoint: Endpoint = "https://collector.example:4318/v1/logs?token=abc".parse().unwrap();
/// assert_eq!(endpoint.to_string(), "https://collector.example:4318/v1/logs");
/// assert!("collector.example:4318".parse::<Endpoint>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

// === impl Endpoint ===

impl Endpoint {
    /// The URL.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether requests can be read on the way: plain `http` to another machine.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTP) && !self.is_loopback()
    }

    /// The URL with `path` appended to its own, as the base URL of several signals is extended. Its query stays.
    ///
    /// ```
    /// use forebay_export::Endpoint;
    ///
    /// let base: Endpoint = "http://collector.example:4318/otlp?token=abc".parse().unwrap();
    /// let logs = base.extended("/v1/logs").unwrap();
    /// assert_eq!(logs.uri(), "http://collector.example:4318/otlp/v1/logs?token=abc");
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when `path` cannot be part of a URL.
    pub fn extended(&self, path: &str) -> Result<Self, ConfigError> {
        let wrong = |_why| ConfigError::new("endpoint", self, "a URL to which the path of a signal can be appended");
        let path = format!("{}/{}", self.0.path().trim_end_matches('/'), path.trim_start_matches('/'));
        let path_and_query = match self.0.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(path_and_query.parse().map_err(wrong)?);
        let allowed = "a URL to which the path of a signal can be appended";
        Ok(Self(Uri::from_parts(parts).map_err(|_why| ConfigError::new("endpoint", self, allowed))?))
    }

    /// The URL with `method` appended to its path, unless the path ends in it already.
    pub(crate) fn with_method(&self, method: &str) -> Result<Uri, ConfigError> {
        if self.0.query().is_some() {
            return Err(ConfigError::new(
                "endpoint",
                self,
                "a URL without a query: gRPC names a method by its path alone",
            ));
        }
        let base = self.0.path().trim_end_matches('/');
        let path = if base.ends_with(method) { base.to_owned() } else { format!("{base}{method}") };
        let mut parts = self.0.clone().into_parts();
        let allowed = "an http or https URL to which the method of a gRPC service can be appended";
        parts.path_and_query = Some(path.parse().map_err(|_why| ConfigError::new("endpoint", self, allowed))?);
        Uri::from_parts(parts).map_err(|_why| ConfigError::new("endpoint", self, allowed))
    }

    fn is_loopback(&self) -> bool {
        let host = self.0.host().unwrap_or_default().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn refuse(given: &str, allowed: &str) -> ConfigError {
        ConfigError::new("endpoint", Redacted(given), allowed)
    }
}

impl std::str::FromStr for Endpoint {
    type Err = ConfigError;

    /// # Errors
    ///
    /// Returns a [`ConfigError`] when it is no absolute `http` or `https` URL, has no host, or has a user name or password.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        // A URL has no other characters (RFC 3986), though a parser may accept them; a terminal would obey them in a log.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Self::refuse(text, "a URL of visible ASCII, with all else percent-encoded"));
        }
        if text.contains('#') {
            return Err(Self::refuse(text, "a URL without a fragment (`#`): it is never sent to a server"));
        }
        let uri: Uri =
            text.parse().map_err(|invalid| Self::refuse(text, &format!("an http or https URL ({invalid})")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(Self::refuse(text, "an absolute URL that begins with http:// or https://"));
        }
        let Some(authority) = uri.authority() else {
            return Err(Self::refuse(text, "an http or https URL with a host"));
        };
        if authority.as_str().contains('@') {
            return Err(Self::refuse(text, "a URL without user name and password; put them into a header"));
        }
        if authority.host().is_empty() {
            return Err(Self::refuse(text, "an http or https URL with a host"));
        }
        let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !after_host.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(Self::refuse(text, "a URL whose port is a number from 1 to 65535"));
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or("http");
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// A refused URL without the parts that may be secret.
struct Redacted<'a>(&'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let separator = if scheme.is_empty() { "" } else { "://" };
        // Control characters of a value from the environment must not reach a terminal.
        write!(f, "`{}{separator}{}`", scheme.escape_debug(), rest.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Endpoint, ConfigError> {
        text.parse()
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        for text in [
            "http://a/\u{9e}",
            "http://a/ b",
            "http://a/\n",
            "",
            "/v1/logs",
            "collector:4318",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://a:0/",
            "http://a:99999/",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.knob(), "endpoint", "{text:?}");
        }
        assert!(parse("http://[::1]:4318/v1/logs").is_ok());
        assert!(parse("https://a").is_ok());
    }

    #[test]
    fn x04_nothing_secret_of_a_refused_url_is_shown() {
        let error = parse("https://user:hunter2@collector.example/?token=hunter3\u{1b}[2J").unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn plain_http_is_exposed_except_on_this_machine() {
        let exposed = |text: &str| parse(text).unwrap().is_exposed();
        assert!(exposed("http://collector.example/"));
        assert!(exposed("http://10.0.0.1/"));
        assert!(!exposed("https://collector.example/"));
        for local in ["http://localhost:4318/", "http://LOCALHOST/", "http://127.0.0.9/", "http://[::1]:1/"] {
            assert!(!exposed(local), "{local}");
        }
    }
}
