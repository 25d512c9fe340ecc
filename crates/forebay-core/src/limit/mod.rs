//! A limit on the requests in flight that tunes itself, as a layer for any service.
//!
//! [`LimitLayer`] takes the place of Tower's `ConcurrencyLimitLayer` where the number is not known: the [limiter](crate::adaptive)
//! finds it. A service is ready when one more request may be in flight, and the inner service is ready. Clones wait in line, and
//! share the limit.
//!
//! It belongs directly above the client, **below** a retry layer: each attempt is a sample, and the waits between attempts would
//! pass for a slow server above it.
//!
//! | question | answer |
//! | --- | --- |
//! | When is a place taken? | when `poll_ready` is ready: a service that is ready and not called holds one, as Tower's does |
//! | When is it given back? | when the future ends or is dropped, or the ready service is |
//! | What do clones share? | the limit, what is known of the server, and the line; never the readiness |
//! | Which errors does it add? | none: it waits |
//!
//! What lowers the limit is what the classifier calls [`Outcome::Retryable`](crate::Outcome::Retryable): by default each error whose
//! [`Verdict`](crate::Verdict) does not say that a retry is in vain. Where a 429 is a response, name it:
//!
//! ```
//! use forebay_core::{BoxError, Outcome, adaptive::Adaptive, limit::LimitLayer};
//! use std::time::Duration;
//! use tower::{Layer, Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! // A stand-in for an HTTP client, whose responses are status codes here.
//! let client = service_fn(|_request: u32| async {
//!     tokio::time::sleep(Duration::from_millis(80)).await;
//!     Ok::<u16, BoxError>(200)
//! });
//! let layer = LimitLayer::new(Adaptive::default()).classify(|result: &Result<u16, BoxError>| match result {
//!     Ok(429 | 503) | Err(_) => Outcome::RETRYABLE,
//!     Ok(_) => Outcome::Success,
//! });
//! let service = layer.layer(client);
//! assert_eq!(service.limit(), 1);
//!
//! let mut calls = tokio::task::JoinSet::new();
//! for request in 0..2000 {
//!     let mut service = service.clone();
//!     calls.spawn(async move { service.ready().await?.call(request).await });
//! }
//! while let Some(response) = calls.join_next().await {
//!     assert_eq!(response??, 200);
//! }
//! assert!(service.limit() > 16, "more in flight was worth it");
//! # Ok(())
//! # }
//! ```

mod layer;
mod service;

pub use self::{
    layer::LimitLayer,
    service::{Limit, ResponseFuture},
};
