use super::{
    oauth::{self, OAuthToken, Provider},
    scram::{self, Hash},
};
use crate::tcp::error::TransportError;
use bytes::Bytes;
use forebay_core::BoxError;
use std::{fmt, future::Future, sync::Arc, time::Duration};

/// How a client proves who it is to a broker that asks for it.
///
/// Neither a password nor a token is ever printed.
#[derive(Clone)]
pub struct Sasl(Mechanism);

#[derive(Clone)]
enum Mechanism {
    Plain { user: String, password: String },
    Scram { hash: Hash, user: String, password: String },
    OAuthBearer(Provider),
}

/// One way through the exchange of messages.
#[derive(Debug)]
pub(super) enum Exchange {
    Plain,
    Scram(scram::Exchange),
    OAuthBearer(oauth::Exchange),
}

// === impl Sasl ===

impl Sasl {
    /// `PLAIN`: the password as it is; over TLS only, unless the network is trusted.
    pub fn plain(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Mechanism::Plain { user: user.into(), password: password.into() })
    }

    /// `SCRAM-SHA-256`: the password is not sent, and the broker proves that it knows it too.
    pub fn scram_sha_256(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Mechanism::Scram { hash: Hash::Sha256, user: user.into(), password: password.into() })
    }

    /// `SCRAM-SHA-512`.
    pub fn scram_sha_512(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Mechanism::Scram { hash: Hash::Sha512, user: user.into(), password: password.into() })
    }

    /// `OAUTHBEARER`: the token that `provider` returns; over TLS only, unless the network is trusted.
    ///
    /// The provider is asked once for each connection, within the transport's `connect_timeout`, on the task of the transport. A
    /// client has one connection, and opens another one when that fails, when the broker wants the credentials again, and when
    /// 85 % of the time of a token are over. Where many clients share a token endpoint, keep the token:
    /// `forebay_cached::Cached::credentials` fetches one ahead of its end, and once for all. An error and a panic of the provider
    /// fail the attempt to connect; the text of the error is in the `TransportError`.
    ///
    /// ```
    /// use forebay_core::BoxError;
    /// use forebay_kip714::tcp::{OAuthToken, Sasl};
    /// use std::time::Duration;
    ///
    /// # async fn log_in() -> Result<(String, u64), BoxError> { Ok(("eyJh".to_owned(), 3600)) }
    /// let sasl = Sasl::oauth_bearer(|| async {
    ///     let (token, expires_in) = log_in().await?;
    ///     Ok::<_, BoxError>(OAuthToken::new(&token)?.valid_for(Duration::from_secs(expires_in)))
    /// });
    /// ```
    pub fn oauth_bearer<F, Fut, E>(provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<OAuthToken, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Mechanism::OAuthBearer(Arc::new(move || {
            let fetching = provider();
            Box::pin(async move { fetching.await.map_err(Into::into) })
        })))
    }

    pub(super) fn mechanism_name(&self) -> &'static str {
        match &self.0 {
            Mechanism::Plain { .. } => "PLAIN",
            Mechanism::Scram { hash: Hash::Sha256, .. } => "SCRAM-SHA-256",
            Mechanism::Scram { hash: Hash::Sha512, .. } => "SCRAM-SHA-512",
            Mechanism::OAuthBearer(_) => "OAUTHBEARER",
        }
    }

    /// The first message, and what is to follow.
    pub(super) async fn begin(&self) -> Result<(Bytes, Exchange), TransportError> {
        match &self.0 {
            Mechanism::Plain { user, password } => {
                let message = format!("\0{user}\0{password}");
                Ok((message.into_bytes().into(), Exchange::Plain))
            }
            Mechanism::Scram { hash, user, password } => {
                let nonce = scram::nonce()?;
                let exchange = scram::Exchange::new(*hash, user, password, nonce);
                Ok((exchange.first().into_bytes().into(), Exchange::Scram(exchange)))
            }
            Mechanism::OAuthBearer(provider) => {
                let (message, exchange) = oauth::Exchange::begin(provider).await?;
                Ok((message, Exchange::OAuthBearer(exchange)))
            }
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Sasl");
        shown.field("mechanism", &self.mechanism_name());
        match &self.0 {
            Mechanism::Plain { user, .. } | Mechanism::Scram { user, .. } => shown.field("user", user),
            Mechanism::OAuthBearer(_) => &mut shown,
        };
        shown.finish_non_exhaustive()
    }
}

// === impl Exchange ===

impl Exchange {
    /// The next message after one from the broker; `None` when both are satisfied.
    pub(super) fn step(&mut self, message: &[u8]) -> Result<Option<Bytes>, TransportError> {
        match self {
            Self::Plain => Ok(None),
            Self::Scram(exchange) => exchange.step(message),
            Self::OAuthBearer(exchange) => exchange.step(message),
        }
    }

    /// How long the credentials are valid, where they themselves say so.
    pub(super) fn valid_for(&self) -> Option<Duration> {
        match self {
            Self::Plain | Self::Scram(_) => None,
            Self::OAuthBearer(exchange) => exchange.valid_for(),
        }
    }

    /// The broker ended the exchange with this message.
    pub(super) fn refused(&mut self, message: String) -> TransportError {
        match self {
            Self::Plain | Self::Scram(_) => TransportError::authentication(message),
            Self::OAuthBearer(exchange) => exchange.refused(message),
        }
    }
}
