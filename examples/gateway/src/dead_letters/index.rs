//! Which dead letters there are, which one goes first, and which is due: pure state.

use super::name::Name;
use forebay::core::time::saturating_add;
use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};
use tokio::time::Instant;

/// How much the folder may hold, and how often a letter is tried.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// The most files.
    pub files: NonZeroUsize,
    /// The most bytes of all files.
    pub bytes: u64,
    /// How often a letter is replayed before it is given up.
    pub retries: u32,
    /// How long after a failure the next try may be, doubled with each further one up to 30 minutes.
    pub interval: Duration,
}

/// The longest time between two tries of one letter.
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 60);

/// The letters in the folder, oldest first.
#[derive(Debug)]
pub(super) struct Index {
    caps: Caps,
    letters: BTreeMap<Key, Letter>,
    bytes: u64,
}

/// When the batch was received, then its id.
type Key = (u64, u128);

/// A letter in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) name: Name,
    pub(super) bytes: u64,
    due: Instant,
}

/// What a failed replay means for its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It keeps its place, under this name.
    Again(Name),
    /// It has had all its tries, and is out of the index.
    GiveUp,
}

/// The letter alone is larger than all of the folder may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

// === impl Index ===

impl Index {
    pub(super) fn new(caps: Caps) -> Self {
        Self { caps, letters: BTreeMap::new(), bytes: 0 }
    }

    pub(super) fn caps(&self) -> Caps {
        self.caps
    }

    /// Takes out the oldest letters until one of `bytes` has room.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<Vec<Letter>, TooLarge> {
        if bytes > self.caps.bytes {
            // The folder must not lose all it has for one letter that does not fit either.
            return Err(TooLarge);
        }
        Ok(self.trim(self.caps.files.get() - 1, self.caps.bytes - bytes))
    }

    /// Takes out the oldest letters until the caps hold: they may be lower than when the letters were written.
    pub(super) fn trim_to_caps(&mut self) -> Vec<Letter> {
        self.trim(self.caps.files.get(), self.caps.bytes)
    }

    fn trim(&mut self, files: usize, bytes: u64) -> Vec<Letter> {
        let mut evicted = Vec::new();
        while self.letters.len() > files || self.bytes > bytes {
            let Some((_, letter)) = self.letters.pop_first() else { break };
            self.bytes -= letter.bytes;
            evicted.push(letter);
        }
        evicted
    }

    pub(super) fn insert(&mut self, name: Name, bytes: u64, due: Instant) {
        let letter = Letter { name, bytes, due };
        if let Some(before) = self.letters.insert((name.received, name.id.0), letter) {
            self.bytes -= before.bytes;
        }
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, name: Name) -> Option<Letter> {
        let letter = self.letters.remove(&(name.received, name.id.0))?;
        self.bytes -= letter.bytes;
        Some(letter)
    }

    /// The oldest letters that are due, `most` of them; the others do not count.
    pub(super) fn due(&self, now: Instant, most: usize) -> Vec<Name> {
        self.letters.values().filter(|letter| letter.due <= now).take(most).map(|letter| letter.name).collect()
    }

    /// A replay of the letter failed.
    pub(super) fn failed(&mut self, name: Name, now: Instant) -> Option<Failed> {
        let letter = self.letters.get_mut(&(name.received, name.id.0))?;
        letter.name.attempts += 1;
        if letter.name.attempts >= self.caps.retries {
            self.remove(name);
            return Some(Failed::GiveUp);
        }
        let doubled =
            self.caps.interval.saturating_mul(1_u32.checked_shl(letter.name.attempts - 1).unwrap_or(u32::MAX));
        letter.due = Instant::from_std(saturating_add(now.into_std(), doubled.min(LONGEST)));
        Some(Failed::Again(letter.name))
    }

    pub(super) fn files(&self) -> usize {
        self.letters.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How full the folder is: the larger of the shares of files and of bytes.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub(super) fn fullness(&self) -> f64 {
        let files = self.letters.len() as f64 / self.caps.files.get() as f64;
        files.max(self.bytes as f64 / self.caps.bytes.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchId;
    use forebay::otlp::Signal;

    const CAPS: Caps =
        Caps { files: NonZeroUsize::new(3).unwrap(), bytes: 100, retries: 3, interval: Duration::from_secs(60) };

    fn name(n: u64) -> Name {
        Name { received: n, id: BatchId(n.into()), signal: Signal::Logs, records: 1, attempts: 0 }
    }

    #[test]
    fn the_oldest_go_first_for_files_and_for_bytes() {
        let (mut index, now) = (Index::new(CAPS), Instant::now());
        for n in [3, 1, 2] {
            assert!(index.make_room(10).unwrap().is_empty());
            index.insert(name(n), 10, now);
        }
        let evicted: Vec<_> = index.make_room(10).unwrap().iter().map(|letter| letter.name.received).collect();
        assert_eq!((evicted, index.files(), index.bytes()), (vec![1], 2, 20));
        index.insert(name(4), 10, now);
        assert!(index.trim_to_caps().is_empty(), "three of three");
        assert_eq!(index.make_room(90).unwrap().len(), 2);
        assert_eq!((index.files(), index.bytes()), (1, 10));
    }

    #[test]
    fn a_letter_larger_than_the_folder_evicts_nothing() {
        let (mut index, now) = (Index::new(CAPS), Instant::now());
        index.insert(name(1), 10, now);
        assert_eq!(index.make_room(101), Err(TooLarge));
        assert_eq!(index.files(), 1);
    }

    #[test]
    fn a_letter_that_fails_waits_twice_as_long_each_time_and_is_given_up_at_last() {
        let (mut index, now) = (Index::new(CAPS), Instant::now());
        index.insert(name(1), 10, now);
        index.insert(name(2), 10, now);
        assert_eq!(index.due(now, 9), [name(1), name(2)]);

        let Some(Failed::Again(again)) = index.failed(name(1), now) else { panic!("one try of three") };
        // Those that are not due take no place of those that are.
        assert_eq!(index.due(now, 1), [name(2)]);
        assert_eq!(index.due(now + Duration::from_secs(59), 9), [name(2)]);
        assert_eq!(index.due(now + Duration::from_secs(60), 9), [again, name(2)]);
        index.failed(again, now).unwrap();
        assert_eq!(index.due(now + Duration::from_secs(119), 9), [name(2)]);
        assert_eq!(index.failed(again, now), Some(Failed::GiveUp));
        assert_eq!((index.files(), index.bytes()), (1, 10));
        assert_eq!(index.failed(again, now), None, "it is gone");
    }

    #[test]
    fn no_letter_waits_longer_than_half_an_hour() {
        let (mut index, now) = (Index::new(Caps { retries: 99, ..CAPS }), Instant::now());
        index.insert(name(1), 10, now);
        for _ in 0..50 {
            index.failed(name(1), now).unwrap();
        }
        assert!(index.due(now + LONGEST, 1).len() == 1 && (index.fullness() - 1.0 / 3.0).abs() < 1e-9);
    }
}
