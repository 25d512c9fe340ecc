use crate::{
    DiskSpool, Durability, Engine,
    envelope::{MAX_KEY, MAX_PAYLOAD},
    row::MAX_ATTEMPTS,
    storage::{LocalStorage, Storage},
};
use forebay_core::{BoxError, ConfigError};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Configures a spool, and opens it.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a spool"]
pub struct SpoolBuilder {
    storage: Arc<dyn Storage>,
    settings: Settings,
}

/// What happens to a group for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest records make room (the default), those of the normal lane before dead letters, and the high lane last.
    #[default]
    DropOldest,
    /// The group is refused. One of the high lane still takes the place of the oldest normal ones.
    Refuse,
    /// The group is refused, whatever its lane: nothing that was acknowledged is dropped to make room.
    RefuseAll,
}

/// Every knob with its value. Nothing of it is checked before [`check`](Self::check).
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) destinations: Vec<(String, String)>,
    pub(crate) durability: Durability,
    pub(crate) max_bytes: u64,
    pub(crate) max_records: u64,
    pub(crate) max_age: Option<Duration>,
    pub(crate) overflow: Overflow,
    pub(crate) segment_bytes: Option<u64>,
    pub(crate) max_record_bytes: usize,
    pub(crate) max_attempts: u8,
    pub(crate) max_leases: usize,
    pub(crate) max_waiting_bytes: usize,
    pub(crate) two_phase: bool,
}

/// The smallest limit that leaves room for a file of each lane and one to write to.
const MIN_BYTES: u64 = 1 << 20;

// === impl SpoolBuilder ===

impl SpoolBuilder {
    /// A spool in the directory `dir`, which is made if it does not exist; its parent must exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::on(Arc::new(LocalStorage::new(dir)))
    }

    /// A spool on a storage of your own, for tests.
    pub fn on(storage: Arc<dyn Storage>) -> Self {
        Self { storage, settings: Settings::default() }
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(&mut self.settings);
        self
    }

    /// Adds a destination: the name under which it leases, and its identity, which is stored.
    ///
    /// The identity says where records go: an endpoint, a tenant, never a secret. Records that were spooled under another
    /// identity are not leased under this one, even if the name is the same; they stay until `max_age` or a requeue by the
    /// `forebay-spool` program. A destination that is added later gets what is appended from then on.
    pub fn destination(self, name: impl Into<String>, identity: impl Into<String>) -> Self {
        self.with(|settings| settings.destinations.push((name.into(), identity.into())))
    }

    /// What an acknowledgement means; [`Durability::DISK`] by default.
    pub fn durability(self, durability: Durability) -> Self {
        self.with(|settings| settings.durability = durability)
    }

    /// The bytes of all files together; 1 GiB by default, 1 MiB at least.
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        self.with(|settings| settings.max_bytes = max_bytes)
    }

    /// Records that may be pending; no limit by default. The destination that waits for the most counts.
    pub fn max_records(self, max_records: u64) -> Self {
        self.with(|settings| settings.max_records = max_records)
    }

    /// How old a record may become, by the wall clock, restarts included; no limit by default.
    pub fn max_age(self, max_age: Duration) -> Self {
        self.with(|settings| settings.max_age = Some(max_age))
    }

    /// What happens to a group for which there is no room; [`Overflow::DropOldest`] by default.
    pub fn overflow(self, overflow: Overflow) -> Self {
        self.with(|settings| settings.overflow = overflow)
    }

    /// The size at which a file is full; by default a 32nd of `max_bytes`, between 64 KiB and 32 MiB.
    ///
    /// Space is freed a file at a time, and damage costs one file at most.
    pub fn segment_bytes(self, segment_bytes: u64) -> Self {
        self.with(|settings| settings.segment_bytes = Some(segment_bytes))
    }

    /// The payload of one record; 4 MiB by default, 16 MiB at most.
    pub fn max_record_bytes(self, max_record_bytes: usize) -> Self {
        self.with(|settings| settings.max_record_bytes = max_record_bytes)
    }

    /// How often a record may fail before it is a dead letter; 5 by default, 200 at most.
    pub fn max_attempts(self, max_attempts: u8) -> Self {
        self.with(|settings| settings.max_attempts = max_attempts)
    }

    /// Leases that may be open at once, of all destinations; 256 by default.
    pub fn max_leases(self, max_leases: usize) -> Self {
        self.with(|settings| settings.max_leases = max_leases)
    }

    /// Bytes of groups that wait to be written; a group beyond them is refused as `Busy`. 64 MiB by default.
    pub fn max_waiting_bytes(self, max_waiting_bytes: usize) -> Self {
        self.with(|settings| settings.max_waiting_bytes = max_waiting_bytes)
    }

    /// Whether redb commits appended records in two phases, with a second sync; on by default.
    ///
    /// A commit in one phase relies on a checksum that is no cryptographic one when the power is cut in the middle of it. An
    /// outsider who chooses payloads would have to find a collision without seeing the random tag that stands in every record, and
    /// would make the spool quarantine records that were not acknowledged yet; a record with another payload is found out by its own
    /// checksum and sequence. Two phases exclude even that.
    pub fn two_phase(self, two_phase: bool) -> Self {
        self.with(|settings| settings.two_phase = two_phase)
    }

    /// Opens the spool: verifies every file, takes over what can be read of damaged ones, and starts the thread that writes.
    ///
    /// It blocks while it reads all files. Damage never makes it fail: what is damaged is set aside and counted.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a knob that makes no sense; [`SpoolError`](crate::SpoolError) if the directory is in use, cannot be trusted, or cannot
    /// be written at all.
    pub fn open(self) -> Result<DiskSpool, BoxError> {
        if self.settings.destinations.is_empty() {
            return Err(ConfigError::new("destination", "missing", "one destination at least").into());
        }
        self.settings.check()?;
        let settings = self.settings.clone();
        let engine = Engine::open(&self.storage, self.settings, crate::worker::wall_clock(), random())?;
        Ok(DiskSpool::start(engine, &settings)?)
    }

    /// Opens the spool without a thread, for tools and tests: every call of the [`Engine`] blocks.
    ///
    /// Without a destination of its own, it works with those that the spool knows. `now` is the time of the wall clock.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_engine(self, now: std::time::SystemTime) -> Result<Engine, BoxError> {
        self.settings.check()?;
        Ok(Engine::open(&self.storage, self.settings, crate::record::to_millis(now), random())?)
    }
}

/// A random number from the seed that the operating system gives each hash map: enough to distinguish one spool from another.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

// === impl Settings ===

impl Settings {
    fn check(&self) -> Result<(), ConfigError> {
        for (at, (name, identity)) in self.destinations.iter().enumerate() {
            if name.is_empty() || name.len() > MAX_KEY || identity.len() > MAX_KEY {
                return Err(ConfigError::new(
                    "destination",
                    name,
                    "a name of 1 to 1,024 bytes, an identity of up to 1,024",
                ));
            }
            if self.destinations.iter().skip(at + 1).any(|(other, _)| other == name) {
                return Err(ConfigError::new("destination", name, "each name once"));
            }
        }
        if self.destinations.len() > 64 {
            return Err(ConfigError::new("destination", self.destinations.len(), "at most 64 destinations"));
        }
        if self.max_bytes < MIN_BYTES {
            return Err(ConfigError::new("max_bytes", self.max_bytes, "1 MiB or more"));
        }
        if self.max_records == 0 {
            return Err(ConfigError::new("max_records", 0, "1 or more"));
        }
        if self.max_age.is_some_and(|age| age.is_zero()) {
            return Err(ConfigError::new("max_age", "0 s", "more than nothing"));
        }
        let segment = self.segment_bytes();
        if segment < 64 << 10 || segment > self.max_bytes / 4 || segment > 1 << 30 {
            return Err(ConfigError::new(
                "segment_bytes",
                segment,
                "64 KiB to a quarter of `max_bytes`, 1 GiB at most",
            ));
        }
        if self.max_record_bytes == 0
            || self.max_record_bytes > MAX_PAYLOAD
            || self.max_record_bytes as u64 > self.max_bytes / 8
        {
            let allowed = "1 byte to 16 MiB, and an eighth of `max_bytes` at most";
            return Err(ConfigError::new("max_record_bytes", self.max_record_bytes, allowed));
        }
        if self.max_attempts == 0 || self.max_attempts > MAX_ATTEMPTS {
            return Err(ConfigError::new("max_attempts", self.max_attempts, "1 to 200"));
        }
        if self.max_leases == 0 {
            return Err(ConfigError::new("max_leases", 0, "1 or more"));
        }
        if self.max_waiting_bytes < self.max_record_bytes {
            let allowed = "`max_record_bytes` or more";
            return Err(ConfigError::new("max_waiting_bytes", self.max_waiting_bytes, allowed));
        }
        Ok(())
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.unwrap_or_else(|| (self.max_bytes / 32).clamp(64 << 10, 32 << 20))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            destinations: Vec::new(),
            durability: Durability::default(),
            max_bytes: 1 << 30,
            max_records: u64::MAX,
            max_age: None,
            overflow: Overflow::default(),
            segment_bytes: None,
            max_record_bytes: 4 << 20,
            max_attempts: 5,
            max_leases: 256,
            max_waiting_bytes: 64 << 20,
            two_phase: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let one = || SpoolBuilder::new("nowhere").destination("main", "https://a.example");
        for (builder, knob) in [
            (SpoolBuilder::new("nowhere"), "destination"),
            (one().destination("main", "https://b.example"), "destination"),
            (one().max_bytes(1), "max_bytes"),
            (one().max_records(0), "max_records"),
            (one().max_age(Duration::ZERO), "max_age"),
            (one().segment_bytes(1), "segment_bytes"),
            (one().max_bytes(1 << 20).max_record_bytes(1 << 20), "max_record_bytes"),
            (one().max_attempts(0), "max_attempts"),
            (one().max_leases(0), "max_leases"),
            (one().max_waiting_bytes(0), "max_waiting_bytes"),
        ] {
            let error = builder.open().unwrap_err();
            assert_eq!(error.downcast_ref::<ConfigError>().unwrap().knob(), knob);
        }
    }

    #[test]
    fn a_file_is_a_32nd_of_the_spool_within_limits() {
        let settings = |max_bytes| Settings { max_bytes, ..Settings::default() }.segment_bytes();
        assert_eq!([1 << 20, 64 << 20, 1 << 30, 1 << 40].map(settings), [64 << 10, 2 << 20, 32 << 20, 32 << 20]);
    }
}
