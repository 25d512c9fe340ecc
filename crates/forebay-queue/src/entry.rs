use crate::Rejected;
use forebay_intake::{OfferMeta, Ticket};

/// An item at the point of admission, with all that admission needs to know of it.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) item: T,
    pub(crate) meta: OfferMeta,
}

/// Why an entry that may wait was not admitted.
pub(crate) enum Refused<T> {
    /// The sender waits in line.
    Wait(Entry<T>, Ticket),
    /// The item is refused for good.
    Rejected(Rejected<T>),
}
