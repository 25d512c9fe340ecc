use std::borrow::Cow;

/// The distribution of values over buckets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Histogram {
    /// The upper bound of each bucket but the last, ascending; the bound belongs to the bucket below it.
    pub bounds: Cow<'static, [f64]>,
    /// The number of values in each bucket; there is one bucket more than bounds.
    pub counts: Vec<u64>,
    /// The number of values.
    pub count: u64,
    /// Their sum; `None` if unknown.
    pub sum: Option<f64>,
    /// The smallest value; `None` if unknown.
    pub min: Option<f64>,
    /// The greatest value; `None` if unknown.
    pub max: Option<f64>,
}

// === impl Histogram ===

impl Histogram {
    /// The default bounds of OpenTelemetry's SDKs, meant for milliseconds.
    pub const DEFAULT_BOUNDS: &'static [f64] =
        &[0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10_000.0];

    /// An empty histogram with these bounds.
    ///
    /// They are sorted; values that are not finite, and duplicates, are left out.
    #[must_use]
    pub fn new(bounds: impl Into<Cow<'static, [f64]>>) -> Self {
        let mut bounds = bounds.into();
        if !bounds.iter().all(|bound| bound.is_finite()) || !bounds.is_sorted_by(|a, b| a < b) {
            let own = bounds.to_mut();
            own.retain(|bound| bound.is_finite());
            own.sort_by(f64::total_cmp);
            own.dedup();
        }
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, counts, count: 0, sum: Some(0.0), min: None, max: None }
    }

    /// Counts one value; a value that is not finite is left out.
    pub fn record(&mut self, value: f64) {
        self.record_many(value, 1);
    }

    /// Counts the same value `count` times.
    #[expect(clippy::cast_precision_loss, reason = "the sum is a float")]
    pub fn record_many(&mut self, value: f64, count: u64) {
        if !value.is_finite() || count == 0 {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(here) = self.counts.get_mut(bucket) {
            *here = here.saturating_add(count);
        }
        self.count = self.count.saturating_add(count);
        self.sum = self.sum.map(|sum| sum + value * count as f64);
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = Some(self.max.map_or(value, |max| max.max(value)));
    }

    /// The delta since `earlier`; `None` if this histogram does not continue it.
    ///
    /// The extremes of a delta are unknown.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Self> {
        if self.bounds != earlier.bounds || self.counts.len() != earlier.counts.len() {
            return None;
        }
        let pairs = self.counts.iter().zip(&earlier.counts);
        let counts = pairs.map(|(now, before)| now.checked_sub(*before)).collect::<Option<Vec<_>>>()?;
        Some(Self {
            bounds: self.bounds.clone(),
            counts,
            count: self.count.checked_sub(earlier.count)?,
            sum: self.sum.zip(earlier.sum).map(|(now, before)| now - before),
            min: None,
            max: None,
        })
    }

    /// Adds the values of another histogram. Returns `false`, and adds nothing, if the buckets differ.
    pub(crate) fn add(&mut self, other: &Self) -> bool {
        if self.bounds != other.bounds || self.counts.len() != other.counts.len() {
            return false;
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        // An extreme is known if both are known, or if the other histogram has no values.
        let extreme = |a: Option<f64>, b: Option<f64>, pick: fn(f64, f64) -> f64| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            (Some(one), None) if other.count == 0 => Some(one),
            (None, Some(one)) if self.count == 0 => Some(one),
            _ => None,
        };
        self.min = extreme(self.min, other.min, f64::min);
        self.max = extreme(self.max, other.max, f64::max);
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.zip(other.sum).map(|(a, b)| a + b);
        true
    }
}

impl Default for Histogram {
    /// With [`DEFAULT_BOUNDS`](Self::DEFAULT_BOUNDS).
    fn default() -> Self {
        Self::new(Self::DEFAULT_BOUNDS)
    }
}
