//! What an HTTP result means: status codes, `Retry-After`, and the errors of a client.

mod authority;
mod by_extension;
mod classifier;
mod error;
mod footprint;
mod preset;
#[cfg(all(feature = "reqwest", not(target_family = "wasm")))]
mod reqwest_client;
mod respond;
mod retry_after;
mod status_set;

#[cfg(all(feature = "reqwest", not(target_family = "wasm")))]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub use self::reqwest_client::{Reqwest, ReqwestFuture, reqwest_authority};
pub use self::{
    authority::authority,
    by_extension::ByExtension,
    classifier::Classifier,
    error::{StatusError, is_name_not_found},
    preset::Preset,
    respond::{Reply, respond},
    retry_after::{parse_retry_after, retry_after},
};
