//! From what adds up since the beginning to what came since the last report. Pure: no clock, no lock.

use super::{Labels, Number, Series, Temporality, Value};
use std::{borrow::Cow, collections::HashMap};

/// Turns cumulative values into deltas, and loses none if a report fails.
///
/// What was reported moves only with [`Pending::commit`]: a report that was not delivered is part of the next one. Gauges
/// and what is a delta already pass unchanged. A series that starts anew (its value fell, or its start moved) is reported
/// as it is. A sum that may fall has no delta for OpenTelemetry's Collector and for Prometheus; here it has, as the
/// specification says.
///
/// It remembers one value for each series of the last committed report, and forgets those that were not in it.
///
/// ```
/// use forebay_collect::{Deltas, Number, Series, Value};
///
/// let mut deltas = Deltas::new();
/// let count = |at, n: i64| vec![Series::new("requests", at, Value::counter(n)).since(1)];
/// let value = |report: &[Series]| match report[0].value {
///     Value::Sum { value, .. } => value,
///     _ => unreachable!(),
/// };
///
/// let (report, pending) = deltas.report(count(10, 5)).split();
/// assert_eq!(value(&report), Number::Int(5));
/// pending.commit(&mut deltas);
/// let (report, _failed) = deltas.report(count(20, 7)).split();
/// assert_eq!(value(&report), Number::Int(2));
/// let (report, _) = deltas.report(count(30, 8)).split();
/// assert_eq!(value(&report), Number::Int(3)); // with what the failed one did not deliver
/// ```
#[derive(Clone, Debug, Default)]
pub struct Deltas {
    reported: HashMap<Identity, Baseline>,
    /// Which report a pending one was made from.
    generation: u64,
}

/// What a report will have told once it is delivered.
///
/// Dropped without [`commit`](Self::commit), nothing was told.
#[derive(Debug)]
#[must_use = "what is not committed is reported again"]
pub struct Pending {
    told: HashMap<Identity, Baseline>,
    generation: u64,
}

/// A report of deltas, and what it will have told.
#[derive(Debug)]
#[must_use = "a report is to be sent"]
pub struct Reported {
    series: Vec<Series>,
    pending: Pending,
}

type Identity = (Cow<'static, str>, Labels);

/// What was told of a series: all up to `time`, since `start`.
#[derive(Clone, Debug)]
struct Baseline {
    value: Value,
    start: u64,
    time: u64,
}

// === impl Deltas ===

impl Deltas {
    /// Nothing was reported so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns a gathering into a report of what came since the last one that was committed.
    pub fn report(&self, mut series: Vec<Series>) -> Reported {
        let mut told = HashMap::with_capacity(series.len());
        for one in &mut series {
            if one.value.temporality() != Some(Temporality::Cumulative) {
                continue;
            }
            let id = (one.name.clone(), one.labels.clone());
            let now = Baseline { value: one.value.clone(), start: one.start_unix_nanos, time: one.time_unix_nanos };
            match self.reported.get(&id).and_then(|before| Some((before, now.since(before)?))) {
                Some((before, delta)) => {
                    one.value = delta;
                    one.start_unix_nanos = before.time;
                }
                None => one.value.as_delta(),
            }
            told.insert(id, now);
        }
        Reported { series, pending: Pending { told, generation: self.generation } }
    }

    /// Forgets what was reported: the next report tells all since the beginning, as a new subscriber needs it.
    pub fn reset(&mut self) {
        self.reported.clear();
        self.generation += 1;
    }
}

// === impl Reported ===

impl Reported {
    /// The report, and what it will have told.
    pub fn split(self) -> (Vec<Series>, Pending) {
        (self.series, self.pending)
    }
}

// === impl Pending ===

impl Pending {
    /// The report was delivered.
    ///
    /// Does nothing if `deltas` was reset, or another report was committed, since this one was made.
    pub fn commit(self, deltas: &mut Deltas) {
        if deltas.generation == self.generation {
            deltas.reported = self.told;
            deltas.generation += 1;
        }
    }
}

// === impl Baseline ===

impl Baseline {
    /// What came since `before`; `None` if this does not go on from there.
    fn since(&self, before: &Self) -> Option<Value> {
        if self.start != before.start || self.time < before.time {
            return None;
        }
        let temporality = Temporality::Delta;
        match (&self.value, &before.value) {
            (Value::Sum { value, monotonic, .. }, Value::Sum { value: old, monotonic: was, .. })
                if monotonic == was && !(*monotonic && value.is_below(*old)) =>
            {
                Some(Value::Sum { value: Number::minus(*value, *old), monotonic: *monotonic, temporality })
            }
            (Value::Histogram { histogram, .. }, Value::Histogram { histogram: old, .. }) => {
                Some(Value::Histogram { histogram: histogram.since(old)?, temporality })
            }
            _ => None,
        }
    }
}

// === impl Value ===

impl Value {
    /// All since the beginning is what came since a report that never was.
    fn as_delta(&mut self) {
        match self {
            Self::Gauge(_) => {}
            Self::Sum { temporality, .. } | Self::Histogram { temporality, .. } => *temporality = Temporality::Delta,
        }
    }
}
