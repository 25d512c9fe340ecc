//! Which keys are held back, and until when. No clock, no lock.

use crate::backoff::SplitMix64;
use std::{collections::HashMap, num::NonZeroUsize, time::Duration};
use tokio::time::Instant;

/// Keys are 64-bit hashes: only keys that are held are here, and a key is forgotten when its gate opens.
#[derive(Debug)]
pub(super) struct Gates {
    terms: Terms,
    gates: HashMap<u64, Gate>,
    /// No gate opens before this; `None` when there is none.
    first_opens: Option<Instant>,
    rng: SplitMix64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) max_keys: NonZeroUsize,
    pub(super) max_hold: Duration,
    pub(super) spread: f64,
}

#[derive(Clone, Copy, Debug)]
struct Gate {
    opens: Instant,
    /// Over how much time after `opens` the calls that waited are let go.
    window: Duration,
}

// === impl Gates ===

impl Gates {
    pub(super) fn new(terms: Terms, seed: u64) -> Self {
        Self { terms, gates: HashMap::new(), first_opens: None, rng: SplitMix64::new(seed, 0) }
    }

    /// The far side asked not to be called for `wait`.
    pub(super) fn hint(&mut self, key: u64, now: Instant, wait: Duration) {
        let wait = wait.min(self.terms.max_hold);
        let Some(opens) = now.checked_add(wait).filter(|_| !wait.is_zero()) else { return };
        let hinted = Gate { opens, window: wait.mul_f64(self.terms.spread) };

        self.sweep(now);
        if let Some(gate) = self.gates.get_mut(&key) {
            // An answer that comes late, or asks for less, does not open the gate earlier.
            gate.opens = gate.opens.max(hinted.opens);
            gate.window = gate.window.max(hinted.window);
        } else {
            self.make_room();
            self.gates.insert(key, hinted);
        }
        self.first_opens = self.gates.values().map(|gate| gate.opens).min();
    }

    /// How long a call with this key must wait from `now`, drawn anew for each; `None` is not at all.
    pub(super) fn hold(&mut self, key: u64, now: Instant) -> Option<Duration> {
        self.sweep(now);
        let gate = *self.gates.get(&key)?;
        let window = u64::try_from(gate.window.as_nanos()).unwrap_or(u64::MAX);
        let slot = Duration::from_nanos(self.rng.between(0, window));
        Some(gate.opens.duration_since(now).saturating_add(slot))
    }

    /// Opens the gate of `key`, if there is one.
    pub(super) fn release(&mut self, key: u64) {
        self.gates.remove(&key);
    }

    pub(super) fn len(&self) -> usize {
        self.gates.len()
    }

    /// Forgets the gates that are open.
    fn sweep(&mut self, now: Instant) {
        if self.first_opens.is_some_and(|first| first <= now) {
            self.gates.retain(|_, gate| gate.opens > now);
            self.first_opens = self.gates.values().map(|gate| gate.opens).min();
        }
    }

    /// When all places are taken, the gate that would open first is opened now: it has least left to do.
    fn make_room(&mut self) {
        if self.gates.len() >= self.terms.max_keys.get()
            && let Some(first) = self.gates.iter().min_by_key(|(_, gate)| gate.opens).map(|(key, _)| *key)
        {
            self.gates.remove(&first);
        }
    }
}
