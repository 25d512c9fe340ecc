//! What an HTTP result means: status codes, `Retry-After`, and the errors of a client.

mod authority;
mod classifier;
mod error;
mod footprint;
mod retry_after;

pub use self::{
    authority::authority,
    classifier::Classifier,
    error::{StatusError, is_name_not_found},
    retry_after::{parse_retry_after, retry_after},
};
