use super::spool::Pace;
use forebay::queue::Limits;
use forebay_example_support::tls::Identity;
use forebay_spool::{Durability, storage::Storage};
use std::{
    net::SocketAddr,
    num::{NonZeroU8, NonZeroU64, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// The configuration of a gateway, the sink aside.
///
/// | knob | default |
/// | --- | --- |
/// | `http`, `grpc` | 127.0.0.1:4318, 127.0.0.1:4317 |
/// | `identity` | none: both listeners speak plain text |
/// | `limits` | 10,000 batches, 128 MiB, soft limit 0.9, a tenant's share 0.3: those of one SQLite file |
/// | `workers` | 8: as many batches can share a transaction of SQLite |
/// | `slow` | 1 s |
/// | `soft_refusal` | [`SoftRefusal::Partial`] |
/// | `retry_after` | 1 s |
/// | `synchronous` | no |
/// | `max_body` | 4 MiB, before and after decompression |
/// | `max_decoded` | 64 MiB |
/// | `max_receiving` | 64 requests that are being read or responded to |
/// | `request_timeout` | 30 s |
/// | `header_timeout` | 10 s from the opening of a connection to its first request |
/// | `idle_timeout` | 2 min without a request |
/// | `max_connections` | 1024, of both ports together |
/// | `tenant_header` | `x-tenant-id` |
/// | `spool` | none: a folder must be named |
/// | `durability` | none: a batch is acknowledged from memory |
/// | `drain` | 30 s |
#[derive(Clone, Debug)]
pub struct Config {
    /// Where OTLP/HTTP, `/healthz`, `/readyz` and `/metrics` are served.
    pub http: SocketAddr,
    /// Where OTLP/gRPC is served.
    pub grpc: SocketAddr,
    /// What both listeners show to their clients, which must speak TLS then.
    pub identity: Option<Identity>,
    /// How much may be queued and in flight.
    pub limits: Limits,
    /// How many batches the sink is given at a time.
    pub workers: NonZeroUsize,
    /// What a span must take to be slow.
    pub slow: Duration,
    /// How the sender of a healthy batch is responded to for which there is no room left below the soft limit, or in its tenant's share.
    pub soft_refusal: SoftRefusal,
    /// How long a sender that was refused is asked to wait.
    pub retry_after: Duration,
    /// Whether a sender is responded to only when its batch is stored.
    pub synchronous: bool,
    /// The most bytes of a request.
    pub max_body: usize,
    /// The most memory that a request may take while it is looked into: small on the wire can be large in memory.
    pub max_decoded: usize,
    /// How many requests are received at a time; the others wait at the door.
    pub max_receiving: NonZeroUsize,
    /// How long one request may take, reading included.
    pub request_timeout: Duration,
    /// How long a connection may take until the head of its first request is complete, HTTP/1 and HTTP/2 alike.
    pub header_timeout: Duration,
    /// How long a connection may be without a request after that, the head of the next one included.
    pub idle_timeout: Duration,
    /// The most open connections; further ones wait in the backlog of their listener.
    pub max_connections: NonZeroUsize,
    /// Which header says whose a request is, in lower case.
    pub tenant_header: String,
    /// Where batches wait that the sink did not take; they are dropped if there is none.
    pub spool: Option<SpoolConfig>,
    /// With it, a sender is responded to once its batch is in the spool, as durable as this says, and the batch is stored from there.
    /// It needs a spool, and has no effect while responses are synchronous.
    pub durability: Option<Durability>,
    /// How long the queue may take to drain in the end.
    pub drain: Duration,
}

/// The spool, and how it is used.
///
/// | knob | default |
/// | --- | --- |
/// | `bytes` | 500 MiB; 1 MiB and more |
/// | `batches` | no bound |
/// | `tries` | 10, to 200 |
/// | `pace` | every 5 min, 100 batches a round; the interval above zero |
/// | `probe_every` | 1 s |
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// Where its files lie. The folder is the spool's alone.
    pub folder: PathBuf,
    /// Where batches go from here, without a secret: a spool is replayed to the sink that it was filled for only.
    pub identity: String,
    /// What the files lie on, for tests; `None` for the file system.
    pub storage: Option<Arc<dyn Storage>>,
    /// The bytes of all files.
    pub bytes: u64,
    /// The most batches at a time.
    pub batches: NonZeroU64,
    /// How often a batch is tried before it is given up as a dead letter.
    pub tries: NonZeroU8,
    /// How fast batches go back.
    pub pace: Pace,
    /// While batches cannot be written: how long after a try that failed the next may be. A try writes as much as a batch.
    pub probe_every: Duration,
}

/// How a soft refusal is responded to. It is counted in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SoftRefusal {
    /// As OTLP's partial success: taken, with so many records rejected, and not to be sent again (the default).
    #[default]
    Partial,
    /// As plain success: the sender never knows.
    Success,
    /// As 429 or `RESOURCE_EXHAUSTED`: to be sent again later.
    Throttle,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        const HOST: [u8; 4] = [127, 0, 0, 1];
        Self {
            http: (HOST, 4318).into(),
            grpc: (HOST, 4317).into(),
            identity: None,
            limits: Limits::new().items(10_000).bytes(128 << 20).soft_limit(0.9).fair_share(0.3),
            workers: const { NonZeroUsize::new(8).unwrap() },
            slow: Duration::from_secs(1),
            soft_refusal: SoftRefusal::Partial,
            retry_after: Duration::from_secs(1),
            synchronous: false,
            max_body: 4 << 20,
            max_decoded: 64 << 20,
            max_receiving: const { NonZeroUsize::new(64).unwrap() },
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            max_connections: const { NonZeroUsize::new(1024).unwrap() },
            tenant_header: "x-tenant-id".to_owned(),
            spool: None,
            durability: None,
            drain: Duration::from_secs(30),
        }
    }
}

// === impl SpoolConfig ===

impl SpoolConfig {
    /// The defaults, in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            identity: "sink".to_owned(),
            storage: None,
            bytes: 500 << 20,
            // The bytes bound the spool: a stop may have to put aside a whole queue of small batches.
            batches: NonZeroU64::MAX,
            tries: const { NonZeroU8::new(10).unwrap() },
            pace: Pace { interval: Duration::from_secs(300), most: const { NonZeroUsize::new(100).unwrap() } },
            probe_every: Duration::from_secs(1),
        }
    }
}
