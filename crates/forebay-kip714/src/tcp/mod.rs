//! A connection of its own to the brokers.

mod builder;
mod connection;
mod error;
mod frame;
mod sasl;
mod scram;
mod stream;
mod transport;
mod versions;
mod worker;

pub use self::{
    builder::TcpBuilder,
    error::{TransportError, Trouble},
    sasl::Sasl,
    transport::{ResponseFuture, TcpTransport},
};

/// What a fuzzer feeds: the answers of a broker, as they come off the wire. Not part of the API.
#[doc(hidden)]
pub mod fuzzing {
    /// Decodes `bytes` as every answer there is, and says how many were one.
    #[must_use]
    pub fn decode_all(bytes: &[u8]) -> usize {
        super::frame::decode_all(bytes)
    }
}
