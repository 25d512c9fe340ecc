use crate::Items;

/// How the items of a batch become the request of the inner service.
///
/// Any `Fn(Vec<T>) -> Request` is one: a batch type of your own is `|items| items.into_iter().collect::<MyBatch>()`.
pub trait Pack<T> {
    /// What the inner service takes.
    type Request;

    /// Whether the batch keeps its items while the inner service works on them. Only then can it be sent again, split,
    /// or handed back.
    const KEEPS: bool;

    /// The request. Where items are not kept, `items` is the only one of its kind.
    fn pack(&self, items: Items<T>) -> Self::Request;
}

/// The inner service takes a `Vec<T>`, and the items are gone with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByValue;

/// The inner service takes [`Items<T>`], and the batch keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept;

// === impl Pack ===

impl<T> Pack<T> for ByValue {
    type Request = Vec<T>;
    const KEEPS: bool = false;

    fn pack(&self, items: Items<T>) -> Vec<T> {
        sole(items)
    }
}

impl<T> Pack<T> for Kept {
    type Request = Items<T>;
    const KEEPS: bool = true;

    fn pack(&self, items: Items<T>) -> Items<T> {
        items
    }
}

impl<T, Request, F: Fn(Vec<T>) -> Request> Pack<T> for F {
    type Request = Request;
    const KEEPS: bool = false;

    fn pack(&self, items: Items<T>) -> Request {
        self(sole(items))
    }
}

fn sole<T>(items: Items<T>) -> Vec<T> {
    items.into_vec().unwrap_or_else(|_shared| {
        debug_assert!(false, "items that are not kept have one owner");
        Vec::new()
    })
}
