use crate::{Deadline, DeadlineOf};
use http::Request;

/// The deadline of an HTTP request is the [`Deadline`] among its extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByExtension;

// === impl ByExtension ===

impl<B> DeadlineOf<Request<B>> for ByExtension {
    #[inline]
    fn deadline_of(&self, request: &Request<B>) -> Option<Deadline> {
        Deadline::of(request.extensions())
    }
}
