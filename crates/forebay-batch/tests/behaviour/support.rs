//! What the subjects share.

use tower::util::BoxService;

/// `tower::service_fn` as one type for each kind of batch: the batcher in front of it is compiled once for that kind, and not
/// once for every test.
pub(crate) fn service_fn<B, R, E, F>(function: impl FnMut(B) -> F + Send + 'static) -> BoxService<B, R, E>
where
    B: 'static,
    R: 'static,
    E: 'static,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    BoxService::new(tower::service_fn(function))
}
