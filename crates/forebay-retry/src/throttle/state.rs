//! Which keys are held back, and until when. No clock, no lock.

use forebay_core::chance::SplitMix64;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// Keys are 64-bit hashes: only keys that are held are here, and a key is forgotten when its gate opens.
#[derive(Debug)]
pub(super) struct Gates {
    terms: Terms,
    gates: HashMap<u64, Gate>,
    /// The same gates by when they open, so that no hint and no call looks at all of them.
    by_opening: BTreeSet<(Instant, u64)>,
    rng: SplitMix64,
    /// How many gates were looked at.
    #[cfg(test)]
    looks: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) max_keys: usize,
    /// A hint above it counts as this long.
    pub(super) max_hint: Duration,
    pub(super) spread: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    opens: Instant,
    /// Over how much time after `opens` the calls that waited are released.
    window: Duration,
}

// === impl Gates ===

impl Gates {
    pub(super) fn new(terms: Terms, seed: u64) -> Self {
        Self {
            terms,
            gates: HashMap::new(),
            by_opening: BTreeSet::new(),
            rng: SplitMix64::stream(seed, 0),
            #[cfg(test)]
            looks: 0,
        }
    }

    /// The server asked not to be called for `wait`.
    ///
    /// The cost is that of finding one place among the keys, logarithmic in their number. Gates that have opened are
    /// forgotten on the way, each once.
    pub(super) fn hint(&mut self, key: u64, now: Instant, wait: Duration) {
        let wait = wait.min(self.terms.max_hint);
        let Some(opens) = now.checked_add(wait).filter(|_| !wait.is_zero()) else { return };
        let mut hinted = Gate { opens, window: forebay_core::time::saturating_mul(wait, self.terms.spread) };

        self.sweep(now);
        if let Some(gate) = self.release(key) {
            // A response that is late, or asks for less, does not open the gate earlier.
            hinted.opens = hinted.opens.max(gate.opens);
            hinted.window = hinted.window.max(gate.window);
        } else if self.gates.len() >= self.terms.max_keys
            && let Some((_, first)) = self.first()
        {
            // All places are taken: the gate that would open first opens now, because it has least time left.
            self.release(first);
        }
        self.gates.insert(key, hinted);
        self.by_opening.insert((hinted.opens, key));
    }

    /// How long a call with this key must wait from `now`; each call draws its own. `None` is not at all.
    pub(super) fn hold(&mut self, key: u64, now: Instant) -> Option<Duration> {
        self.sweep(now);
        let gate = *self.gates.get(&key)?;
        let window = u64::try_from(gate.window.as_nanos()).unwrap_or(u64::MAX);
        let slot = Duration::from_nanos(self.rng.between(0, window));
        Some(gate.opens.duration_since(now).saturating_add(slot))
    }

    /// Opens the gate of `key`, if there is one, and returns it.
    pub(super) fn release(&mut self, key: u64) -> Option<Gate> {
        let gate = self.gates.remove(&key)?;
        self.by_opening.remove(&(gate.opens, key));
        Some(gate)
    }

    pub(super) fn len(&self) -> usize {
        self.gates.len()
    }

    /// Forgets the gates that are open.
    fn sweep(&mut self, now: Instant) {
        while let Some((_, key)) = self.first().filter(|(opens, _)| *opens <= now) {
            self.release(key);
        }
    }

    /// The gate that opens first.
    fn first(&mut self) -> Option<(Instant, u64)> {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        self.by_opening.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn gates(max_keys: usize) -> Gates {
        Gates::new(Terms { max_keys, max_hint: ms(60_000), spread: 0.5 }, 7)
    }

    #[test]
    fn r18_a_hint_holds_its_key_and_lets_go_over_half_of_its_time() {
        let (mut gates, now) = (gates(8), Instant::now());
        gates.hint(1, now, ms(4000));
        let waits: Vec<_> = (0..1000).map(|_| gates.hold(1, now).unwrap()).collect();
        assert!(waits.iter().all(|wait| (ms(4000)..=ms(6000)).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < ms(4100)) && waits.iter().any(|wait| *wait > ms(5900)));
        assert_eq!(gates.hold(2, now), None, "another key");
        assert!(gates.hold(1, now + ms(3999)).is_some());
        assert_eq!(gates.hold(1, now + ms(4000)), None, "the time is over");
        assert_eq!(gates.len(), 0, "and the key is forgotten");
    }

    #[test]
    fn r12_a_hint_is_capped_and_no_hint_is_no_hold() {
        let (mut gates, now) = (gates(8), Instant::now());
        gates.hint(1, now, Duration::MAX);
        assert!(gates.hold(1, now).unwrap() <= ms(90_000));
        gates.hint(2, now, Duration::ZERO);
        assert_eq!(gates.hold(2, now), None);
    }

    #[test]
    fn r18_a_shorter_hint_that_comes_late_opens_nothing() {
        let (mut gates, now) = (gates(8), Instant::now());
        gates.hint(1, now, ms(10_000));
        gates.hint(1, now + ms(1000), ms(100));
        assert!(gates.hold(1, now + ms(9999)).is_some());
        gates.hint(1, now + ms(9999), ms(5000));
        assert!(gates.hold(1, now + ms(14_998)).is_some(), "a longer one holds on");
        gates.release(1);
        assert_eq!(gates.hold(1, now + ms(9999)), None);
    }

    #[test]
    fn the_gate_that_opens_first_makes_room() {
        let (mut gates, now) = (gates(2), Instant::now());
        gates.hint(1, now, ms(5000));
        gates.hint(2, now, ms(1000));
        gates.hint(3, now, ms(3000));
        let held: Vec<_> = (1..=3).filter(|key| gates.hold(*key, now).is_some()).collect();
        assert_eq!(held, [1, 3]);
    }

    #[test]
    fn f26_the_work_of_a_hint_does_not_grow_with_the_number_of_keys() {
        const KEYS: usize = 100_000;

        let (mut gates, start) = (gates(KEYS), Instant::now());
        for key in 0..KEYS as u64 {
            gates.hint(key, start, ms(30_000 + key % 1000));
        }
        assert_eq!(gates.len(), KEYS);
        gates.looks = 0;
        // Known keys, new keys for which others make room, and calls: each looks at two gates at most.
        for key in 0..KEYS as u64 {
            gates.hint(key, start + ms(1), ms(30_000));
            gates.hint(key + KEYS as u64, start + ms(1), ms(30_000));
            gates.hold(key, start + ms(2));
        }
        assert!(gates.looks <= 5 * KEYS, "{}", gates.looks);
        assert_eq!(gates.len(), KEYS);
        // Those that have opened are forgotten together, each by one look.
        gates.looks = 0;
        assert_eq!(gates.hold(0, start + ms(60_000)), None);
        assert_eq!((gates.len(), gates.by_opening.len()), (0, 0));
        assert_eq!(gates.looks, KEYS + 1);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pass(u64),
        Hint(u64, u64),
        Look(u64),
        Release(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..2000_u64).prop_map(Step::Pass),
            (0..6_u64, 0..90_000_u64).prop_map(|(key, wait)| Step::Hint(key, wait)),
            (0..6_u64).prop_map(Step::Look),
            (0..6_u64).prop_map(Step::Release),
        ]
    }

    proptest! {
        /// With room for all keys, a key is held exactly until the latest moment any of its hints named.
        #[test]
        fn r18_it_does_what_a_plain_model_does(steps in proptest::collection::vec(step(), 1..80)) {
            let mut gates = gates(6);
            let mut now = Instant::now();
            let mut opens: [Vec<Instant>; 6] = Default::default();
            for step in steps {
                match step {
                    Step::Pass(millis) => now += ms(millis),
                    Step::Hint(key, wait) => {
                        gates.hint(key, now, ms(wait));
                        opens[usize::try_from(key).unwrap()].push(now + ms(wait.min(60_000)));
                    }
                    Step::Look(key) => {
                        let open = opens[usize::try_from(key).unwrap()].iter().max().filter(|open| **open > now);
                        let wait = gates.hold(key, now);
                        prop_assert_eq!(wait.is_some(), open.is_some());
                        if let (Some(wait), Some(open)) = (wait, open) {
                            prop_assert!(now + wait >= *open && now + wait <= *open + ms(30_000));
                        }
                    }
                    Step::Release(key) => {
                        gates.release(key);
                        opens[usize::try_from(key).unwrap()].clear();
                    }
                }
                prop_assert!(gates.len() <= 6);
                prop_assert_eq!(gates.by_opening.len(), gates.len());
            }
        }

        #[test]
        fn no_crowd_of_keys_is_larger_than_allowed(hints in proptest::collection::vec((any::<u64>(), 0..5000_u64), 1..200)) {
            let (mut gates, now) = (gates(16), Instant::now());
            for (key, wait) in hints {
                gates.hint(key, now, ms(wait));
                prop_assert!(gates.len() <= 16);
            }
        }
    }
}
