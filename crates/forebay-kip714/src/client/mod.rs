//! The client: a session driven on tokio.

mod builder;
mod driver;
mod event;
mod handle;
mod shared;

#[cfg(feature = "collect")]
pub(crate) use self::builder::wall_clock;
pub use self::{
    builder::ClientBuilder,
    event::{ClientEvent, PushSize},
    handle::Kip714Client,
    shared::{Counters, Report, Status},
};
