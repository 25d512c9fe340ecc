use std::{
    collections::VecDeque,
    mem,
    vec::{self, Drain},
};

/// First in, first out, in chunks: it holds little more memory than its entries, and moves none of them when it grows. Pure
/// state.
///
/// A new entry is pushed to a `Vec`, so that all entries can be swapped out at once.
#[derive(Debug)]
pub(crate) struct Fifo<E> {
    /// The newest entries.
    incoming: Vec<E>,
    /// Full chunks, older than `incoming`.
    full: VecDeque<Vec<E>>,
    /// How many entries `full` has.
    in_full: usize,
    /// Older than `full`; filled from it when a single entry is taken.
    outgoing: VecDeque<E>,
}

/// Entries that were swapped out of a [`Fifo`], and its buffers.
#[derive(Debug)]
pub(crate) struct Swapped<E> {
    full: VecDeque<Vec<E>>,
    /// Newer than `full`.
    last: Vec<E>,
}

/// An iterator that takes the entries out of [`Swapped`].
#[derive(Debug)]
pub(crate) struct Leaving<'a, E> {
    /// The rest of the chunk that is taken from now, if there is more than one.
    first: vec::IntoIter<E>,
    full: &'a mut VecDeque<Vec<E>>,
    last: Drain<'a, E>,
    /// How many entries are left.
    len: usize,
}

/// How large a chunk becomes. A queue holds a few chunks beyond its entries; one is large enough for some hundred items to
/// leave in one piece.
const CHUNK_BYTES: usize = 64 << 10;

/// The fewest entries of a chunk, however large they are.
const FEWEST: usize = 8;

// === impl Fifo ===

impl<E> Fifo<E> {
    /// How many entries a chunk has.
    const CHUNK: usize = {
        let size = if size_of::<E>() == 0 { 1 } else { size_of::<E>() };
        let most = CHUNK_BYTES / size;
        if most < FEWEST { FEWEST } else { most }
    };

    pub(crate) const fn new() -> Self {
        Self { incoming: Vec::new(), full: VecDeque::new(), in_full: 0, outgoing: VecDeque::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: E) {
        if self.incoming.len() == self.incoming.capacity() {
            self.make_room();
        }
        self.incoming.push(entry);
    }

    /// A chunk grows by doubling, as a `Vec` does; one that is full stays as it is.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self) {
        let capacity = self.incoming.capacity();
        if capacity < Self::CHUNK {
            let more = capacity.clamp(FEWEST / 2, Self::CHUNK).min(Self::CHUNK - capacity);
            self.incoming.reserve_exact(more);
        } else {
            let chunk = mem::replace(&mut self.incoming, Vec::with_capacity(Self::CHUNK));
            self.in_full += chunk.len();
            self.full.push_back(chunk);
        }
    }

    /// The oldest entry.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<E> {
        if self.outgoing.is_empty() {
            if self.full.is_empty() && self.incoming.len() <= 1 {
                return self.incoming.pop();
            }
            self.refill();
        }
        self.outgoing.pop_front()
    }

    /// The oldest chunk becomes the outgoing one. Both conversions keep their buffers: nothing is copied.
    fn refill(&mut self) {
        if let Some(chunk) = self.full.pop_front() {
            self.in_full -= chunk.len();
            self.outgoing = VecDeque::from(chunk);
            return;
        }
        let spare = Vec::from(mem::take(&mut self.outgoing));
        self.outgoing = VecDeque::from(mem::replace(&mut self.incoming, spare));
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.outgoing.len() + self.in_full + self.incoming.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no entry was taken by itself of which others are left, so that [`swap`](Self::swap) takes all there are.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Moves all entries to `out`, and keeps the buffers of `out` for the next ones.
    #[inline]
    pub(crate) fn swap(&mut self, out: &mut Swapped<E>) {
        debug_assert!(self.is_whole() && out.is_empty());
        mem::swap(&mut self.incoming, &mut out.last);
        if self.in_full > 0 {
            mem::swap(&mut self.full, &mut out.full);
            self.in_full = 0;
        }
    }

    /// Drops all entries, which hold no user value.
    pub(crate) fn clear(&mut self) {
        self.incoming.clear();
        self.full.clear();
        self.in_full = 0;
        self.outgoing.clear();
    }
}

// === impl Swapped ===

impl<E> Swapped<E> {
    #[inline]
    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.last.is_empty()
    }

    #[inline]
    pub(crate) fn leave(&mut self) -> Leaving<'_, E> {
        let len = self.full.iter().map(Vec::len).sum::<usize>() + self.last.len();
        Leaving { first: Vec::new().into_iter(), full: &mut self.full, last: self.last.drain(..), len }
    }

    /// Drops the chunks that an iterator left behind when it was leaked.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if !self.full.is_empty() {
            self.full.clear();
        }
    }
}

impl<E> Default for Swapped<E> {
    fn default() -> Self {
        Self { full: VecDeque::new(), last: Vec::new() }
    }
}

// === impl Leaving ===

impl<E> Leaving<'_, E> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<E> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        match self.first.next() {
            Some(entry) => Some(entry),
            None if self.full.is_empty() => self.last.next(),
            None => self.next_chunk(),
        }
    }

    #[cold]
    fn next_chunk(&mut self) -> Option<E> {
        self.first = self.full.pop_front()?.into_iter();
        self.first.next()
    }
}

impl<E> Drop for Leaving<'_, E> {
    #[inline]
    fn drop(&mut self) {
        // CANCEL: what was not taken is dropped here, where no lock is held.
        if !self.full.is_empty() {
            self.full.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Eight to a chunk.
    type Large = [u64; 1024];

    fn large(n: u64) -> Large {
        [n; 1024]
    }

    proptest! {
        #[test]
        fn f17_entries_leave_in_order_whatever_the_chunks(steps in prop::collection::vec((0..3_u8, 0..40_u64), 1..40)) {
            let (mut fifo, mut plain, mut next) = (Fifo::<Large>::new(), VecDeque::new(), 0);
            let mut out = Swapped::default();
            for (step, many) in steps {
                match step {
                    0 => for _ in 0..many {
                        fifo.push(large(next));
                        plain.push_back(next);
                        next += 1;
                    },
                    1 => for _ in 0..many {
                        prop_assert_eq!(fifo.pop().map(|entry| entry[0]), plain.pop_front());
                    },
                    _ if fifo.is_whole() => {
                        fifo.swap(&mut out);
                        let mut leaving = out.leave();
                        prop_assert_eq!(leaving.len(), plain.len());
                        for _ in 0..many {
                            prop_assert_eq!(leaving.next().map(|entry| entry[0]), plain.pop_front());
                        }
                        plain.clear();
                    }
                    _ => {}
                }
                prop_assert_eq!(fifo.len(), plain.len());
                prop_assert_eq!(fifo.is_empty(), plain.is_empty());
            }
        }
    }

    #[test]
    fn f17_a_full_fifo_has_room_for_one_chunk_more_than_its_entries() {
        let mut fifo = Fifo::<u64>::new();
        (0..100_000).for_each(|n| fifo.push(n));
        let capacity = fifo.incoming.capacity() + fifo.full.iter().map(Vec::capacity).sum::<usize>();
        assert!(capacity <= 100_000 + Fifo::<u64>::CHUNK, "{capacity}");
        assert_eq!(Fifo::<u64>::CHUNK, 8192);
        while fifo.pop().is_some() {}
        assert!(fifo.incoming.capacity() + fifo.outgoing.capacity() <= 2 * Fifo::<u64>::CHUNK);
    }
}
