use super::{AnyValue, ArrayWriter, AsValue, AttributesWriter, ValueWriter};
use bytes::{Bytes, BytesMut};
use std::{borrow::Cow, rc::Rc, sync::Arc};

impl AsValue for str {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.string(self)
    }
}

impl AsValue for String {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.string(self)
    }
}

impl AsValue for bool {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.bool(*self)
    }
}

impl AsValue for f32 {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.double(f64::from(*self))
    }
}

impl AsValue for f64 {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.double(*self)
    }
}

/// `u8` is left out, so that `[u8]` can mean bytes; `u64` and `usize` are left out, because not all of their values fit.
macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl AsValue for $integer {
            #[inline(always)]
            fn value<W: ValueWriter>(&self, w: W) -> W::Done {
                w.int(i64::from(*self))
            }
        }
    )*};
}
integers!(i8 i16 u16 i32 u32 i64);

impl AsValue for [u8] {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.bytes(self)
    }
}

impl<const N: usize> AsValue for [u8; N] {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.bytes(self)
    }
}

impl AsValue for Vec<u8> {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.bytes(self)
    }
}

impl AsValue for Bytes {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.bytes(self)
    }
}

impl AsValue for BytesMut {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.bytes(self)
    }
}

impl<T: AsValue> AsValue for [T] {
    #[inline]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        w.array(|array| self.iter().for_each(|value| array.value(value)))
    }
}

impl<T: AsValue, const N: usize> AsValue for [T; N] {
    #[inline]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        self.as_slice().value(w)
    }
}

impl<T: AsValue> AsValue for Vec<T> {
    #[inline]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        self.as_slice().value(w)
    }
}

impl AsValue for AnyValue {
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        match self {
            Self::Empty => w.empty(),
            Self::String(value) => w.string(value),
            Self::Bool(value) => w.bool(*value),
            Self::Int(value) => w.int(*value),
            Self::Double(value) => w.double(*value),
            Self::Bytes(value) => w.bytes(value),
            Self::Array(values) => values.value(w),
            Self::KvList(pairs) => w.kv_list(|list| pairs.iter().for_each(|kv| list.attribute(&kv.key, &kv.value))),
        }
    }
}

/// A pointer to a value is written as that value.
macro_rules! pointers {
    ($($pointer:ty)*) => {$(
        impl<T: AsValue + ?Sized> AsValue for $pointer {
            #[inline(always)]
            fn value<W: ValueWriter>(&self, w: W) -> W::Done {
                (**self).value(w)
            }
        }
    )*};
}
pointers!(&T &mut T Box<T> Rc<T> Arc<T>);

impl<T: AsValue + ToOwned + ?Sized> AsValue for Cow<'_, T> {
    #[inline(always)]
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        (**self).value(w)
    }
}
