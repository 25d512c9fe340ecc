//! What one destination still has to do with one frame.

use crate::envelope::{u16_at, u32_at, u64_at};

/// The record is done.
const DONE: u8 = u8::MAX;
/// Attempts are counted up to here.
pub(crate) const MAX_ATTEMPTS: u8 = 200;

/// How many records of a frame are left, and what is known of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Records of the frame.
    pub(crate) count: u16,
    /// Of those, the ones that are not done.
    pub(crate) left: u16,
    /// Bytes of the frame.
    pub(crate) bytes: u32,
    /// When its newest record was first seen: the frame is too old when this one is.
    pub(crate) newest: u64,
    /// One byte for each record, attempts or done. Empty while all of them are untouched.
    states: Vec<u8>,
}

// === impl Row ===

impl Row {
    pub(crate) fn new(count: u16, bytes: u32, newest: u64) -> Self {
        Self { count, left: count, bytes, newest, states: Vec::new() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.states.len());
        out.extend(self.count.to_le_bytes());
        out.extend(self.left.to_le_bytes());
        out.extend(self.bytes.to_le_bytes());
        out.extend(self.newest.to_le_bytes());
        out.extend(&self.states);
        out
    }

    /// `None` if the bytes are no row: the caller counts the frame as damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, left) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
        let states = bytes.get(16..)?.to_vec();
        if left > count || !(states.is_empty() || states.len() == usize::from(count)) {
            return None;
        }
        Some(Self { count, left, bytes: u32_at(bytes, 4)?, newest: u64_at(bytes, 8)?, states })
    }

    /// Whether the record at `index` is done.
    pub(crate) fn is_done(&self, index: u16) -> bool {
        self.states.get(usize::from(index)) == Some(&DONE)
    }

    /// How many records of one frame are left in at least one of its `rows`.
    pub(crate) fn left_in_any(rows: &[Self]) -> u64 {
        match rows {
            [] => 0,
            [row] => row.left.into(),
            [first, ..] => (0..first.count).filter(|index| rows.iter().any(|row| !row.is_done(*index))).count() as u64,
        }
    }

    /// How often the record at `index` has failed.
    pub(crate) fn attempts(&self, index: u16) -> u8 {
        self.states.get(usize::from(index)).copied().filter(|state| *state != DONE).unwrap_or(0)
    }

    /// Marks the record at `index` as done; returns whether it was not before.
    pub(crate) fn finish(&mut self, index: u16) -> bool {
        if index >= self.count || self.is_done(index) {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        // A frame that is done as a whole loses its row, so most rows never need their states.
        if self.left > 0 {
            *self.state(index) = DONE;
        }
        true
    }

    /// Counts one more failure of the record at `index`; returns how often it has failed.
    pub(crate) fn fail(&mut self, index: u16) -> u8 {
        if index >= self.count || self.is_done(index) {
            return 0;
        }
        let state = self.state(index);
        *state = state.saturating_add(1).min(MAX_ATTEMPTS);
        *state
    }

    fn state(&mut self, index: u16) -> &mut u8 {
        if self.states.is_empty() {
            self.states = vec![0; usize::from(self.count)];
        }
        // CORRECTNESS: callers have compared `index` with `count`, and there are as many states.
        &mut self.states[usize::from(index)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_what_is_left_and_reads_as_it_was_written() {
        let mut row = Row::new(3, 500, 9);
        assert_eq!(Row::decode(&row.encode()), Some(row.clone()));
        assert!(row.finish(1) && !row.finish(1) && !row.finish(3));
        assert_eq!((row.fail(0), row.fail(0), row.fail(1), row.fail(9)), (1, 2, 0, 0));
        assert_eq!((row.left, row.attempts(0), row.is_done(1), row.attempts(1)), (2, 2, true, 0));
        assert_eq!(Row::decode(&row.encode()), Some(row.clone()));
        assert!(row.finish(0) && row.finish(2));
        assert_eq!(row.left, 0);
    }

    #[test]
    fn a_record_that_two_destinations_wait_for_is_counted_once() {
        let (mut one, mut other) = (Row::new(4, 500, 9), Row::new(4, 500, 9));
        one.finish(0);
        one.finish(1);
        other.finish(1);
        other.finish(2);
        assert_eq!(Row::left_in_any(&[]), 0);
        assert_eq!(Row::left_in_any(&[one.clone()]), 2);
        assert_eq!(Row::left_in_any(&[one, other]), 3, "the second one is done for both");
    }

    #[test]
    fn s03_bytes_that_are_no_row_are_none() {
        let whole = Row::new(3, 500, 9).encode();
        for len in 0..whole.len() {
            assert_eq!(Row::decode(&whole[..len]), None);
        }
        assert_eq!(Row::decode(&[&whole[..], &[0]].concat()), None, "one state for three records");
        assert_eq!(Row::decode(&[1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None, "more left than there are");
    }
}
