//! The table of open keys and their state. Pure: no clock, no lock; it runs user code only where a caller passes a closure.

use super::End;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};
use tokio::time::Instant;

/// The limits of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_open: usize,
    pub(crate) max_errors: usize,
    pub(crate) max_bytes: usize,
    pub(crate) ttl: Duration,
}

#[derive(Debug)]
pub(crate) struct Table<K, H, E> {
    limits: Limits,
    /// The number of each key, in the order of their opening.
    numbers: HashMap<K, u64>,
    /// By number: the first is the oldest, and the first to expire, because all have the same time to live.
    open: BTreeMap<u64, Open<K, H, E>>,
    /// The number of the next key.
    next: u64,
    /// The weight of all held events.
    bytes: usize,
}

#[derive(Debug)]
struct Open<K, H, E> {
    key: K,
    since: Instant,
    held: H,
    parts: u64,
    /// The errors that wait, each with its weight.
    errors: VecDeque<(E, usize)>,
    /// The weight of the events of this key.
    bytes: usize,
}

/// An ended key.
#[derive(Debug)]
pub(crate) struct Ended<K, H, E> {
    pub(crate) key: K,
    pub(crate) held: H,
    /// Events that were added to the state.
    pub(crate) parts: u64,
    /// Oldest first.
    pub(crate) errors: Vec<E>,
    pub(crate) end: End,
    /// Whether an addition to the state panicked, so that the state is suspect.
    pub(crate) spoiled: bool,
}

// === impl Table ===

impl<K: Clone + Eq + Hash, H, E> Table<K, H, E> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, numbers: HashMap::new(), open: BTreeMap::new(), next: 0, bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The keys that are open, oldest first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.open.values().map(|open| &open.key)
    }

    pub(crate) fn is_open(&self, key: &K) -> bool {
        self.numbers.contains_key(key)
    }

    /// Whether an event of this weight can ever be held.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        bytes <= self.limits.max_bytes
    }

    /// When the oldest key expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.open.first_key_value().map(|(_, open)| self.expiry(open))
    }

    /// Ends the keys whose time to live is over.
    pub(crate) fn expire(&mut self, now: Instant, ended: &mut Vec<Ended<K, H, E>>) {
        while self.next_expiry().is_some_and(|at| at <= now) {
            ended.extend(self.end_oldest(End::Expired));
        }
    }

    /// Ends the oldest keys until there is room for `bytes` more of `key`, which may be one of them.
    pub(crate) fn make_room(&mut self, key: &K, bytes: usize, ended: &mut Vec<Ended<K, H, E>>) {
        while self.bytes.saturating_add(bytes) > self.limits.max_bytes
            || (self.len() >= self.limits.max_open && !self.is_open(key))
        {
            match self.end_oldest(End::Evicted) {
                Some(oldest) => ended.push(oldest),
                None => break,
            }
        }
    }

    /// Opens `key`, or does nothing if it is open.
    pub(crate) fn open(&mut self, key: &K, now: Instant, held: impl FnOnce() -> H) {
        if self.is_open(key) {
            return;
        }
        // CORRECTNESS: the closure is user code, and runs first, so that its panic changes nothing.
        let held = held();
        let open = Open { key: key.clone(), since: now, held, parts: 0, errors: VecDeque::new(), bytes: 0 };
        self.numbers.insert(key.clone(), self.next);
        self.open.insert(self.next, open);
        self.next += 1;
    }

    /// Counts an event of an open key, and returns the state that it is added to.
    pub(crate) fn add(&mut self, key: &K, bytes: usize) -> Option<&mut H> {
        let open = self.open.get_mut(self.numbers.get(key)?)?;
        open.parts += 1;
        open.bytes += bytes;
        self.bytes += bytes;
        Some(&mut open.held)
    }

    /// Keeps an error of an open key. Returns the oldest error if there are too many, or this one if the key is not open.
    pub(crate) fn keep(&mut self, key: &K, error: E, bytes: usize) -> Option<E> {
        let Some(open) = self.numbers.get(key).and_then(|number| self.open.get_mut(number)) else {
            return Some(error);
        };
        open.errors.push_back((error, bytes));
        open.bytes += bytes;
        self.bytes += bytes;
        if open.errors.len() <= self.limits.max_errors {
            return None;
        }
        let (oldest, bytes) = open.errors.pop_front()?;
        open.bytes -= bytes;
        self.bytes -= bytes;
        Some(oldest)
    }

    pub(crate) fn end(&mut self, key: &K, end: End) -> Option<Ended<K, H, E>> {
        let number = self.numbers.remove(key)?;
        let open = self.open.remove(&number)?;
        Some(self.ended(open, end))
    }

    /// Ends all keys, oldest first.
    pub(crate) fn end_all(&mut self, end: End, ended: &mut Vec<Ended<K, H, E>>) {
        while let Some(oldest) = self.end_oldest(end) {
            ended.push(oldest);
        }
    }

    fn end_oldest(&mut self, end: End) -> Option<Ended<K, H, E>> {
        let (_, open) = self.open.pop_first()?;
        self.numbers.remove(&open.key);
        Some(self.ended(open, end))
    }

    fn ended(&mut self, open: Open<K, H, E>, end: End) -> Ended<K, H, E> {
        let Open { key, held, parts, errors, bytes, .. } = open;
        self.bytes -= bytes;
        let errors = errors.into_iter().map(|(error, _)| error).collect();
        Ended { key, held, parts, errors, end, spoiled: false }
    }

    fn expiry(&self, open: &Open<K, H, E>) -> Instant {
        // The time to live is at most a year, which fits the clock.
        open.since.checked_add(self.limits.ttl).unwrap_or(open.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys in a list, oldest first: what the table is, without its indices.
    #[derive(Debug, Default)]
    struct Model {
        open: Vec<ModelKey>,
    }

    /// The key, since when, its parts, its errors and what they weigh, and what all of it weighs.
    type ModelKey = (u8, u64, Vec<u32>, Vec<(u32, usize)>, usize);

    #[derive(Clone, Debug)]
    enum Step {
        Part(u8, usize),
        Error(u8, usize),
        End(u8),
        Pass(u64),
        Close,
    }

    type Out = Vec<(u8, Vec<u32>, Vec<u32>, End)>;

    const LIMITS: Limits = Limits { max_open: 3, max_errors: 2, max_bytes: 40, ttl: Duration::from_secs(10) };

    impl Model {
        fn take(&mut self, at: usize, end: End, out: &mut Out) {
            let (key, _, parts, errors, _) = self.open.remove(at);
            out.push((key, parts, errors.into_iter().map(|(error, _)| error).collect(), end));
        }

        fn bytes(&self) -> usize {
            self.open.iter().map(|open| open.4).sum()
        }

        fn step(&mut self, step: &Step, now: u64, n: u32, out: &mut Out) -> Option<u32> {
            while self.open.first().is_some_and(|open| open.1 + 10 <= now) {
                self.take(0, End::Expired, out);
            }
            let (key, bytes) = match *step {
                Step::Part(key, bytes) | Step::Error(key, bytes) => (key, bytes),
                Step::End(key) => {
                    if let Some(at) = self.open.iter().position(|open| open.0 == key) {
                        self.take(at, End::Complete, out);
                    }
                    return None;
                }
                Step::Close => {
                    (0..self.open.len()).for_each(|_| self.take(0, End::Closed, out));
                    return None;
                }
                Step::Pass(_) => return None,
            };
            while self.bytes() + bytes > 40 || (self.open.len() >= 3 && !self.open.iter().any(|open| open.0 == key)) {
                self.take(0, End::Evicted, out);
            }
            if !self.open.iter().any(|open| open.0 == key) {
                self.open.push((key, now, vec![], vec![], 0));
            }
            let open = self.open.iter_mut().find(|open| open.0 == key).unwrap();
            open.4 += bytes;
            if matches!(step, Step::Part(..)) {
                open.2.push(n);
                return None;
            }
            open.3.push((n, bytes));
            (open.3.len() > 2).then(|| {
                let (error, bytes) = open.3.remove(0);
                open.4 -= bytes;
                error
            })
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u8..6, 0_usize..20).prop_map(|(key, bytes)| Step::Part(key, bytes)),
            4 => (0_u8..6, 0_usize..20).prop_map(|(key, bytes)| Step::Error(key, bytes)),
            2 => (0_u8..6).prop_map(Step::End),
            2 => (0_u64..6).prop_map(Step::Pass),
            1 => Just(Step::Close),
        ]
    }

    proptest! {
        #[test]
        fn the_table_is_a_list_of_keys_by_age(steps in prop::collection::vec(step(), 1..200)) {
            let start = Instant::now();
            let mut table = Table::<u8, Vec<u32>, u32>::new(LIMITS);
            let mut model = Model::default();
            let mut secs = 0;
            for (n, step) in (0..).zip(&steps) {
                if let Step::Pass(more) = step {
                    secs += more;
                }
                let now = start + Duration::from_secs(secs);
                let mut ended = Vec::new();
                table.expire(now, &mut ended);
                let mut lost = None;
                match *step {
                    Step::Part(key, bytes) => {
                        table.make_room(&key, bytes, &mut ended);
                        table.open(&key, now, Vec::new);
                        table.add(&key, bytes).unwrap().push(n);
                    }
                    Step::Error(key, bytes) => {
                        table.make_room(&key, bytes, &mut ended);
                        table.open(&key, now, Vec::new);
                        lost = table.keep(&key, n, bytes);
                    }
                    Step::End(key) => ended.extend(table.end(&key, End::Complete)),
                    Step::Close => table.end_all(End::Closed, &mut ended),
                    Step::Pass(_) => {}
                }
                let mut expected = Out::new();
                prop_assert_eq!(model.step(step, secs, n, &mut expected), lost);
                for one in &ended {
                    prop_assert_eq!(one.parts, u64::try_from(one.held.len()).unwrap());
                }
                let got: Out = ended.into_iter().map(|e| (e.key, e.held, e.errors, e.end)).collect();
                prop_assert_eq!(got, expected);
                prop_assert_eq!(table.len(), model.open.len());
                prop_assert_eq!(table.bytes(), model.bytes());
                prop_assert!(table.len() <= 3 && table.bytes() <= 40);
                prop_assert_eq!(
                    table.next_expiry().map(|at| at.duration_since(start).as_secs()),
                    model.open.first().map(|open| open.1 + 10)
                );
            }
        }
    }

    #[test]
    fn a_panic_while_opening_changes_nothing() {
        let mut table = Table::<u8, (), ()>::new(LIMITS);
        let opening = std::panic::AssertUnwindSafe(|| table.open(&1, Instant::now(), || panic!("no")));
        assert!(std::panic::catch_unwind(opening).is_err());
        assert_eq!((table.len(), table.is_open(&1), table.next_expiry()), (0, false, None));
    }
}
