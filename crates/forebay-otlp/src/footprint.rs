//! The memory that the items of this crate hold, which an exporter charges them for.

use crate::{
    logs::LogRecord,
    metrics::{
        Buckets, Exemplar, ExponentialHistogramPoint, HistogramPoint, Metric, MetricData, NumberPoint, Quantile,
        SummaryPoint,
    },
    origin::{Resource, Scope},
    traces::{Span, SpanEvent, SpanLink, SpanStatus},
    value::{AnyValue, KeyValue},
};
use forebay_core::{Footprint, heap_block};

/// Lists the fields that can hold heap memory; all others are part of the size of the type.
macro_rules! heap_of {
    ($($type:ty { $($field:ident)* })*) => {$(
        impl Footprint for $type {
            #[inline]
            fn heap(&self) -> usize {
                0 $(+ self.$field.heap())*
            }
        }
    )*};
}
heap_of! {
    KeyValue { key value }
    LogRecord { severity_text body attributes event_name }
    Span { trace_state name attributes events links status }
    SpanEvent { name attributes }
    SpanLink { trace_state attributes }
    SpanStatus { message }
    Metric { name description unit data metadata }
    NumberPoint { attributes exemplars }
    HistogramPoint { attributes bucket_counts explicit_bounds exemplars }
    ExponentialHistogramPoint { attributes positive negative exemplars }
    Buckets { counts }
    SummaryPoint { attributes quantiles }
    Exemplar { filtered_attributes }
    Resource { attributes schema_url }
    Scope { name version attributes schema_url }
}

impl Footprint for Quantile {
    const FLAT: bool = true;

    fn heap(&self) -> usize {
        0
    }
}

impl Footprint for MetricData {
    fn heap(&self) -> usize {
        match self {
            Self::Gauge(points) | Self::Sum { points, .. } => points.heap(),
            Self::Histogram { points, .. } => points.heap(),
            Self::ExponentialHistogram { points, .. } => points.heap(),
            Self::Summary(points) => points.heap(),
        }
    }
}

// === impl AnyValue ===

impl Footprint for AnyValue {
    /// Uses the same stack, however deep the value is nested.
    #[inline]
    fn heap(&self) -> usize {
        match self {
            Self::String(text) => text.heap(),
            Self::Bytes(bytes) => bytes.heap(),
            Self::Array(_) | Self::KvList(_) => heap_of_lists(self),
            Self::Empty | Self::Bool(_) | Self::Int(_) | Self::Double(_) => 0,
        }
    }
}

fn heap_of_lists(value: &AnyValue) -> usize {
    let mut waiting = vec![value];
    let mut bytes = 0;
    while let Some(value) = waiting.pop() {
        match value {
            AnyValue::Array(values) => {
                bytes += heap_block(values.capacity() * size_of::<AnyValue>());
                waiting.extend(values.iter().filter(|value| has_heap(value)));
            }
            AnyValue::KvList(pairs) => {
                bytes += heap_block(pairs.capacity() * size_of::<KeyValue>());
                bytes += pairs.iter().map(|pair| pair.key.heap()).sum::<usize>();
                waiting.extend(pairs.iter().map(|pair| &pair.value).filter(|value| has_heap(value)));
            }
            plain => bytes += plain.heap(),
        }
    }
    bytes
}

fn has_heap(value: &AnyValue) -> bool {
    !matches!(value, AnyValue::Empty | AnyValue::Bool(_) | AnyValue::Int(_) | AnyValue::Double(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f17_a_record_weighs_its_text_its_attributes_and_what_is_nested_in_them() {
        let nested = AnyValue::Array(vec![AnyValue::from("y".repeat(2_000)), AnyValue::KvList(Vec::new())]);
        let record = LogRecord::new("x".repeat(20_000)).attribute("list", nested).attribute("bytes", vec![1; 3_000]);
        let bytes = record.footprint();
        assert!((25_000..26_500).contains(&bytes), "{bytes}");
        assert_eq!(LogRecord::new("a literal").heap(), 0);
    }

    #[test]
    fn f17_spans_and_metrics_weigh_all_their_parts() {
        let span = Span::new([1; 16], [2; 8], "x".repeat(1_000))
            .event(SpanEvent::new(1, "y".repeat(1_000)))
            .link(SpanLink::new([1; 16], [2; 8]).attribute("z", "z".repeat(1_000)));
        assert!((3_000..4_500).contains(&span.heap()), "{}", span.heap());
        let mut point = HistogramPoint::new(1).attribute("route", "r".repeat(1_000));
        (point.bucket_counts, point.explicit_bounds) = (vec![1; 500], vec![0.5; 499]);
        let metric = Metric::new("m", MetricData::Histogram { points: vec![point; 10], temporality: <_>::default() });
        assert!((90_000..95_000).contains(&metric.heap()), "{}", metric.heap());
    }

    #[test]
    fn f17_a_value_of_any_depth_is_weighed_in_constant_stack() {
        let mut value = AnyValue::Empty;
        for _ in 0..200_000 {
            value = AnyValue::Array(vec![value]);
        }
        assert!(value.heap() >= 200_000 * size_of::<AnyValue>());
    }
}
