use forebay_core::{Advice, ConfigError, DropReason, Seen, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::{error::Error, fmt, sync::Arc, time::Duration};

/// The credential of a request: one header, whose value is never printed.
///
/// ```
/// use forebay_export::Credential;
///
/// let credential = Credential::bearer("hunter2").unwrap();
/// assert_eq!(format!("{credential:?}"), "Credential(authorization)");
/// ```
#[derive(Clone)]
pub struct Credential {
    header: Arc<(HeaderName, HeaderValue)>,
    valid_for: Option<Duration>,
}

/// There is no credential to send a request with.
///
/// The request was not sent. The source is a [`Verdict`], whose source is the error of the provider.
#[derive(Clone, Debug)]
pub struct NoCredential {
    verdict: Verdict,
}

// === impl Credential ===

impl Credential {
    /// `Authorization: Bearer <token>`
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the token has characters that a header cannot have; it does not show the token.
    pub fn bearer(token: &str) -> Result<Self, ConfigError> {
        Self::header(header::AUTHORIZATION, format!("Bearer {token}"))
    }

    /// A credential that is this header.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when name or value cannot be that of a header; it shows neither.
    pub fn header<N, V>(name: N, value: V) -> Result<Self, ConfigError>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let (name, value) = header_of("credential", name, value)?;
        Ok(Self { header: Arc::new((name, value)), valid_for: None })
    }

    /// Sets how long the credential is valid from now on; it is replaced a little earlier. Without this it is valid until the
    /// server refuses it.
    #[must_use]
    pub fn valid_for(mut self, time: Duration) -> Self {
        self.valid_for = Some(time);
        self
    }

    pub(crate) fn validity(&self) -> Option<Duration> {
        self.valid_for
    }

    /// Whether both are clones of one credential.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.header, &other.header)
    }

    pub(crate) fn put_into(&self, headers: &mut HeaderMap) {
        let (name, value) = &*self.header;
        headers.insert(name.clone(), value.clone());
    }
}

/// A header whose value is treated as a secret. An error shows neither name nor value, so that a call that confuses the two
/// leaves no secret in a log.
pub(crate) fn header_of<N, V>(knob: &'static str, name: N, value: V) -> Result<(HeaderName, HeaderValue), ConfigError>
where
    N: TryInto<HeaderName>,
    V: TryInto<HeaderValue>,
{
    let refuse = |what| ConfigError::new(knob, what, "a name and a value as HTTP has them (RFC 9110, 5)");
    let name = name.try_into().map_err(|_secret| refuse("a name that cannot be one"))?;
    let mut value = value.try_into().map_err(|_secret| refuse("a value that cannot be one"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// A header of every request, like [`header_of`]. The headers that describe the body belong to the exporter.
pub(crate) fn request_header_of<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), ConfigError>
where
    N: TryInto<HeaderName>,
    V: TryInto<HeaderValue>,
{
    const OWN: [HeaderName; 7] = [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
    ];
    let (name, value) = header_of("header", name, value)?;
    if OWN.contains(&name) || name.as_str().starts_with("grpc-") {
        return Err(ConfigError::new("header", name, "headers that the exporter or the client does not write itself"));
    }
    Ok((name, value))
}

/// Whether a header is a credential, judged by its name: `authorization`, `x-api-key`, `dd-api-key`, `x-honeycomb-team` and the
/// like. A credential is not sent over plain `http` to another machine unless that is allowed.
pub(crate) fn is_credential(name: &HeaderName) -> bool {
    const PARTS: [&str; 12] = [
        "auth",
        "key",
        "token",
        "secret",
        "passw",
        "credential",
        "cookie",
        "session",
        "signature",
        "jwt",
        "bearer",
        "honeycomb-team",
    ];
    PARTS.iter().any(|part| name.as_str().contains(part))
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.header.0)
    }
}

// === impl NoCredential ===

impl NoCredential {
    pub(crate) fn new(cause: impl Error + Send + Sync + 'static) -> Self {
        Self { verdict: Verdict::new(DropReason::Failed, Seen::No, Advice::Retry).caused_by(cause) }
    }
}

impl fmt::Display for NoCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no credential to send the request with")
    }
}

impl Error for NoCredential {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
