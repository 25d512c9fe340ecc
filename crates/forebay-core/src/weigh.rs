/// How many bytes an item is charged for.
///
/// The weight is taken once, when the item is offered, and the same number is given back when its work is done. It
/// should be cheap and near to the memory the item holds, heap included; it need not be exact.
///
/// Any `Fn(&T) -> usize` is a `Weigh<T>`; the default is [`SizeOf`].
///
/// ```
/// use forebay_core::{SizeOf, Weigh};
///
/// let by_text = |line: &String| line.len();
/// assert_eq!(by_text.weigh(&"abc".to_owned()), 3);
/// assert_eq!(SizeOf.weigh(&7_u64), 8);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot weigh a `{T}`",
    note = "pass a closure `Fn(&{T}) -> usize`, or keep the default `SizeOf`"
)]
pub trait Weigh<T: ?Sized> {
    /// The weight of `item` in bytes.
    fn weigh(&self, item: &T) -> usize;
}

/// Charges [`size_of_val`]: right for items without heap memory, too little for all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeOf;

// === impl Weigh ===

impl<T: ?Sized, F: Fn(&T) -> usize> Weigh<T> for F {
    #[inline]
    fn weigh(&self, item: &T) -> usize {
        self(item)
    }
}

impl<T: ?Sized> Weigh<T> for SizeOf {
    #[inline]
    fn weigh(&self, item: &T) -> usize {
        size_of_val(item)
    }
}
