use crate::Footprint;

/// How many bytes an item is charged for.
///
/// The weight is taken once, when the item is offered, and the same number is given back when its work is done. It
/// should be cheap and near to the memory the item holds, heap included; it need not be exact.
///
/// Any `Fn(&T) -> usize` is a `Weigh<T>`; the default is [`ByFootprint`], which asks the item.
///
/// ```
/// use forebay_core::{ByFootprint, SizeOf, Weigh};
///
/// let by_text = |line: &String| line.len();
/// assert_eq!(by_text.weigh(&"abc".to_owned()), 3);
/// assert_eq!(SizeOf.weigh(&7_u64), 8);
/// assert!(ByFootprint.weigh(&"x".repeat(1000)) > 1000);
/// ```
///
/// Heap memory is never left out by mistake. What cannot say how much it holds does not compile:
///
/// ```compile_fail,E0277
/// use forebay_core::{ByFootprint, Weigh};
///
/// struct Line(String);
/// ByFootprint.weigh(&Line("text".to_owned()));
/// ```
///
/// ```compile_fail,E0277
/// use forebay_core::{SizeOf, Weigh};
///
/// SizeOf.weigh(&"its shell alone".to_owned());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot weigh a `{T}`",
    note = "give the builder a closure, `.weigh(|item: &{T}| ..)`, or implement `forebay_core::Footprint` for `{T}`"
)]
pub trait Weigh<T: ?Sized> {
    /// The weight of `item` in bytes.
    fn weigh(&self, item: &T) -> usize;

    /// Whether every item weighs its `size_of`, so that none has to be looked at.
    fn is_size_of(&self) -> bool {
        false
    }
}

/// Charges what the item [says](Footprint) that it holds, heap included. The default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByFootprint;

/// Charges the [`size_of_val`] of `Copy` types, which have no heap memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeOf;

// === impl Weigh ===

impl<T: ?Sized, F: Fn(&T) -> usize> Weigh<T> for F {
    #[inline]
    fn weigh(&self, item: &T) -> usize {
        self(item)
    }
}

impl<T: Footprint + ?Sized> Weigh<T> for ByFootprint {
    #[inline]
    fn weigh(&self, item: &T) -> usize {
        item.footprint()
    }

    fn is_size_of(&self) -> bool {
        T::FLAT
    }
}

impl<T: Copy> Weigh<T> for SizeOf {
    #[inline]
    fn weigh(&self, item: &T) -> usize {
        size_of_val(item)
    }

    fn is_size_of(&self) -> bool {
        true
    }
}
