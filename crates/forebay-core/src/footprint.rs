use crate::Deadline;
use crate::{DropReason, Fate, Priority};
use std::{
    alloc::Layout,
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque},
    ffi::{OsStr, OsString},
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// A type that knows how much memory its values hold.
///
/// Queues, batches and exporters charge an item for its footprint unless they are given a weigher of their own, so a limit
/// in bytes is a limit of memory. The footprint of a type of your own is its size and the heap memory of its fields:
///
/// ```
/// use forebay_core::Footprint;
///
/// struct Line { number: u64, text: String, labels: Vec<String> }
///
/// impl Footprint for Line {
///     fn heap(&self) -> usize {
///         self.text.heap() + self.labels.heap()
///     }
/// }
///
/// let line = Line { number: 1, text: "x".repeat(1000), labels: Vec::new() };
/// assert!(line.footprint() >= size_of::<Line>() + 1000);
/// # let _number = line.number;
/// ```
///
/// A type without heap memory says so by [`FLAT`](Self::FLAT), and no value of it is looked at:
///
/// ```
/// use forebay_core::Footprint;
///
/// struct Sample { at: u64, value: f64 }
///
/// impl Footprint for Sample {
///     const FLAT: bool = true;
///     fn heap(&self) -> usize { 0 }
/// }
/// # let sample = Sample { at: 1, value: 0.5 };
/// # assert_eq!((sample.footprint(), sample.at, sample.value), (16, 1, 0.5));
/// ```
#[diagnostic::on_unimplemented(
    message = "how much memory a `{Self}` holds is not known",
    label = "this type does not say what its values weigh",
    note = "implement `forebay_core::Footprint` for it, or give the builder a weigher: `.weigh(|item: &{Self}| ..)`",
    note = "a `Copy` type has no heap memory: `.weigh(forebay_core::SizeOf)` charges its size"
)]
pub trait Footprint {
    /// Whether no value of the type holds heap memory.
    const FLAT: bool = false;

    /// The heap memory that the value owns, in bytes: capacities rather than lengths, nested values included.
    ///
    /// It runs where an item is handed over, so it takes a time that is proportional to the number of fields. What is
    /// shared is counted by each of its owners: too much is safe, too little is not.
    fn heap(&self) -> usize;

    /// All the memory of the value, in bytes.
    #[inline]
    fn footprint(&self) -> usize {
        size_of_val(self) + self.heap()
    }
}

/// The memory that a general-purpose allocator takes for a block of `bytes`: a header, and all rounded up to 16 bytes.
///
/// Nothing is allocated for an empty block.
///
/// ```
/// assert_eq!([0, 1, 100].map(forebay_core::heap_block), [0, 32, 112]);
/// ```
#[inline]
#[must_use]
pub const fn heap_block(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let rounded = bytes.saturating_add(8 + 15) & !15;
    if rounded < 32 { 32 } else { rounded }
}

/// The block of a reference-counted value: two counters stand before it.
const fn shared_block(layout: Layout) -> usize {
    heap_block(layout.size() + 2 * size_of::<usize>())
}

/// The heap memory of `values`, without the block that they stand in.
#[inline]
fn nested<'a, T: Footprint + 'a>(values: impl IntoIterator<Item = &'a T>) -> usize {
    if T::FLAT { 0 } else { values.into_iter().map(T::heap).sum() }
}

/// The block of a hash table: a power of two of buckets, of which seven in eight are filled at most.
fn table<T>(capacity: usize) -> usize {
    if capacity == 0 {
        return 0;
    }
    heap_block((capacity.saturating_mul(8) / 7).next_power_of_two() * (size_of::<T>() + 1) + 16)
}

/// The nodes of a tree: at least half of each is filled.
const fn tree<T>(len: usize) -> usize {
    heap_block(len * 2 * size_of::<T>())
}

// === impl Footprint ===

macro_rules! flat {
    ($($type:ty)*) => {$(
        impl Footprint for $type {
            const FLAT: bool = true;

            #[inline]
            fn heap(&self) -> usize {
                0
            }
        }
    )*};
}
flat! {
    () bool char u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 str OsStr Path
    NonZeroU32 NonZeroU64 NonZeroUsize Deadline Duration Instant SystemTime IpAddr Ipv4Addr Ipv6Addr SocketAddr SocketAddrV4 SocketAddrV6
    DropReason Fate Priority
}

macro_rules! flat_generic {
    ($([$($bound:tt)*] $type:ty;)*) => {$(
        impl<$($bound)*> Footprint for $type {
            const FLAT: bool = true;

            #[inline]
            fn heap(&self) -> usize {
                0
            }
        }
    )*};
}
flat_generic! {
    [T: ?Sized] &T;
    [T: ?Sized] PhantomData<T>;
}

macro_rules! text {
    ($($type:ty)*) => {$(
        impl Footprint for $type {
            #[inline]
            fn heap(&self) -> usize {
                heap_block(self.capacity())
            }
        }
    )*};
}
text!(String OsString PathBuf);

macro_rules! tuples {
    ($(($($name:ident)*))*) => {$(
        impl<$($name: Footprint),*> Footprint for ($($name,)*) {
            const FLAT: bool = $($name::FLAT)&&*;

            #[inline]
            #[expect(non_snake_case, reason = "the fields bear the names of their types")]
            fn heap(&self) -> usize {
                let ($($name,)*) = self;
                0 $(+ $name.heap())*
            }
        }
    )*};
}
tuples!((A)(A B)(A B C)(A B C D)(A B C D E)(A B C D E F)(A B C D E F G)(A B C D E F G H));

impl<T: Footprint> Footprint for [T] {
    const FLAT: bool = T::FLAT;

    #[inline]
    fn heap(&self) -> usize {
        nested(self)
    }
}

impl<T: Footprint, const N: usize> Footprint for [T; N] {
    const FLAT: bool = T::FLAT;

    #[inline]
    fn heap(&self) -> usize {
        nested(self)
    }
}

impl<T: Footprint> Footprint for Option<T> {
    const FLAT: bool = T::FLAT;

    #[inline]
    fn heap(&self) -> usize {
        self.as_ref().map_or(0, T::heap)
    }
}

impl<T: Footprint, E: Footprint> Footprint for Result<T, E> {
    const FLAT: bool = T::FLAT && E::FLAT;

    #[inline]
    fn heap(&self) -> usize {
        self.as_ref().map_or_else(E::heap, T::heap)
    }
}

impl<B> Footprint for Cow<'_, B>
where
    B: ToOwned<Owned: Footprint> + ?Sized,
{
    #[inline]
    fn heap(&self) -> usize {
        match self {
            Self::Borrowed(_) => 0,
            Self::Owned(owned) => owned.heap(),
        }
    }
}

impl<T: Footprint + ?Sized> Footprint for Box<T> {
    #[inline]
    fn heap(&self) -> usize {
        heap_block(size_of_val(&**self)) + (**self).heap()
    }
}

impl<T: Footprint + ?Sized> Footprint for Arc<T> {
    #[inline]
    fn heap(&self) -> usize {
        shared_block(Layout::for_value(&**self)) + (**self).heap()
    }
}

impl<T: Footprint + ?Sized> Footprint for Rc<T> {
    #[inline]
    fn heap(&self) -> usize {
        shared_block(Layout::for_value(&**self)) + (**self).heap()
    }
}

impl<T: Footprint> Footprint for Vec<T> {
    #[inline]
    fn heap(&self) -> usize {
        heap_block(self.capacity() * size_of::<T>()) + nested(self)
    }
}

impl<T: Footprint> Footprint for VecDeque<T> {
    #[inline]
    fn heap(&self) -> usize {
        heap_block(self.capacity() * size_of::<T>()) + nested(self)
    }
}

impl<T: Footprint> Footprint for BinaryHeap<T> {
    fn heap(&self) -> usize {
        heap_block(self.capacity() * size_of::<T>()) + nested(self)
    }
}

impl<K: Footprint, V: Footprint, S> Footprint for HashMap<K, V, S> {
    fn heap(&self) -> usize {
        table::<(K, V)>(self.capacity()) + nested(self.keys()) + nested(self.values())
    }
}

impl<T: Footprint, S> Footprint for HashSet<T, S> {
    fn heap(&self) -> usize {
        table::<T>(self.capacity()) + nested(self)
    }
}

impl<K: Footprint, V: Footprint> Footprint for BTreeMap<K, V> {
    fn heap(&self) -> usize {
        tree::<(K, V)>(self.len()) + nested(self.keys()) + nested(self.values())
    }
}

impl<T: Footprint> Footprint for BTreeSet<T> {
    fn heap(&self) -> usize {
        tree::<T>(self.len()) + nested(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f17_the_heap_is_counted_by_capacity_and_to_any_depth() {
        let mut text = String::with_capacity(1000);
        text.push('x');
        assert_eq!(text.footprint(), size_of::<String>() + 1008);
        let nested = Some((1_u8, vec![Box::new(text)]));
        let expected = size_of_val(&nested) + heap_block(8) + heap_block(size_of::<String>()) + 1008;
        assert_eq!(nested.footprint(), expected);
    }

    #[test]
    fn what_is_borrowed_or_flat_has_no_heap() {
        assert_eq!(["static".heap(), Cow::Borrowed("static").heap(), <&String>::heap(&&String::from("lent"))], [0; 3]);
        assert_eq!([7_u64; 4].footprint(), 32);
        const { assert!(<[(u8, Option<f64>); 3]>::FLAT && !<(u8, String)>::FLAT && !<Box<u8>>::FLAT) };
    }

    #[test]
    fn maps_count_their_tables_and_what_is_in_them() {
        let map: HashMap<u32, String> = (0..100).map(|n| (n, "x".repeat(100))).collect();
        assert!(map.heap() >= 128 * size_of::<(u32, String)>() + 100 * 100, "{}", map.heap());
        let tree: BTreeMap<u32, String> = (0..100).map(|n| (n, "x".repeat(100))).collect();
        assert!(tree.heap() >= 100 * (size_of::<(u32, String)>() + 100), "{}", tree.heap());
    }
}
