use super::scram::{self, Hash};
use crate::tcp::error::TransportError;
use bytes::Bytes;
use std::fmt;

/// How a client proves who it is to a broker that asks for it.
///
/// The password is nowhere printed.
#[derive(Clone)]
pub struct Sasl {
    pub(super) mechanism: Mechanism,
    pub(super) user: String,
    pub(super) password: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    Scram(Hash),
}

/// One way through the exchange of tokens.
#[derive(Debug)]
pub(super) enum Exchange {
    Plain,
    Scram(scram::Exchange),
}

// === impl Sasl ===

impl Sasl {
    /// `PLAIN`: the password as it is; over TLS only, unless the network is trusted.
    pub fn plain(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::new(Mechanism::Plain, user, password)
    }

    /// `SCRAM-SHA-256`: the password does not travel, and the broker proves that it knows it too.
    pub fn scram_sha_256(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::new(Mechanism::Scram(Hash::Sha256), user, password)
    }

    /// `SCRAM-SHA-512`.
    pub fn scram_sha_512(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::new(Mechanism::Scram(Hash::Sha512), user, password)
    }

    fn new(mechanism: Mechanism, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { mechanism, user: user.into(), password: password.into() }
    }

    pub(super) fn mechanism_name(&self) -> &'static str {
        match self.mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(Hash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(Hash::Sha512) => "SCRAM-SHA-512",
        }
    }

    /// The first token, and what is to follow.
    pub(super) fn begin(&self) -> Result<(Bytes, Exchange), TransportError> {
        match self.mechanism {
            Mechanism::Plain => {
                let token = format!("\0{}\0{}", self.user, self.password);
                Ok((token.into_bytes().into(), Exchange::Plain))
            }
            Mechanism::Scram(hash) => {
                let nonce = scram::nonce()?;
                let exchange = scram::Exchange::new(hash, &self.user, &self.password, nonce);
                Ok((exchange.first().into_bytes().into(), Exchange::Scram(exchange)))
            }
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism_name())
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

// === impl Exchange ===

impl Exchange {
    /// The next token after one from the broker; `None` when both are satisfied.
    pub(super) fn step(&mut self, token: &[u8]) -> Result<Option<Bytes>, TransportError> {
        match self {
            Self::Plain => Ok(None),
            Self::Scram(exchange) => exchange.step(token),
        }
    }
}
