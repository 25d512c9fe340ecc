use super::{
    key::Key,
    point::{Point, Value},
};
use forebay_otlp::{HistogramPoint, Number, Temporality};
use std::collections::HashMap;

/// What was last sent of each series, so that the next push can say what came since.
///
/// A value moves on only by [`commit`](Self::commit): what a broker has not taken is in the next difference again.
#[derive(Debug)]
pub(crate) struct SeriesCache {
    /// In nanoseconds since 1970; counters of sources that do not say their start have counted since here.
    born: u64,
    max_series: usize,
    delta: Option<bool>,
    round: u64,
    entries: HashMap<Key, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The value at `until`.
    last: Option<Last>,
    until: u64,
    /// The round in which it was last sent, and last seen.
    sent: u64,
    seen: u64,
}

/// A value that counts up.
#[derive(Clone, Debug)]
enum Last {
    Number(Number),
    Histogram { count: u64, sum: Option<f64>, buckets: Vec<u64>, bounds: Vec<f64> },
}

/// What is to be noted of a series once it is sent.
#[derive(Clone, Debug)]
pub(super) struct Note {
    key: Key,
    last: Option<Last>,
    until: u64,
}

/// Why a series is not in this push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwanted {
    /// It was there already.
    Twice,
    /// There is no room for more series.
    Full,
}

// === impl SeriesCache ===

impl SeriesCache {
    pub(crate) fn new(born: u64, max_series: usize) -> Self {
        Self { born, max_series, delta: None, round: 0, entries: HashMap::new() }
    }

    /// The next push is being made; `delta` says how sums are wanted.
    pub(super) fn begin(&mut self, delta: bool) {
        // A change starts every series from the beginning: a difference across it has no meaning.
        if self.delta.is_some_and(|before| before != delta) {
            self.entries.clear();
        }
        self.delta = Some(delta);
        self.round += 1;
        if self.entries.len() >= self.max_series {
            // Room for new series comes from those that no source has had in the last round.
            let last = self.round - 1;
            self.entries.retain(|_, entry| entry.seen >= last);
        }
    }

    /// Turns a value into what is to be sent of it; says when the series was last sent, 0 for never.
    pub(super) fn turn(&mut self, mut point: Point, now: u64) -> Result<(Point, Note, u64), Unwanted> {
        let key = Key::of(&point);
        if !self.entries.contains_key(&key) && self.entries.len() >= self.max_series {
            return Err(Unwanted::Full);
        }
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.seen == self.round {
            return Err(Unwanted::Twice);
        }
        entry.seen = self.round;

        // A gauge is of its moment only.
        let counts = !matches!(point.value, Value::Gauge(_));
        let (start, time) = point.value.times();
        if *time == 0 {
            *time = now;
        }
        let until = *time;
        let declared = *start;
        if counts && declared == 0 {
            *start = self.born;
        }
        // It was reset after its last value was sent.
        if declared > entry.until {
            entry.last = None;
        }
        let delta = self.delta == Some(true);
        let mut last = None;
        let mut since = None;
        match &mut point.value {
            Value::Sum { point, temporality, monotonic: true } if delta && *temporality == Temporality::Cumulative => {
                *temporality = Temporality::Delta;
                last = point.value.map(Last::Number);
                if let (Some(now), Some(Last::Number(before))) = (point.value, &entry.last) {
                    point.value = Some(difference(now, *before).unwrap_or(now));
                    since = Some(entry.until);
                }
            }
            Value::Histogram { point, temporality } if delta && *temporality == Temporality::Cumulative => {
                *temporality = Temporality::Delta;
                last = Some(Last::of(point));
                if let Some(before) = &entry.last {
                    before.subtract_from(point);
                    since = Some(entry.until);
                }
            }
            _ => {}
        }
        if let Some(since) = since {
            *point.value.times().0 = since;
        }
        let sent = entry.sent;
        Ok((point, Note { key, last, until }, sent))
    }

    /// These were sent, and will not be sent again.
    pub(super) fn commit(&mut self, notes: impl IntoIterator<Item = Note>) {
        for Note { key, last, until } in notes {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.sent = self.round;
                if last.is_some() {
                    entry.last = last;
                }
                entry.until = until;
            }
        }
    }
}

/// The difference of two values of a counter; none if it was reset in between.
fn difference(now: Number, before: Number) -> Option<Number> {
    match (now, before) {
        (Number::Int(now), Number::Int(before)) if now >= before => now.checked_sub(before).map(Number::Int),
        (Number::Int(_), Number::Int(_)) => None,
        (now, before) => {
            let (now, before) = (as_double(now), as_double(before));
            (now >= before).then_some(Number::Double(now - before))
        }
    }
}

fn as_double(number: Number) -> f64 {
    match number {
        Number::Int(value) => value as f64,
        Number::Double(value) => value,
    }
}

// === impl Last ===

impl Last {
    fn of(point: &HistogramPoint) -> Self {
        Self::Histogram {
            count: point.count,
            sum: point.sum,
            buckets: point.bucket_counts.clone(),
            bounds: point.explicit_bounds.clone(),
        }
    }

    /// Leaves in `point` the difference since then; all of it, if it was reset or has other buckets.
    fn subtract_from(&self, point: &mut HistogramPoint) {
        let Self::Histogram { count, sum, buckets, bounds } = self else { return };
        let grew = point.count >= *count
            && point.bucket_counts.len() == buckets.len()
            && point.explicit_bounds == *bounds
            && point.bucket_counts.iter().zip(buckets).all(|(now, before)| now >= before);
        // The extremes are of all times.
        (point.min, point.max) = (None, None);
        if !grew {
            return;
        }
        point.count -= count;
        point.bucket_counts.iter_mut().zip(buckets).for_each(|(now, before)| *now -= before);
        point.sum = point.sum.zip(*sum).map(|(now, before)| now - before);
    }
}
