use crate::fifo::Fifo;

/// Numbers, first in, first out, most of which equal the one before: equal numbers in a row take no memory of their own, and
/// any other takes four bytes. Pure state.
#[derive(Debug)]
pub(crate) struct Runs {
    /// The oldest number, and how many of it are left.
    head: (u32, u64),
    /// Those in between, each as one word or more.
    words: Fifo<u32>,
    /// The newest number, and how often it was pushed in a row; empty only if all are.
    tail: (u32, u64),
}

/// Marks a word that says how many more of the same number follow, less than this.
const MORE: u32 = 1 << 31;

/// Announces a number of [`MORE`] and above in the next word.
const LARGE: u32 = u32::MAX;

// === impl Runs ===

impl Runs {
    pub(crate) const fn new() -> Self {
        Self { head: (0, 0), words: Fifo::new(), tail: (0, 0) }
    }

    #[inline]
    pub(crate) fn push(&mut self, number: u32) {
        if self.tail.0 != number || self.tail.1 == 0 {
            self.start_run(number);
        }
        self.tail.1 += 1;
    }

    fn start_run(&mut self, number: u32) {
        let (before, times) = std::mem::replace(&mut self.tail, (number, 0));
        if times == 0 {
            return;
        }
        if self.head.1 == 0 && self.words.is_empty() {
            self.head = (before, times);
            return;
        }
        if before >= MORE {
            self.words.push(LARGE);
        }
        self.words.push(before);
        let mut more = times - 1;
        while more > 0 {
            let part = more.min(u64::from(MORE - 2));
            // Below `LARGE`, as the part is below `MORE - 1`.
            #[expect(clippy::cast_possible_truncation, reason = "below 2^31")]
            self.words.push(MORE + part as u32);
            more -= part;
        }
    }

    /// The oldest number.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        if self.head.1 == 0 {
            self.next_run()?;
        }
        self.head.1 -= 1;
        Some(self.head.0)
    }

    fn next_run(&mut self) -> Option<()> {
        match self.words.pop() {
            Some(LARGE) => self.head = (self.words.pop()?, 1),
            // More of the number before.
            Some(word) if word > MORE => self.head.1 = u64::from(word - MORE),
            Some(number) => self.head = (number, 1),
            None if self.tail.1 > 0 => self.head = std::mem::take(&mut self.tail),
            None => return None,
        }
        Some(())
    }

    pub(crate) fn clear(&mut self) {
        (self.head, self.tail) = ((0, 0), (0, 0));
        self.words.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn f17_numbers_leave_in_the_order_of_their_pushes(
            steps in prop::collection::vec((prop::sample::select(vec![0, 1, 8, MORE - 1, MORE, MORE + 1, LARGE]), 0..5_u8, 0..6_u8), 1..60),
        ) {
            let (mut runs, mut plain) = (Runs::new(), VecDeque::new());
            for (number, pushes, pops) in steps {
                for _ in 0..pushes {
                    runs.push(number);
                    plain.push_back(number);
                }
                for _ in 0..pops {
                    prop_assert_eq!(runs.pop(), plain.pop_front());
                }
                if pushes == 4 && pops == 0 && number == 0 {
                    runs.clear();
                    plain.clear();
                }
            }
            while let Some(number) = plain.pop_front() {
                prop_assert_eq!(runs.pop(), Some(number));
            }
            prop_assert_eq!(runs.pop(), None);
        }
    }

    #[test]
    fn f17_equal_numbers_take_no_memory_and_others_a_word() {
        let mut runs = Runs::new();
        (0..1_000_000).for_each(|_| runs.push(8));
        assert_eq!(runs.words.len(), 0);
        (0..1000).for_each(|n| runs.push(n % 2));
        assert!(runs.words.len() <= 1000);
    }
}
