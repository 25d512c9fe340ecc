use crate::{JetStreamSpool, connection::Connection, streams::Streams};
use async_nats::Client;
use forebay_core::{BoxError, ConfigError};
use std::time::Duration;

/// Configures a spool on JetStream, and opens it.
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`destination`](Self::destination) | none | 1 to 64 |
/// | [`replicas`](Self::replicas) | 1 | 1 to 5 |
/// | [`max_bytes`](Self::max_bytes) | 1 GiB | 1 MiB and more |
/// | [`max_records`](Self::max_records) | without limit | 1 and more |
/// | [`max_attempts`](Self::max_attempts) | 5 | 1 to 200 |
/// | [`max_leases`](Self::max_leases) | 256 | 1 to 65,536 |
/// | [`max_in_flight`](Self::max_in_flight) | 16,384 records | 1 and more |
/// | [`lease_for`](Self::lease_for) | 30 s | 1 s to an hour |
/// | [`timeout`](Self::timeout) | 5 s | 10 ms to 10 min |
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a spool"]
pub struct JetStreamBuilder {
    client: Client,
    settings: Settings,
}

/// Every knob with its value. Nothing of it is checked before [`check`](Self::check).
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) stream: String,
    pub(crate) destinations: Vec<(String, String)>,
    pub(crate) replicas: usize,
    pub(crate) max_bytes: u64,
    pub(crate) max_records: Option<u64>,
    pub(crate) max_attempts: u32,
    pub(crate) max_leases: usize,
    pub(crate) max_in_flight: u32,
    pub(crate) lease_for: Duration,
    pub(crate) timeout: Duration,
}

// === impl JetStreamBuilder ===

impl JetStreamBuilder {
    pub(crate) fn new(client: Client, stream: String) -> Self {
        let settings = Settings {
            stream,
            destinations: Vec::new(),
            replicas: 1,
            max_bytes: 1 << 30,
            max_records: None,
            max_attempts: 5,
            max_leases: 256,
            max_in_flight: 16_384,
            lease_for: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
        };
        Self { client, settings }
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(&mut self.settings);
        self
    }

    /// Adds a destination: the name under which it leases, of letters, digits, `-` and `_`, and its identity.
    ///
    /// The identity says where records go: an endpoint, a tenant, never a secret. It is kept with the consumers of the destination:
    /// another identity under the same name has consumers, and progress, of its own. Every process that opens the stream with the
    /// same name and identity takes part in the same progress: each record is leased by one of them at a time.
    pub fn destination(self, name: impl Into<String>, identity: impl Into<String>) -> Self {
        self.with(|settings| settings.destinations.push((name.into(), identity.into())))
    }

    /// On how many servers each record is kept, where the stream is made; a stream that exists keeps its own number.
    pub fn replicas(self, replicas: usize) -> Self {
        self.with(|settings| settings.replicas = replicas)
    }

    /// The bytes that the stream holds at most, and its dead letters as many again, where the streams are made.
    pub fn max_bytes(self, bytes: u64) -> Self {
        self.with(|settings| settings.max_bytes = bytes)
    }

    /// The records that the stream holds at most, where it is made.
    pub fn max_records(self, records: u64) -> Self {
        self.with(|settings| settings.max_records = Some(records))
    }

    /// How often a destination may fail to take a record before that is a dead letter.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with(|settings| settings.max_attempts = attempts)
    }

    /// How many leases may be open at once, in this process.
    pub fn max_leases(self, leases: usize) -> Self {
        self.with(|settings| settings.max_leases = leases)
    }

    /// How many records of a lane may be leased at once by all processes of a destination.
    pub fn max_in_flight(self, records: u32) -> Self {
        self.with(|settings| settings.max_in_flight = records)
    }

    /// After how long the records of a process that has died are leased again. A process that lives renews its leases by itself.
    pub fn lease_for(self, duration: Duration) -> Self {
        self.with(|settings| settings.lease_for = duration)
    }

    /// How long a response of the server is waited for. An append makes three attempts.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeout = timeout)
    }

    /// Makes the streams and consumers that do not exist, and checks those that do. It belongs to the runtime of the caller, on
    /// which the spool then works.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a knob that makes no sense, and for a stream that is not one of a spool: its retention is not by interest, it
    /// drops old records where there is no room, it forgets them with time, or it takes no atomic batches. Otherwise what the server
    /// said: it has no JetStream, cannot be reached, or is older than 2.12.
    pub async fn open(self) -> Result<JetStreamSpool, BoxError> {
        let Self { client, settings } = self;
        settings.check()?;
        let connection = Connection::new(client, settings.timeout);
        let streams = Streams::open(&connection, &settings).await?;
        let recovered = streams.pending().await?;
        Ok(JetStreamSpool::start(connection, streams, settings, recovered))
    }
}

// === impl Settings ===

impl Settings {
    /// A lease survives that two messages which renew it are lost.
    pub(crate) const fn renews_every(&self) -> Duration {
        match self.lease_for.checked_div(3) {
            Some(third) => third,
            None => self.lease_for,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        const NAME: &str = "1 to 64 letters, digits, `-` and `_`";
        if !is_name(&self.stream) {
            return Err(ConfigError::new("stream", &self.stream, NAME));
        }
        if self.destinations.is_empty() || self.destinations.len() > 64 {
            return Err(ConfigError::new("destination", self.destinations.len(), "1 to 64 destinations"));
        }
        for (at, (name, identity)) in self.destinations.iter().enumerate() {
            if !is_name(name) {
                return Err(ConfigError::new("destination", name, NAME));
            }
            if identity.len() > 1024 {
                return Err(ConfigError::new("destination", identity.len(), "an identity of up to 1,024 bytes"));
            }
            if self.destinations.iter().skip(at.saturating_add(1)).any(|(other, _)| other == name) {
                return Err(ConfigError::new("destination", name, "each name once"));
            }
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(ConfigError::new("replicas", self.replicas, "1 to 5"));
        }
        if self.max_bytes < 1 << 20 || i64::try_from(self.max_bytes).is_err() {
            return Err(ConfigError::new("max_bytes", self.max_bytes, "1 MiB to 2^63 - 1"));
        }
        if self.max_records.is_some_and(|records| records == 0 || i64::try_from(records).is_err()) {
            return Err(ConfigError::new("max_records", self.max_records.unwrap_or_default(), "1 to 2^63 - 1"));
        }
        if !(1..=200).contains(&self.max_attempts) {
            return Err(ConfigError::new("max_attempts", self.max_attempts, "1 to 200"));
        }
        if !(1..=65_536).contains(&self.max_leases) {
            return Err(ConfigError::new("max_leases", self.max_leases, "1 to 65,536"));
        }
        if self.max_in_flight == 0 {
            return Err(ConfigError::new("max_in_flight", 0, "1 and more"));
        }
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        if !(second..=hour).contains(&self.lease_for) {
            return Err(ConfigError::new("lease_for", format!("{:?}", self.lease_for), "1 s to an hour"));
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(600)).contains(&self.timeout) {
            return Err(ConfigError::new("timeout", format!("{:?}", self.timeout), "10 ms to 10 min"));
        }
        Ok(())
    }
}

/// Whether it may stand in a subject and in the name of a stream or consumer.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}
