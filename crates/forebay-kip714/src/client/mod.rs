//! The client: a session driven on tokio.

mod builder;
mod driver;
mod event;
mod handle;
mod shared;

pub use self::{
    builder::ClientBuilder,
    event::{ClientEvent, PushSize},
    handle::Kip714Client,
    shared::{Counters, Report, Status},
};
