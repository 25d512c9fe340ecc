//! A connection of its own to the brokers.

mod brokers;
mod builder;
mod connection;
mod error;
mod frame;
mod oauth;
mod sasl;
mod scram;
mod stream;
mod transport;
mod versions;
mod worker;

pub use self::{
    builder::TcpBuilder,
    error::{TransportError, Trouble},
    oauth::OAuthToken,
    sasl::Sasl,
    transport::{ResponseFuture, TcpTransport},
};

/// What a fuzzer feeds: the responses of a broker, as they are on the wire. Not part of the API.
#[doc(hidden)]
pub mod fuzzing {
    /// Decodes `bytes` as every response there is, and returns how many of them it was.
    #[must_use]
    pub fn decode_all(bytes: &[u8]) -> usize {
        super::frame::decode_all(bytes)
    }
}
