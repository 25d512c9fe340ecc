use super::{
    group::Group,
    point::Point,
    series_cache::{Note, SeriesCache, Unwanted},
};
use crate::{codec::Codec, labels::ClientLabels, names, session::PushOrder, source::Source};
use bytes::{Bytes, BytesMut};
use forebay_core::ConfigError;
use forebay_export::Encode;
use forebay_otlp::MetricsEncoder;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Ranks a metric by its name: the lower, the more important.
pub(crate) type Rank = Arc<dyn Fn(&str) -> u32 + Send + Sync>;

/// Makes payloads from sources.
pub(crate) struct Assembler {
    pub(crate) sources: Vec<Box<dyn Source>>,
    pub(crate) rank: Rank,
    encoder: MetricsEncoder,
}

/// A series as it is to be sent.
pub(super) struct Ready {
    rank: u32,
    sent: u64,
    pub(super) point: Point,
    note: Note,
}

/// The body of a push, and what it is made of.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub(crate) body: Bytes,
    /// Its length before or after compression, whichever is greater.
    ///
    /// Brokers hold the limit against the compressed body, and since 4.3.1 against the decompressed one too: that the second
    /// is broken they say with `INVALID_RECORD`, which stops a client for good.
    pub(crate) length: usize,
    pub(crate) codec: Codec,
    /// A compression type that failed, so that the body is as it is.
    pub(crate) failed: Option<Codec>,
    /// Series in the body.
    pub(crate) series: u64,
    /// Series that did not fit.
    pub(crate) too_large: u64,
    /// Series that cannot be encoded.
    pub(crate) unencodable: u64,
    /// Series for which the cache has no room.
    pub(crate) full: u64,
    /// Sources that panicked.
    pub(crate) panicked: u64,
    notes: Vec<Note>,
}

// === impl Assembler ===

impl Assembler {
    pub(crate) fn new(
        sources: Vec<Box<dyn Source>>,
        rank: Option<Rank>,
        labels: &ClientLabels,
    ) -> Result<Self, ConfigError> {
        let rank = rank.unwrap_or_else(|| Arc::new(|name| u32::from(!names::is_standard(name))));
        Ok(Self { sources, rank, encoder: MetricsEncoder::builder().resource(labels.resource()).build()? })
    }

    pub(crate) fn set_labels(&mut self, labels: &ClientLabels) -> Result<(), ConfigError> {
        self.encoder = MetricsEncoder::builder().resource(labels.resource()).build()?;
        Ok(())
    }

    /// Asks the sources, and writes what is wanted in no more bytes than allowed.
    ///
    /// What does not fit is left out, the least important first, and among equals what was sent last. It is first in line
    /// the next time, with all that came in between.
    pub(crate) fn assemble(&self, cache: &mut SeriesCache, order: &PushOrder, now: u64) -> Payload {
        let mut payload = Payload { codec: order.codec, ..Payload::default() };
        let mut series = self.collect(cache, order, now, &mut payload);
        series.sort_by(|a, b| {
            let name = |ready: &Ready| ready.point.name.clone();
            (a.rank, a.sent).cmp(&(b.rank, b.sent)).then_with(|| name(a).cmp(&name(b)))
        });

        // A series that alone is too large must not keep out those behind it.
        const OVERSIZED: usize = 16;
        for _ in 0..OVERSIZED {
            match self.fit(&series, order.max_bytes, &mut payload) {
                Some(fits) => {
                    payload.too_large += (series.len() - fits) as u64;
                    series.truncate(fits);
                    payload.series = (series.len() as u64).saturating_sub(payload.unencodable);
                    payload.notes = series.into_iter().map(|ready| ready.note).collect();
                    return payload;
                }
                None => {
                    payload.too_large += 1;
                    series.remove(0);
                }
            }
        }
        payload.too_large += series.len() as u64;
        (payload.body, payload.codec, payload.length) = (Bytes::new(), Codec::None, 0);
        payload
    }

    fn collect(&self, cache: &mut SeriesCache, order: &PushOrder, now: u64, payload: &mut Payload) -> Vec<Ready> {
        cache.begin(order.delta);
        let mut ready = Vec::new();
        for source in &self.sources {
            let collected = catch_unwind(AssertUnwindSafe(|| {
                let mut metrics = Vec::new();
                source.collect(&order.selector, &mut metrics);
                metrics
            }));
            let Ok(metrics) = collected else {
                payload.panicked += 1;
                continue;
            };
            for metric in metrics.into_iter().filter(|metric| order.selector.wants(&metric.name)) {
                let rank = (self.rank)(&metric.name);
                Point::each(metric, |point| match cache.turn(point, now) {
                    Ok((point, note, sent)) => ready.push(Ready { rank, sent, point, note }),
                    Err(Unwanted::Full) => payload.full += 1,
                    Err(Unwanted::Twice) => {}
                });
            }
        }
        ready
    }

    /// Writes as many of the first series as fit; none if there are some and not even the first does.
    fn fit(&self, series: &[Ready], max_bytes: usize, payload: &mut Payload) -> Option<usize> {
        let mut count = series.len();
        loop {
            let unencodable = self.write(&series[..count], payload);
            let length = payload.length;
            if length <= max_bytes {
                payload.unencodable = unencodable;
                return Some(count);
            }
            // Nothing is written as nothing, so there is one at least.
            if count == 1 {
                return None;
            }
            // Each step takes away a twentieth at least. Fewer series compress worse, so it may take another.
            count = (count.saturating_mul(max_bytes) / length * 19 / 20).clamp(1, count - 1);
        }
    }

    /// Writes these series, compressed if that works, and counts those that cannot be written.
    fn write(&self, series: &[Ready], payload: &mut Payload) -> u64 {
        let groups = Group::split(series);
        let mut plain = BytesMut::new();
        let skipped: usize = match self.encoder.encode(&groups, &mut plain) {
            Ok(skipped) => skipped.0.iter().filter_map(|index| groups.get(*index)).map(Group::len).sum(),
            Err(_nothing_encodable) => series.len(),
        };
        let plain = plain.freeze();
        if skipped == series.len() {
            // CORRECTNESS: empty, and never absent; and not compressed, so that it is empty for everyone.
            (payload.body, payload.codec, payload.length) = (Bytes::new(), Codec::None, 0);
            return skipped as u64;
        }
        payload.length = plain.len();
        match payload.codec.compress(&plain) {
            Ok(body) => {
                payload.length = payload.length.max(body.len());
                payload.body = body;
            }
            Err(failure) => {
                payload.failed = Some(failure.codec());
                (payload.body, payload.codec) = (plain, Codec::None);
            }
        }
        skipped as u64
    }
}

impl fmt::Debug for Assembler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembler").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

// === impl Payload ===

impl Payload {
    /// An empty one, in place of one whose making panicked.
    pub(crate) fn lost_to_a_panic() -> Self {
        Self { panicked: 1, ..Self::default() }
    }

    /// The broker has it, or may have it: none of it is sent again.
    pub(crate) fn commit(self, cache: &mut SeriesCache) {
        cache.commit(self.notes);
    }
}
