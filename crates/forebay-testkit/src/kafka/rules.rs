use super::decode::decompress;
use bytes::Bytes;
use opentelemetry_proto::tonic::metrics::v1::{Metric, MetricsData};
use prost::Message;
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// What the broker asks its clients for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Subscription {
    pub(super) metrics: Vec<String>,
    pub(super) interval_ms: i32,
    pub(super) delta: bool,
    pub(super) max_bytes: i32,
    pub(super) accepted: Vec<i8>,
}

/// One of the two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// `GetTelemetrySubscriptions`.
    Get,
    /// `PushTelemetry`.
    Push,
}

/// What happens to one request in place of what the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The rules hold: some requests pass before the next fault.
    None,
    /// A response with this error code.
    Code(i16),
    /// The rules hold, and the response has a throttle time in milliseconds.
    Throttle(i32),
    /// The connection is closed without a response.
    Disconnect,
    /// There is no response, and the connection stays open.
    Silence,
    /// A response with this body, whatever it means.
    Garbage(Vec<u8>),
    /// The response to another request, by its correlation id.
    WrongCorrelation,
}

/// The requests that a broker has seen, and the state of its connections.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BrokerLog {
    /// Requests for a subscription.
    pub gets: Vec<Get>,
    /// Pushes, taken or not.
    pub pushes: Vec<Push>,
    /// Connections that were opened, ever.
    pub connections: usize,
    /// Connections that got past authentication.
    pub logins: usize,
    /// What clients say they are: name and version.
    pub software: Vec<(String, String)>,
}

/// One request for a subscription.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Get {
    /// The id in the request; zeros for none.
    pub id: [u8; 16],
    /// The error code of the response.
    pub code: i16,
    /// When the request arrived.
    pub at: Instant,
}

/// One push.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Push {
    /// The client's id.
    pub id: [u8; 16],
    /// The subscription that it responds to.
    pub subscription_id: i32,
    /// Whether it says that it is the last.
    pub terminating: bool,
    /// The id of its compression type.
    pub codec: i8,
    /// Its length on the wire.
    pub bytes: usize,
    /// Its length after decompression, if that worked.
    pub plain_bytes: usize,
    /// The metrics in it, if they could be read.
    pub metrics: Vec<Metric>,
    /// The error code of the response.
    pub code: i16,
    /// When the request arrived.
    pub at: Instant,
}

/// What the broker knows and has seen.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) subscription: Subscription,
    pub(super) seen: BrokerLog,
    script: HashMap<Api, VecDeque<Fault>>,
    instances: HashMap<[u8; 16], Instance>,
    next_id: u64,
}

#[derive(Debug, Default)]
struct Instance {
    subscription_id: i32,
    last_get: Option<Instant>,
    last_push: Option<Instant>,
    terminated: bool,
}

const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_REQUEST: i16 = 42;
const INVALID_RECORD: i16 = 87;
const THROTTLING_QUOTA_EXCEEDED: i16 = 89;
const UNKNOWN_SUBSCRIPTION_ID: i16 = 117;
const TELEMETRY_TOO_LARGE: i16 = 118;

// === impl Subscription ===

impl Subscription {
    /// All metrics, every five minutes, as deltas, in any compression, up to a mebibyte.
    pub fn all() -> Self {
        Self::to(["*"])
    }

    /// Metrics whose names begin with one of these.
    pub fn to(prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            metrics: prefixes.into_iter().map(Into::into).collect(),
            interval_ms: 300_000,
            delta: true,
            max_bytes: 1_048_576,
            accepted: vec![4, 3, 1, 2],
        }
    }

    /// No metric.
    pub fn none() -> Self {
        Self::to([] as [&str; 0])
    }

    /// With this interval, in whole milliseconds.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval_ms = i32::try_from(interval.as_millis()).unwrap_or(i32::MAX);
        self
    }

    /// Sums since their start, not since the last push.
    pub fn cumulative(mut self) -> Self {
        self.delta = false;
        self
    }

    /// No payload larger than this, in bytes.
    pub fn max_bytes(mut self, bytes: i32) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// These compression types only, in this order.
    pub fn accepted(mut self, ids: impl IntoIterator<Item = i8>) -> Self {
        self.accepted = ids.into_iter().collect();
        self
    }

    /// A number that changes with what is asked for, as a broker's does.
    pub(super) fn id(&self) -> i32 {
        let text = format!("{:?}{}{}{}", self.metrics, self.interval_ms, self.delta, self.max_bytes);
        let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        hash.cast_signed()
    }
}

// === impl Rules ===

impl Rules {
    pub(super) fn new() -> Self {
        Self {
            subscription: Subscription::none(),
            seen: BrokerLog::default(),
            script: HashMap::new(),
            instances: HashMap::new(),
            next_id: 1,
        }
    }

    pub(super) fn script(&mut self, api: Api, faults: impl IntoIterator<Item = Fault>) {
        self.script.entry(api).or_default().extend(faults);
    }

    pub(super) fn fault(&mut self, api: Api) -> Fault {
        self.script.get_mut(&api).and_then(VecDeque::pop_front).unwrap_or(Fault::None)
    }

    /// The code for a request for a subscription, and the id for the response.
    pub(super) fn get(&mut self, id: [u8; 16], forced: Option<i16>) -> (i16, [u8; 16]) {
        let now = Instant::now();
        let own = if id == [0; 16] { self.fresh_id() } else { id };
        let current = self.subscription.id();
        let interval = self.interval();
        let instance = self.instances.entry(own).or_default();
        let latest = instance.last_get.max(instance.last_push);
        let early = latest.is_some_and(|at| now - at < interval) && instance.subscription_id == current;
        let code = forced.unwrap_or(if early { THROTTLING_QUOTA_EXCEEDED } else { 0 });
        if code == 0 {
            (instance.last_get, instance.subscription_id) = (Some(now), current);
        }
        self.seen.gets.push(Get { id, code, at: now });
        (code, own)
    }

    /// The code for a push.
    pub(super) fn push(
        &mut self,
        id: [u8; 16],
        subscription_id: i32,
        terminating: bool,
        codec: i8,
        body: &Bytes,
        forced: Option<i16>,
    ) -> i16 {
        let now = Instant::now();
        let interval = self.interval();
        let subscription = self.subscription.clone();
        let max = usize::try_from(subscription.max_bytes).unwrap_or_default();
        let plain = decompress(codec, body);
        let metrics = plain.as_ref().and_then(|plain| MetricsData::decode(plain.as_slice()).ok());

        let instance = self.instances.entry(id).or_default();
        let early = instance.last_push.is_some_and(|at| now - at < interval) && instance.last_get <= instance.last_push;
        let code = if let Some(code) = forced {
            code
        } else if instance.terminated {
            INVALID_REQUEST
        } else if early && !terminating {
            THROTTLING_QUOTA_EXCEEDED
        } else if subscription_id != subscription.id() {
            UNKNOWN_SUBSCRIPTION_ID
        } else if codec != 0 && !subscription.accepted.contains(&codec) {
            UNSUPPORTED_COMPRESSION_TYPE
        } else if body.len() > max {
            TELEMETRY_TOO_LARGE
        } else if metrics.is_none() || plain.as_ref().is_some_and(|plain| plain.len() > max) {
            INVALID_RECORD
        } else {
            0
        };
        if code != THROTTLING_QUOTA_EXCEEDED {
            instance.last_push = Some(now);
        }
        // Also when it is refused: the real broker does so in a `finally` block.
        instance.terminated |= terminating;
        self.seen.pushes.push(Push {
            id,
            subscription_id,
            terminating,
            codec,
            bytes: body.len(),
            plain_bytes: plain.map_or(0, |plain| plain.len()),
            metrics: metrics.map(flat).unwrap_or_default(),
            code,
            at: now,
        });
        code
    }

    /// The broker forgets a client when its connection ends.
    pub(super) fn forget(&mut self, id: [u8; 16]) {
        self.instances.remove(&id);
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.subscription.interval_ms).unwrap_or_default())
    }

    fn fresh_id(&mut self) -> [u8; 16] {
        let mut id = [0xa5; 16];
        id[8..].copy_from_slice(&self.next_id.to_be_bytes());
        self.next_id += 1;
        id
    }
}

fn flat(data: MetricsData) -> Vec<Metric> {
    data.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics).collect()
}
