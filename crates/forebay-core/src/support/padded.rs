use std::ops::{Deref, DerefMut};

/// A value that shares its cache line with nothing else.
///
/// 128 bytes, since processors of x86-64 fetch lines in pairs and those of some ARM have lines of that size.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CachePadded<T>(T);

// === impl CachePadded ===

impl<T> CachePadded<T> {
    /// `value`, on lines of its own.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for CachePadded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for CachePadded<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
