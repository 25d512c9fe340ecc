//! What a client and a broker see of a session, by subject.

#[cfg(all(feature = "gzip", feature = "lz4", feature = "snappy", feature = "tcp", feature = "zstd"))]
mod broker;
mod client;
#[cfg(feature = "tcp")]
mod fuzz_corpus;
#[cfg(feature = "tcp")]
mod laws;
#[cfg(feature = "tcp")]
mod oauth;
mod session;
#[cfg(feature = "tls")]
mod tls;
