//! What a gRPC result means, without tonic: status codes, `RetryInfo`, pushback.

mod classifier;
mod code;
mod details;

pub use self::{classifier::Classifier, code::Code, details::retry_delay};

use crate::{
    Keyed, RetryLayer,
    http::{Authority, HttpPolicy},
};
use http::HeaderName;

// === impl RetryLayer ===

impl<Kind> RetryLayer<Classifier<Kind>, HttpPolicy, Keyed<Authority>> {
    /// Retries gRPC requests as the OpenTelemetry protocol demands, with the defaults of [`RetryLayer`], and leaves a
    /// host alone that asks for it with `RetryInfo`.
    ///
    /// It stands on `http::Request`, below the generated client; the body must be `Clone`, as `Full<Bytes>` is, or
    /// [copied](RetryLayer::copy_body). From the second attempt on, requests carry `grpc-previous-rpc-attempts`
    /// ([gRFC A6]). See [`Classifier`] for what it can see there and what not.
    ///
    /// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
    #[must_use]
    pub fn grpc() -> Self {
        Self::grpc_with(Classifier::otlp())
    }
}

impl<C> RetryLayer<C, HttpPolicy, Keyed<Authority>> {
    /// [`grpc`](Self::grpc) with other codes: `grpc_with(Classifier::otlp().retry_on(Code::Internal))`, say.
    #[must_use]
    pub fn grpc_with(classifier: C) -> Self {
        Self::http_with(classifier).attempt_header(HeaderName::from_static("grpc-previous-rpc-attempts"))
    }
}
