use crate::Items;

/// How the items of a batch become the request of the inner service.
///
/// Any `Fn(Vec<T>) -> Request` is one: a batch type of your own is `|items| items.into_iter().collect::<MyBatch>()`.
pub trait IntoRequest<T> {
    /// What the inner service takes.
    type Request;

    /// Whether the batch retains its items while the inner service works on them. Only then can it be sent again, split,
    /// or handed back.
    const RETAINS: bool;

    /// The request. If items are not retained, `items` has no clone.
    fn request(&self, items: Items<T>) -> Self::Request;
}

/// The inner service takes a `Vec<T>`, and owns the items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owned;

/// The inner service takes [`Items<T>`], and the batch retains them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained;

// === impl IntoRequest ===

impl<T> IntoRequest<T> for Owned {
    type Request = Vec<T>;
    const RETAINS: bool = false;

    fn request(&self, items: Items<T>) -> Vec<T> {
        sole(items)
    }
}

impl<T> IntoRequest<T> for Retained {
    type Request = Items<T>;
    const RETAINS: bool = true;

    fn request(&self, items: Items<T>) -> Items<T> {
        items
    }
}

impl<T, Request, F: Fn(Vec<T>) -> Request> IntoRequest<T> for F {
    type Request = Request;
    const RETAINS: bool = false;

    fn request(&self, items: Items<T>) -> Request {
        self(sole(items))
    }
}

fn sole<T>(items: Items<T>) -> Vec<T> {
    items.into_vec().unwrap_or_else(|_shared| {
        debug_assert!(false, "items that are not retained have one owner");
        Vec::new()
    })
}
