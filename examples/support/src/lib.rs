//! What several of the examples share, each small enough to be read beside them.

pub mod client;
#[cfg(feature = "load")]
pub mod load;
#[cfg(feature = "server")]
pub mod server;
pub mod stop;
#[cfg(feature = "story")]
pub mod story;
#[cfg(feature = "tls")]
pub mod tls;
pub mod usage;
