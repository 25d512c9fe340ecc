//! One `Retry-After` for all: a hint to one call holds for every call with the same key.

mod builder;
mod gate;
mod state;

pub use self::{
    builder::ThrottleBuilder,
    gate::{Gate, Keyed},
};

use self::state::Gates;
use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Holds back every call for a key whose server has asked for a pause, and releases them spread over a window.
///
/// A hint holds for its time, at most [`max_hint`](ThrottleBuilder::max_hint); each call that arrives meanwhile waits until
/// then and a random part of the [window](ThrottleBuilder::spread) after it. A call that arrives later is not held. A
/// call that has waited looks again before it is sent, so that a newer hint holds it further, up to its
/// [`patience`](ThrottleBuilder::patience), its deadline, and the layer's `max_elapsed`.
///
/// A handle: clones share the keys that are held. Several layers that lead to the same server share one, and
/// [`hint`](Self::hint) feeds it from elsewhere.
///
/// # Memory
///
/// A key is held here only as a 64-bit hash, with a secret of this throttle's own, and only while it is held back:
/// idle keys take no room at all, and [`max_keys`](ThrottleBuilder::max_keys) bounds the rest.
///
/// # Cost
///
/// While no key is held back, a call reads one word that no call writes.
#[derive(Clone)]
pub struct Throttle(Arc<Shared>);

struct Shared {
    /// Whether any key may be held back: the fast path reads this word alone.
    any: AtomicBool,
    gates: Mutex<Gates>,
    hasher: RandomState,
    patience: Duration,
    hold_first_attempts: bool,
}

// === impl Throttle ===

impl Throttle {
    /// A throttle with other terms than the default.
    pub fn builder() -> ThrottleBuilder {
        ThrottleBuilder::DEFAULT
    }

    fn of(gates: Gates, patience: Duration, hold_first_attempts: bool) -> Self {
        let (any, hasher) = (AtomicBool::new(false), RandomState::new());
        Self(Arc::new(Shared { any, gates: Mutex::new(gates), hasher, patience, hold_first_attempts }))
    }

    /// A server asked that no call for `key` be made for `wait`.
    pub fn hint<Key: Hash + ?Sized>(&self, key: &Key, wait: Duration) {
        self.hint_hashed(self.hash(key), wait);
    }

    /// How long a call for `key` would wait now; each call draws its own wait. `None`: the call is not held.
    #[must_use]
    pub fn held<Key: Hash + ?Sized>(&self, key: &Key) -> Option<Duration> {
        self.held_hashed(self.hash(key))
    }

    /// Takes every hint for `key` back. A call that waits already waits to the end of its wait.
    pub fn release<Key: Hash + ?Sized>(&self, key: &Key) {
        let key = self.hash(key);
        let mut gates = self.0.gates();
        gates.release(key);
        self.0.any.store(gates.len() > 0, Relaxed);
    }

    /// How many keys are held back, those included whose time has ended without a call or a hint since.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.gates().len()
    }

    /// Whether no key is held back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash<Key: Hash + ?Sized>(&self, key: &Key) -> u64 {
        self.0.hasher.hash_one(key)
    }

    fn hint_hashed(&self, key: u64, wait: Duration) {
        // CORRECTNESS: `any` is stored under the lock, so that it is never older than what the gates hold.
        let mut gates = self.0.gates();
        gates.hint(key, Instant::now(), wait);
        self.0.any.store(gates.len() > 0, Relaxed);
    }

    #[inline]
    fn held_hashed(&self, key: u64) -> Option<Duration> {
        // CORRECTNESS: written under the lock only. A call that reads it just before a hint is written was sent just before
        // the hint, so no hint is lost.
        if self.0.any.load(Relaxed) { self.0.look(key) } else { None }
    }
}

impl Shared {
    #[cold]
    fn look(&self, key: u64) -> Option<Duration> {
        let mut gates = self.gates();
        let wait = gates.hold(key, Instant::now());
        self.any.store(gates.len() > 0, Relaxed);
        wait
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        // CORRECTNESS: no user code runs under this lock: keys are hashed before it is taken, and no waker is in here.
        // Nothing under the lock panics half-way through a change.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds at most 60 s, releases over half of the hint, up to 1024 keys.
impl Default for Throttle {
    fn default() -> Self {
        ThrottleBuilder::DEFAULT.checked()
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("held", &self.len())
            .field("patience", &self.0.patience)
            .finish_non_exhaustive()
    }
}
