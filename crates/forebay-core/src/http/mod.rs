//! What an HTTP result means: status codes, `Retry-After`, and the errors of a client.

mod authority;
mod by_extension;
mod classifier;
mod error;
mod footprint;
mod preset;
mod respond;
mod retry_after;
mod status_set;

pub use self::{
    authority::authority,
    by_extension::ByExtension,
    classifier::Classifier,
    error::{StatusError, is_name_not_found},
    preset::Preset,
    respond::{Reply, respond},
    retry_after::{parse_retry_after, retry_after},
};
