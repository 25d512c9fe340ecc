use super::{Histogram, LabelValue, Labels, Series, Value};
use forebay_core::Footprint;

// === impl Footprint ===

impl Footprint for Series {
    fn heap(&self) -> usize {
        let value = match &self.value {
            Value::Histogram { histogram, .. } => histogram.heap(),
            Value::Gauge(_) | Value::Sum { .. } => 0,
        };
        self.name.heap() + self.description.heap() + self.unit.heap() + self.labels.heap() + value
    }
}

impl Footprint for Histogram {
    fn heap(&self) -> usize {
        self.bounds.heap() + self.counts.heap()
    }
}

impl Footprint for Labels {
    fn heap(&self) -> usize {
        self.0.heap()
    }
}

impl Footprint for LabelValue {
    #[inline]
    fn heap(&self) -> usize {
        match self {
            Self::String(text) => text.heap(),
            Self::Bool(_) | Self::Int(_) | Self::Double(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f17_a_series_weighs_its_labels() {
        let labels = [("route", "r".repeat(1_000)), ("host", "h".repeat(2_000))];
        let series = Series::new("requests", 1, Value::Gauge(crate::Number::Int(1)));
        let flat = series.heap();
        let series = series.labels(labels.into_iter().collect::<Labels>());
        assert_eq!(flat, 0);
        assert!((3_000..3_500).contains(&series.heap()), "{}", series.heap());
    }
}
