//! How much memory a request takes once it is decoded, found out before it is.
//!
//! Two bytes of protobuf can be an empty span, which is a structure of hundreds: four mebibytes of those would be more
//! than half a gibibyte. A server that decodes what strangers send has to know it first.

use forebay::otlp::Signal;

/// A message as the decoder makes it.
struct Shape {
    /// Its structure, without what is in it.
    bytes: usize,
    /// Its fields that are messages, or lists of something that is larger in memory than on the wire.
    inner: &'static [(u64, &'static Self)],
}

/// A request is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It would take more memory than it may.
    TooLarge,
    /// It is no protobuf.
    Malformed,
}

/// The most fields of a [`Shape`].
const MOST_LISTS: usize = 6;

/// How deep the decoder goes.
const DEPTH: usize = 100;

// Sizes as of `opentelemetry-proto`, rounded up; a test compares them.
static TEXT: Shape = Shape { bytes: 24, inner: &[] };
static ANY: Shape = Shape { bytes: 32, inner: &[(5, &ARRAY), (6, &LIST)] };
/// It and the next one lie in their value.
static ARRAY: Shape = Shape { bytes: 0, inner: &[(1, &ANY)] };
static LIST: Shape = Shape { bytes: 0, inner: &[(1, &KEY_VALUE)] };
/// Its value lies in it.
static KEY_VALUE: Shape = Shape { bytes: 64, inner: &[(2, &INLINE)] };
static INLINE: Shape = Shape { bytes: 0, inner: ANY.inner };
static ENTITY: Shape = Shape { bytes: 96, inner: &[(3, &TEXT), (4, &TEXT)] };
static RESOURCE: Shape = Shape { bytes: 0, inner: &[(1, &KEY_VALUE), (3, &ENTITY)] };
static SCOPE: Shape = Shape { bytes: 0, inner: &[(3, &KEY_VALUE)] };
static EVENT: Shape = Shape { bytes: 64, inner: &[(3, &KEY_VALUE)] };
static LINK: Shape = Shape { bytes: 112, inner: &[(4, &KEY_VALUE)] };
static SPAN: Shape = Shape { bytes: 336, inner: &[(9, &KEY_VALUE), (11, &EVENT), (13, &LINK)] };
static LOG: Shape = Shape { bytes: 232, inner: &[(5, &INLINE), (6, &KEY_VALUE)] };
static EXEMPLAR: Shape = Shape { bytes: 104, inner: &[(7, &KEY_VALUE)] };
static NUMBER: Shape = Shape { bytes: 96, inner: &[(5, &EXEMPLAR), (7, &KEY_VALUE)] };
static HISTOGRAM: Shape =
    Shape { bytes: 184, inner: &[(6, &NUMBER_64), (7, &NUMBER_64), (8, &EXEMPLAR), (9, &KEY_VALUE)] };
static EXPONENTIAL: Shape =
    Shape { bytes: 248, inner: &[(1, &KEY_VALUE), (8, &BUCKETS), (9, &BUCKETS), (11, &EXEMPLAR)] };
static BUCKETS: Shape = Shape { bytes: 0, inner: &[(2, &VARINT)] };
/// Elements of lists that may be packed.
static NUMBER_64: Shape = Shape { bytes: 8, inner: &[] };
static VARINT: Shape = Shape { bytes: 8, inner: &[] };
static QUANTILE: Shape = Shape { bytes: 16, inner: &[] };
static SUMMARY: Shape = Shape { bytes: 88, inner: &[(6, &QUANTILE), (7, &KEY_VALUE)] };
static NUMBERS: Shape = Shape { bytes: 0, inner: &[(1, &NUMBER)] };
static HISTOGRAMS: Shape = Shape { bytes: 0, inner: &[(1, &HISTOGRAM)] };
static EXPONENTIALS: Shape = Shape { bytes: 0, inner: &[(1, &EXPONENTIAL)] };
static SUMMARIES: Shape = Shape { bytes: 0, inner: &[(1, &SUMMARY)] };
static METRIC: Shape = Shape {
    bytes: 136,
    inner: &[(5, &NUMBERS), (7, &NUMBERS), (9, &HISTOGRAMS), (10, &EXPONENTIALS), (11, &SUMMARIES), (12, &KEY_VALUE)],
};

macro_rules! envelope {
    ($request:ident, $resources:ident, $scopes:ident, $record:ident) => {
        static $scopes: Shape = Shape { bytes: 160, inner: &[(1, &SCOPE), (2, &$record)] };
        static $resources: Shape = Shape { bytes: 120, inner: &[(1, &RESOURCE), (2, &$scopes)] };
        static $request: Shape = Shape { bytes: 24, inner: &[(1, &$resources)] };
    };
}

envelope!(TRACES, RESOURCE_SPANS, SCOPE_SPANS, SPAN);
envelope!(LOGS, RESOURCE_LOGS, SCOPE_LOGS, LOG);
envelope!(METRICS, RESOURCE_METRICS, SCOPE_METRICS, METRIC);

/// Whether a request in protobuf takes `most` bytes or fewer once it is decoded.
pub(super) fn protobuf(signal: Signal, body: &[u8], most: usize) -> Result<(), Refused> {
    let shape = match signal {
        Signal::Traces => &TRACES,
        Signal::Logs => &LOGS,
        Signal::Metrics => &METRICS,
    };
    // What is text on the wire is as long in memory.
    let mut left = most.checked_sub(body.len()).ok_or(Refused::TooLarge)?;
    walk(shape, body, DEPTH, &mut left)
}

fn walk(shape: &Shape, mut body: &[u8], depth: usize, left: &mut usize) -> Result<(), Refused> {
    // How many elements of each list came, by their place in `shape.inner`.
    let mut came = [0_usize; MOST_LISTS];
    while !body.is_empty() {
        let tag = varint(&mut body)?;
        match tag & 7 {
            0 => {
                varint(&mut body)?;
                list(shape, tag, &mut came, 1, left)?;
            }
            1 => {
                take(&mut body, 8)?;
                list(shape, tag, &mut came, 1, left)?;
            }
            5 => _ = take(&mut body, 4)?,
            2 => {
                let length = usize::try_from(varint(&mut body)?).map_err(|_too_long| Refused::Malformed)?;
                let field = take(&mut body, length)?;
                let Some((_, inner)) = shape.inner.iter().find(|(number, _)| *number == tag >> 3) else { continue };
                let elements = if std::ptr::eq(*inner, &raw const NUMBER_64) {
                    length / 8
                } else if std::ptr::eq(*inner, &raw const VARINT) {
                    field.iter().filter(|byte| **byte & 0x80 == 0).count()
                } else {
                    1
                };
                list(shape, tag, &mut came, elements, left)?;
                if !inner.inner.is_empty() {
                    walk(inner, field, depth.checked_sub(1).ok_or(Refused::Malformed)?, left)?;
                }
            }
            // OTLP has no groups.
            _ => return Err(Refused::Malformed),
        }
    }
    Ok(())
}

/// Counts `more` elements of the list in the field of `tag`: a `Vec` begins with room for four, and doubles its capacity.
fn list(shape: &Shape, tag: u64, came: &mut [usize; MOST_LISTS], more: usize, left: &mut usize) -> Result<(), Refused> {
    let Some(place) = shape.inner.iter().position(|(number, _)| *number == tag >> 3) else { return Ok(()) };
    let (Some(came), Some((_, inner))) = (came.get_mut(place), shape.inner.get(place)) else { return Ok(()) };
    let capacity = |elements: usize| if elements == 0 { 0 } else { elements.next_power_of_two().max(4) };
    let before = capacity(*came);
    *came = came.saturating_add(more);
    let grown = (capacity(*came) - before).saturating_mul(inner.bytes);
    *left = left.checked_sub(grown).ok_or(Refused::TooLarge)?;
    Ok(())
}

fn take<'a>(body: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], Refused> {
    let (taken, rest) = body.split_at_checked(bytes).ok_or(Refused::Malformed)?;
    *body = rest;
    Ok(taken)
}

fn varint(body: &mut &[u8]) -> Result<u64, Refused> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = body.split_first().ok_or(Refused::Malformed)?;
        *body = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Refused::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::{
        collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
        common::v1::{AnyValue, EntityRef, KeyValue, KeyValueList, any_value::Value},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        metrics::v1::{
            Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
            ScopeMetrics, SummaryDataPoint, summary_data_point::ValueAtQuantile,
        },
        trace::v1::{
            ResourceSpans, ScopeSpans, Span,
            span::{Event, Link},
        },
    };
    use prost::Message;

    #[test]
    fn no_structure_is_larger_than_it_is_taken_for() {
        for (shape, bytes, name) in [
            (&TEXT, size_of::<String>(), "String"),
            (&ANY, size_of::<AnyValue>(), "AnyValue"),
            (&KEY_VALUE, size_of::<KeyValue>(), "KeyValue"),
            (&ENTITY, size_of::<EntityRef>(), "EntityRef"),
            (&EVENT, size_of::<Event>(), "Event"),
            (&LINK, size_of::<Link>(), "Link"),
            (&SPAN, size_of::<Span>(), "Span"),
            (&LOG, size_of::<LogRecord>(), "LogRecord"),
            (&EXEMPLAR, size_of::<Exemplar>(), "Exemplar"),
            (&NUMBER, size_of::<NumberDataPoint>(), "NumberDataPoint"),
            (&HISTOGRAM, size_of::<HistogramDataPoint>(), "HistogramDataPoint"),
            (&EXPONENTIAL, size_of::<ExponentialHistogramDataPoint>(), "ExponentialHistogramDataPoint"),
            (&QUANTILE, size_of::<ValueAtQuantile>(), "ValueAtQuantile"),
            (&SUMMARY, size_of::<SummaryDataPoint>(), "SummaryDataPoint"),
            (&METRIC, size_of::<Metric>(), "Metric"),
            (&SCOPE_SPANS, size_of::<ScopeSpans>(), "ScopeSpans"),
            (&SCOPE_LOGS, size_of::<ScopeLogs>(), "ScopeLogs"),
            (&SCOPE_METRICS, size_of::<ScopeMetrics>(), "ScopeMetrics"),
            (&RESOURCE_SPANS, size_of::<ResourceSpans>(), "ResourceSpans"),
            (&RESOURCE_LOGS, size_of::<ResourceLogs>(), "ResourceLogs"),
            (&RESOURCE_METRICS, size_of::<ResourceMetrics>(), "ResourceMetrics"),
        ] {
            assert!(shape.bytes >= bytes, "{name} has {bytes} bytes, taken for {}", shape.bytes);
        }
    }

    fn spans(spans: Vec<Span>) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    #[test]
    fn a_bomb_of_empty_messages_is_seen_before_it_is_decoded() {
        let empty = spans(vec![Span::default(); 1000]);
        assert!(empty.len() < 2100);
        assert_eq!(protobuf(Signal::Traces, &empty, 344_000), Err(Refused::TooLarge));
        assert_eq!(protobuf(Signal::Traces, &empty, 350_000), Ok(()));
        let attributes = spans(vec![Span { attributes: vec![KeyValue::default(); 1000], ..Span::default() }]);
        assert_eq!(protobuf(Signal::Traces, &attributes, 60_000), Err(Refused::TooLarge));
    }

    #[test]
    fn what_lies_deep_is_counted_too_and_too_deep_is_refused() {
        let nested = |depth: usize| {
            let mut value = Value::IntValue(1);
            for _ in 0..depth {
                let list = KeyValueList {
                    values: vec![
                        KeyValue { value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() },
                        KeyValue::default(),
                    ],
                };
                value = Value::KvlistValue(list);
            }
            let attribute = KeyValue { value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() };
            spans(vec![Span { attributes: vec![attribute], ..Span::default() }])
        };
        assert_eq!(protobuf(Signal::Traces, &nested(10), 2_000), Err(Refused::TooLarge));
        assert_eq!(protobuf(Signal::Traces, &nested(10), 6_000), Ok(()));
        assert_eq!(protobuf(Signal::Traces, &nested(60), 1 << 20), Err(Refused::Malformed));
    }

    /// The least memory with which `body` is taken.
    fn charged(signal: Signal, body: &[u8]) -> usize {
        let (mut low, mut high) = (0, 1 << 30);
        while low < high {
            let middle = usize::midpoint(low, high);
            if protobuf(signal, body, middle).is_ok() { high = middle } else { low = middle + 1 }
        }
        low
    }

    #[test]
    fn f23_decoded_memory_is_at_most_a_quarter_above_what_it_is_taken_for() {
        use opentelemetry_proto::tonic::metrics::v1::{
            ExponentialHistogram, Histogram, exponential_histogram_data_point::Buckets, metric::Data,
        };
        let metrics = |data: Data| {
            let metric = Metric { data: Some(data), ..Metric::default() };
            let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
            let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
            ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
        };
        let exponential = |points: usize, buckets: usize| {
            let positive = Some(Buckets { offset: 0, bucket_counts: vec![1; buckets] });
            let point = ExponentialHistogramDataPoint { positive, ..ExponentialHistogramDataPoint::default() };
            let data_points = vec![point; points];
            metrics(Data::ExponentialHistogram(ExponentialHistogram { data_points, ..ExponentialHistogram::default() }))
        };
        let histogram = HistogramDataPoint {
            bucket_counts: vec![1; 70_000],
            explicit_bounds: vec![1.0; 70_000],
            ..HistogramDataPoint::default()
        };
        let bounds = metrics(Data::Histogram(Histogram { data_points: vec![histogram], ..Histogram::default() }));
        for body in [exponential(1025, 0), exponential(5000, 1), exponential(3, 70_000), exponential(100, 9), bounds] {
            let mut decoded = None;
            let real = allocation_counter::measure(|| {
                decoded = ExportMetricsServiceRequest::decode(&*body).ok();
            });
            let real = usize::try_from(real.bytes_current).unwrap();
            let charged = charged(Signal::Metrics, &body);
            assert!(real <= charged + charged / 4 && decoded.is_some(), "{real} bytes, taken for {charged}");
        }
    }

    #[test]
    fn what_is_no_protobuf_is_refused_and_what_is_unknown_is_passed_over() {
        for wrong in [&b"\xff"[..], b"\x0a\x05ab", b"\x0b", b"\x09abc", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            assert_eq!(protobuf(Signal::Logs, wrong, 1 << 20), Err(Refused::Malformed), "{wrong:?}");
        }
        // Field 15 as a number, as fixed ones, and as text.
        assert_eq!(protobuf(Signal::Logs, b"\x78\x01\x79abcdefgh\x7dabcd\x7a\x02ab", 1 << 20), Ok(()));
        let metrics = ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics::default()] };
        assert_eq!(protobuf(Signal::Metrics, &metrics.encode_to_vec(), 1 << 10), Ok(()));
    }
}
