//! `OAUTHBEARER` as of RFC 7628 and KIP-255: the side of the client.

use super::error::TransportError;
use bytes::Bytes;
use forebay_core::{
    BoxError, ConfigError,
    panic::{catch, catch_poll, discard},
};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

/// A token of OAuth 2, with what is to be sent beside it. It is never printed.
#[derive(Clone)]
pub struct OAuthToken {
    /// The first message of the exchange, which holds the token and the extensions.
    message: Vec<u8>,
    valid_for: Option<Duration>,
}

/// Fetches a token when a connection is opened.
pub(super) type Provider = Arc<dyn Fn() -> Fetch + Send + Sync>;

type Fetch = Pin<Box<dyn Future<Output = Result<OAuthToken, BoxError>> + Send>>;

/// A fetch that may be given up: it is user code, and so is its `Drop`.
struct Fetching(Option<Fetch>);

/// One exchange.
pub(super) struct Exchange {
    valid_for: Option<Duration>,
    /// Why the broker refuses the token, as a JSON text; it stays with the refusal that follows.
    refusal: Option<String>,
}

/// Separates the parts of a message, and ends it.
const SEPARATOR: u8 = 0x01;

/// How much is kept of what a broker says about a token that it refuses.
const MAX_REFUSAL: usize = 256;

// === impl OAuthToken ===

impl OAuthToken {
    /// This token, without an end that is known here.
    ///
    /// # Errors
    ///
    /// When it is empty, or has a character that no bearer token has (RFC 6750, 2.1: visible ASCII). The error does not show it.
    pub fn new(token: &str) -> Result<Self, ConfigError> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new("token", "not a token", "visible ASCII, one character at least"));
        }
        // The header `n,,` says that there is neither channel binding nor another identity.
        let mut message = b"n,,\x01auth=Bearer ".to_vec();
        message.extend_from_slice(token.as_bytes());
        message.extend([SEPARATOR, SEPARATOR]);
        Ok(Self { message, valid_for: None })
    }

    /// How long the token is valid from now on. A connection is replaced, with a new token, when 85 % of that time are over.
    #[must_use]
    pub fn valid_for(mut self, time: Duration) -> Self {
        self.valid_for = Some(time);
        self
    }

    /// Adds an extension (KIP-342), such as the `logicalCluster` that some services ask for.
    ///
    /// # Errors
    ///
    /// When the name is not letters only or is `auth`, or the value is empty or not visible ASCII with blanks.
    pub fn extension(mut self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let is_name = !name.is_empty() && name != "auth" && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        if !is_name {
            return Err(ConfigError::new("extension", format_args!("{name:?}"), "letters, and not `auth`"));
        }
        let is_value = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !is_value {
            return Err(ConfigError::new(
                "extension",
                format_args!("a value of {name:?}"),
                "visible ASCII and blanks, one character at least",
            ));
        }
        // Before the last separator, which ends the message.
        self.message.pop();
        self.message.extend_from_slice(name.as_bytes());
        self.message.push(b'=');
        self.message.extend_from_slice(value.as_bytes());
        self.message.extend([SEPARATOR, SEPARATOR]);
        Ok(self)
    }
}

impl fmt::Debug for OAuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthToken").field("valid_for", &self.valid_for).finish_non_exhaustive()
    }
}

// === impl Fetching ===

impl Drop for Fetching {
    fn drop(&mut self) {
        discard(self.0.take());
    }
}

// === impl Exchange ===

impl Exchange {
    /// Asks the provider for a token; the first message of the exchange has it. A panic of the provider is its failure.
    pub(super) async fn begin(provider: &Provider) -> Result<(Bytes, Self), TransportError> {
        let failed = |why: String| TransportError::authentication(format!("no token could be had: {why}"));
        let fetching = catch(|| provider()).map_err(|panic| failed(panic.to_string()))?;
        // CANCEL: dropped with the attempt to connect, the fetch ends too.
        let mut fetching = Fetching(Some(fetching));
        let fetched = poll_fn(|cx| catch_poll(Pin::new(&mut fetching.0), cx)).await;
        let fetched = fetched.map_err(|panic| failed(panic.to_string()))?;
        // The text of the provider's error is user code; it may hold no secret, as every error that is shown.
        let fetched = fetched.map_err(|error| {
            let text = catch(|| error.to_string());
            discard(error);
            failed(text.unwrap_or_else(|_panic| "the text of the error panicked".to_owned()))
        });
        let OAuthToken { message, valid_for } = fetched?;
        Ok((message.into(), Self { valid_for, refusal: None }))
    }

    pub(super) fn valid_for(&self) -> Option<Duration> {
        self.valid_for
    }

    /// The next message after one of the broker. An empty one is consent; any other says why the token is refused, and is
    /// confirmed by a separator alone (RFC 7628, 3.2.3), upon which the broker ends the exchange with an error.
    pub(super) fn step(&mut self, message: &[u8]) -> Result<Option<Bytes>, TransportError> {
        if message.is_empty() && self.refusal.is_none() {
            return Ok(None);
        }
        if self.refusal.is_some() {
            return Err(self.refused(String::new()));
        }
        let text = String::from_utf8_lossy(&message[..message.len().min(MAX_REFUSAL)]);
        self.refusal = Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
        Ok(Some(Bytes::from_static(&[SEPARATOR])))
    }

    /// The broker ended the exchange with this message; what it said about the token before is more precise.
    pub(super) fn refused(&mut self, message: String) -> TransportError {
        TransportError::authentication(self.refusal.take().unwrap_or(message))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("valid_for", &self.valid_for).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of RFC 7628, 3.1, without an identity and a host, as KIP-255 has it.
    #[test]
    fn the_message_is_that_of_the_rfc() {
        let token = OAuthToken::new("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==").unwrap();
        assert_eq!(token.message, b"n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01");
        let token = token.extension("logicalCluster", "lkc-1 a").unwrap().extension("b", "2").unwrap();
        let expected =
            b"n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01logicalCluster=lkc-1 a\x01b=2\x01\x01";
        assert_eq!(token.message, expected);
    }

    #[test]
    fn what_would_break_the_message_is_refused_and_no_token_is_shown() {
        for bad in ["", "a b", "s3cret\x01x=y", "t\n", "\u{e9}"] {
            let error = OAuthToken::new(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
        let token = OAuthToken::new("s3cret").unwrap();
        for (name, value) in [("", "x"), ("auth", "x"), ("a=b", "x"), ("a1", "x"), ("a", ""), ("a", "x\x01y")] {
            assert!(token.clone().extension(name, value).is_err(), "{name:?} {value:?}");
        }
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    #[test]
    fn a_refusal_is_confirmed_and_then_said() {
        let mut exchange = Exchange { valid_for: None, refusal: None };
        let confirmed = exchange.step(br#"{"status":"invalid_token"}"#).unwrap().unwrap();
        assert_eq!(&confirmed[..], b"\x01");
        let error = exchange.refused("authentication failed".to_owned());
        assert!(error.to_string().contains("invalid_token"), "{error}");
        let mut exchange = Exchange { valid_for: None, refusal: None };
        assert_eq!(exchange.step(b"").unwrap(), None);
    }
}
