//! Encoding takes no allocation per record: none at all once the buffer has its size.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::BytesMut;
use forebay_export::Encode;
use forebay_otlp::{
    AnyValue, AsLogRecord, AsScope, Encoder, HistogramPoint, KeyValue, LogRecord, LogRecordWriter, LogsEncoder, Metric,
    MetricData, MetricsEncoder, NumberPoint, Protocol, Resource, Scope, Severity, SignalKind, Span, SpanEvent,
    SpanLink, StatusCode, Temporality, TracesEncoder,
};

/// How many allocations a batch takes when two like it were encoded before: the first one gives the encoder their
/// length, and the second one finds room for that and a little more.
fn allocations<S: SignalKind, T>(encoder: &Encoder<S>, items: &[T]) -> u64
where
    Encoder<S>: Encode<T>,
{
    let mut body = BytesMut::new();
    for _ in 0..2 {
        encoder.encode(items, &mut body).unwrap();
        body.clear();
    }
    let info = allocation_counter::measure(|| {
        encoder.encode(items, &mut body).unwrap();
    });
    assert!(body.len() > 512 * 20);
    info.count_total
}

fn nested() -> AnyValue {
    AnyValue::KvList(vec![KeyValue::new("list", vec![AnyValue::from(1), AnyValue::from("two\n")])])
}

#[test]
fn log_records_of_every_kind_of_value() {
    let records: Vec<LogRecord> = (0..512)
        .map(|at| {
            LogRecord::new(format!("line \"{at}\" of a log, of about the usual length of a line"))
                .time_unix_nano(1_732_000_000_000_000_000 + at)
                .severity(Severity::Warn)
                .attribute("long", "x".repeat(300))
                .attribute("double", 0.25)
                .attribute("bytes", vec![0, 1, 2])
                .attribute("nested", nested())
                .trace([1; 16], [2; 8], 1)
        })
        .collect();
    for protocol in Protocol::ALL {
        let resource = Resource::new().attribute("service.name", "shop");
        let encoder = LogsEncoder::builder().protocol(protocol).resource(resource).build().unwrap();
        assert_eq!(allocations(&encoder, &records), 0, "{protocol}");
    }
}

#[test]
fn records_of_a_type_of_ones_own() {
    struct Line(String, u32);

    impl AsLogRecord for Line {
        fn record<W: LogRecordWriter>(&self, w: &mut W) {
            w.body(&self.0);
            w.attribute("number", self.1);
            w.severity(Severity::Info);
            w.attribute("late", true);
        }
    }

    let lines: Vec<Line> = (0..512).map(|at| Line(format!("line {at}"), at)).collect();
    for protocol in Protocol::ALL {
        let encoder = LogsEncoder::builder().protocol(protocol).build().unwrap();
        assert_eq!(allocations(&encoder, &lines), 0, "{protocol}");
    }
}

#[test]
fn spans() {
    let span = Span::new([1; 16], [2; 8], "GET /orders")
        .times(1, 2)
        .attribute("nested", nested())
        .event(SpanEvent::new(3, "retry").attribute("attempt", 2))
        .link(SpanLink::new([3; 16], [4; 8]))
        .status(StatusCode::Error, "timeout");
    let spans = vec![span; 512];
    for protocol in Protocol::ALL {
        let encoder = TracesEncoder::builder().protocol(protocol).build().unwrap();
        assert_eq!(allocations(&encoder, &spans), 0, "{protocol}");
    }
}

#[test]
fn metrics() {
    let mut histogram = HistogramPoint::new(2).attribute("route", "/orders");
    (histogram.bucket_counts, histogram.explicit_bounds) = (vec![1; 12], vec![0.5; 11]);
    let (points, temporality) = (vec![NumberPoint::new(2, 7).attribute("cpu", 1); 4], Temporality::Cumulative);
    let sum = Metric::new("sum", MetricData::Sum { points, temporality, monotonic: true });
    let histogram = Metric::new("histogram", MetricData::Histogram { points: vec![histogram; 4], temporality });
    let metrics = [vec![sum; 256], vec![histogram; 256]].concat();
    for protocol in Protocol::ALL {
        let encoder = MetricsEncoder::builder().protocol(protocol).build().unwrap();
        assert_eq!(allocations(&encoder, &metrics), 0, "{protocol}");
    }
}

#[test]
fn scopes_cost_by_their_number_and_not_by_that_of_the_records() {
    struct Scoped(LogRecord, Scope);

    impl AsLogRecord for Scoped {
        fn record<W: LogRecordWriter>(&self, w: &mut W) {
            self.0.record(w);
        }

        fn scope(&self) -> Option<impl AsScope> {
            Some(&self.1)
        }
    }

    let records = |count: usize| -> Vec<Scoped> {
        let scopes = ["http", "db", "cache"].map(Scope::new);
        scopes.into_iter().cycle().take(count).map(|scope| Scoped(LogRecord::new("a line of a log"), scope)).collect()
    };
    let encoder = LogsEncoder::builder().build().unwrap();
    let (some, many) = (allocations(&encoder, &records(1_024)), allocations(&encoder, &records(16_384)));
    // The lists of places double in size four more times, for each of three scopes.
    assert!(some < 80 && many <= some + 4 * 3, "{some}, {many}");
}
