//! What a gRPC result means, without tonic: status codes, `RetryInfo`, pushback.

mod classifier;
mod code;
mod details;
mod trailers;

pub use self::{
    classifier::Classifier,
    code::Code,
    details::retry_delay,
    trailers::{Trailers, TrailersBody, TrailersFuture, TrailersLayer},
};

use crate::{
    RetryBuilder, RetryLayer,
    http::{Authority, HttpPolicy},
    policy::Keyed,
};
use http::{HeaderName, Method};
use tower_layer::Stack;

/// [`RetryLayer::grpc`]: a retry, and below it what moves a failure from trailers into the head.
pub type GrpcLayer<Kind> = Stack<TrailersLayer, RetryLayer<Classifier<Kind>, HttpPolicy, Keyed<Authority>>>;

// === impl RetryLayer ===

impl<Kind> RetryLayer<Classifier<Kind>, HttpPolicy, Keyed<Authority>> {
    /// Retries gRPC requests as the OpenTelemetry protocol demands, with the defaults of [`RetryBuilder`], and leaves a
    /// host alone that asks for it with `RetryInfo`.
    ///
    /// It stands on `http::Request`, below the generated client; the body must be `Clone`, as `Full<Bytes>` is, or
    /// [copied](RetryBuilder::copy_body). From the second attempt on, requests carry `grpc-previous-rpc-attempts`
    /// ([gRFC A6]). Every gRPC request is a POST, so the method says nothing: the code alone decides. See [`Classifier`]
    /// for what it can see there and what not. [`RetryBuilder::grpc`] changes the settings; a [`TrailersLayer`] is then added
    /// below it. With a [`ReplayLayer`](crate::http::ReplayLayer) above and
    /// [`replay_body`](RetryBuilder::replay_body) the bodies of a generated client are sent again:
    ///
    /// ```text
    /// ServiceBuilder::new()
    ///     .layer(ReplayLayer::new())
    ///     .layer(RetryBuilder::grpc().replay_body().build()?)
    ///     .layer(TrailersLayer::new())
    ///     .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
    ///     .service(channel)
    /// ```
    ///
    /// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
    #[must_use]
    pub fn grpc() -> GrpcLayer<Kind> {
        Stack::new(TrailersLayer::new(), RetryBuilder::grpc().checked())
    }
}

// === impl RetryBuilder ===

impl<Kind> RetryBuilder<Classifier<Kind>, HttpPolicy, Keyed<Authority>> {
    /// Begins with the settings of [`RetryLayer::grpc`].
    pub fn grpc() -> Self {
        Self::grpc_with(Classifier::otlp())
    }
}

impl<C> RetryBuilder<C, HttpPolicy, Keyed<Authority>> {
    /// [`grpc`](Self::grpc) with other codes: `grpc_with(Classifier::otlp().retry_on(Code::Internal))`, say.
    pub fn grpc_with(classifier: C) -> Self {
        let attempts = HeaderName::from_static("grpc-previous-rpc-attempts");
        Self::http_with(classifier).methods([Method::POST]).attempt_header(attempts)
    }
}
