use super::{Assembler, Payload, SeriesCache};
use crate::{ClientLabels, Codec, PushOrder, Selector, source::Gather};
use forebay_otlp::{HistogramPoint, Metric, MetricData, NumberPoint, Temporality};
use opentelemetry_proto::tonic::metrics::v1::{MetricsData, metric::Data, number_data_point::Value};
use proptest::prelude::*;
use prost::Message;
use std::sync::{Arc, Mutex};

const BORN: u64 = 1_000;

fn order(prefixes: &[&str]) -> PushOrder {
    PushOrder {
        client_instance_id: crate::InstanceId::from_bytes([1; 16]),
        subscription_id: 1,
        terminating: false,
        codec: Codec::None,
        max_bytes: usize::MAX,
        selector: Arc::new(Selector::new(prefixes)),
        delta: true,
    }
}

fn assembler(metrics: impl Fn(&mut Vec<Metric>) + Send + Sync + 'static) -> Assembler {
    Assembler::new(vec![Box::new(Gather(metrics))], None, &ClientLabels::new().client_rack("r1")).unwrap()
}

fn counter(name: &'static str, value: i64) -> Metric {
    let points = vec![NumberPoint::new(0, value)];
    Metric::new(name, MetricData::Sum { points, temporality: Temporality::Cumulative, monotonic: true })
}

fn gauge(name: impl Into<std::borrow::Cow<'static, str>>, value: f64) -> Metric {
    Metric::new(name, MetricData::Gauge(vec![NumberPoint::new(0, value)]))
}

fn decode(payload: &Payload) -> Vec<opentelemetry_proto::tonic::metrics::v1::Metric> {
    let data = MetricsData::decode(payload.body.clone()).unwrap();
    data.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics).collect()
}

/// Start, time and value of the only point of the only metric.
fn only_sum(payload: &Payload) -> (u64, u64, i64, i32) {
    let metrics = decode(payload);
    let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
    let point = &sum.data_points[0];
    let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
    assert_eq!((metrics.len(), sum.data_points.len()), (1, 1));
    (point.start_time_unix_nano, point.time_unix_nano, value, sum.aggregation_temporality)
}

/// A counter that the test moves.
fn shared_counter() -> (Arc<Mutex<i64>>, Assembler) {
    let value = Arc::new(Mutex::new(0));
    let read = Arc::clone(&value);
    (value, assembler(move |out| out.push(counter("c", *read.lock().unwrap()))))
}

#[test]
fn k10_where_nothing_matches_the_payload_is_empty() {
    let sources = assembler(|out| out.push(counter("org.apache.kafka.producer.x", 1)));
    let payload = sources.assemble(&mut SeriesCache::new(BORN, 9), &order(&["something.else"]), 2_000);
    assert_eq!((payload.body.len(), payload.series, payload.codec), (0, 0, Codec::None));
}

#[test]
fn k11_overlapping_prefixes_send_each_series_once() {
    let sources = assembler(|out| out.extend([counter("a.b.c", 1), counter("a.b", 2), counter("b", 3)]));
    let payload = sources.assemble(&mut SeriesCache::new(BORN, 9), &order(&["a", "a.b", "a.b.c"]), 2_000);
    let names: Vec<_> = decode(&payload).into_iter().map(|metric| metric.name).collect();
    assert_eq!((names, payload.series), (vec!["a.b".to_owned(), "a.b.c".to_owned()], 2));
}

#[test]
fn k11_two_sources_with_the_same_series_send_it_once() {
    let sources: Vec<Box<dyn crate::Source>> = vec![
        Box::new(Gather(|out: &mut Vec<Metric>| out.push(counter("a", 1)))),
        Box::new(Gather(|out: &mut Vec<Metric>| out.push(counter("a", 2)))),
    ];
    let sources = Assembler::new(sources, None, &ClientLabels::new()).unwrap();
    let payload = sources.assemble(&mut SeriesCache::new(BORN, 9), &order(&["*"]), 2_000);
    assert_eq!(only_sum(&payload).2, 1);
}

#[test]
fn labels_are_attributes_of_the_resource() {
    let sources = assembler(|out| out.push(counter("a", 1)));
    let payload = sources.assemble(&mut SeriesCache::new(BORN, 9), &order(&["*"]), 2_000);
    let data = MetricsData::decode(payload.body).unwrap();
    let attributes = &data.resource_metrics[0].resource.as_ref().unwrap().attributes;
    assert_eq!(attributes.iter().map(|kv| kv.key.as_str()).collect::<Vec<_>>(), ["client_rack"]);
}

#[test]
fn a_delta_is_what_came_since_the_last_push_that_was_taken() {
    let (value, sources) = shared_counter();
    let mut cache = SeriesCache::new(BORN, 9);
    let order = order(&["*"]);
    *value.lock().unwrap() = 5;
    let first = sources.assemble(&mut cache, &order, 2_000);
    assert_eq!(only_sum(&first), (BORN, 2_000, 5, 1));
    first.commit(&mut cache);
    *value.lock().unwrap() = 7;
    // This one gets lost on its way, and is not committed.
    assert_eq!(only_sum(&sources.assemble(&mut cache, &order, 3_000)), (2_000, 3_000, 2, 1));
    *value.lock().unwrap() = 12;
    let third = sources.assemble(&mut cache, &order, 4_000);
    assert_eq!(only_sum(&third), (2_000, 4_000, 7, 1));
    third.commit(&mut cache);
    // A reset: never negative.
    *value.lock().unwrap() = 1;
    assert_eq!(only_sum(&sources.assemble(&mut cache, &order, 5_000)).2, 1);
}

#[test]
fn k15_a_change_of_temporality_starts_every_series_again() {
    let (value, sources) = shared_counter();
    let mut cache = SeriesCache::new(BORN, 9);
    let delta = order(&["*"]);
    let cumulative = PushOrder { delta: false, ..delta.clone() };
    *value.lock().unwrap() = 5;
    sources.assemble(&mut cache, &delta, 2_000).commit(&mut cache);
    *value.lock().unwrap() = 7;
    let payload = sources.assemble(&mut cache, &cumulative, 3_000);
    assert_eq!(only_sum(&payload), (BORN, 3_000, 7, 2));
    payload.commit(&mut cache);
    *value.lock().unwrap() = 9;
    assert_eq!(only_sum(&sources.assemble(&mut cache, &delta, 4_000)), (BORN, 4_000, 9, 1));
}

#[test]
fn a_histogram_is_taken_apart_bucket_by_bucket() {
    let seen = Arc::new(Mutex::new(1));
    let read = Arc::clone(&seen);
    let sources = assembler(move |out| {
        let n = *read.lock().unwrap();
        let mut point = HistogramPoint::default();
        (point.count, point.sum) = (3 * n, Some(6.0 * n as f64));
        (point.bucket_counts, point.explicit_bounds, point.max) = (vec![n, 2 * n], vec![1.0], Some(4.0));
        let data = MetricData::Histogram { points: vec![point], temporality: Temporality::Cumulative };
        out.push(Metric::new("h", data));
    });
    let mut cache = SeriesCache::new(BORN, 9);
    sources.assemble(&mut cache, &order(&["*"]), 2_000).commit(&mut cache);
    *seen.lock().unwrap() = 3;
    let payload = sources.assemble(&mut cache, &order(&["*"]), 3_000);
    let metrics = decode(&payload);
    let Some(Data::Histogram(histogram)) = &metrics[0].data else { panic!("{metrics:?}") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum, point.bucket_counts.as_slice()), (6, Some(12.0), [2, 4].as_slice()));
    assert_eq!((point.start_time_unix_nano, point.max, histogram.aggregation_temporality), (2_000, None, 1));
}

fn many(count: usize) -> Assembler {
    assembler(move |out| {
        out.extend((0..count).map(|n| gauge(format!("z.{n:04}"), n as f64)));
        out.push(counter(crate::names::producer::CONNECTION_CREATION_TOTAL, 1));
    })
}

#[test]
fn k17_what_does_not_fit_is_left_out_and_counted_and_comes_the_next_time() {
    let sources = many(100);
    let mut cache = SeriesCache::new(BORN, 1_000);
    let order = PushOrder { max_bytes: 1_500, ..order(&["*"]) };
    let mut seen = std::collections::HashSet::new();
    for round in 1..30 {
        let payload = sources.assemble(&mut cache, &order, round * 10_000);
        assert!(payload.body.len() <= 1_500 && payload.series > 0);
        assert_eq!(payload.series + payload.too_large, 101);
        let names: Vec<_> = decode(&payload).into_iter().map(|metric| metric.name).collect();
        // The important one is always there.
        assert_eq!(names[0], crate::names::producer::CONNECTION_CREATION_TOTAL);
        seen.extend(names);
        payload.commit(&mut cache);
    }
    assert_eq!(seen.len(), 101, "every series had its turn");
}

#[test]
fn k17_one_series_that_is_too_large_by_itself_keeps_no_other_out() {
    let sources = assembler(|out| {
        out.push(gauge("a".repeat(5_000), 1.0));
        out.push(gauge("b", 1.0));
    });
    let payload =
        sources.assemble(&mut SeriesCache::new(BORN, 9), &PushOrder { max_bytes: 1_000, ..order(&["*"]) }, 2_000);
    assert_eq!((payload.series, payload.too_large), (1, 1));
    assert_eq!(decode(&payload)[0].name, "b");
}

#[test]
fn k17_a_payload_that_compresses_well_is_no_larger_than_allowed_before_compression() {
    let sources = many(1_000);
    for codec in Codec::ALL {
        let order = PushOrder { max_bytes: 10_000, codec, ..order(&["*"]) };
        let payload = sources.assemble(&mut SeriesCache::new(BORN, 9_999), &order, 2_000);
        assert!(payload.length <= 10_000 && payload.body.len() <= payload.length, "{codec}");
        assert!(payload.series > 100 && payload.too_large > 0, "{codec}");
        assert_eq!((payload.codec, payload.failed), (codec, None));
    }
}

#[test]
fn a_source_that_panics_costs_its_own_metrics() {
    let sources: Vec<Box<dyn crate::Source>> = vec![
        Box::new(Gather(|_: &mut Vec<Metric>| panic!("planted"))),
        Box::new(Gather(|out: &mut Vec<Metric>| out.push(counter("a", 2)))),
    ];
    let sources = Assembler::new(sources, None, &ClientLabels::new()).unwrap();
    let payload = sources.assemble(&mut SeriesCache::new(BORN, 9), &order(&["*"]), 2_000);
    assert_eq!((payload.panicked, payload.series), (1, 1));
}

#[test]
fn the_number_of_series_is_bounded_and_room_comes_from_those_that_are_gone() {
    let round = Arc::new(Mutex::new(0));
    let read = Arc::clone(&round);
    let sources = assembler(move |out| {
        let round = *read.lock().unwrap();
        out.extend((0..8).map(|n| gauge(format!("r{round}.{n}"), 1.0)));
    });
    let mut cache = SeriesCache::new(BORN, 5);
    let mut full = Vec::new();
    for n in 0..3 {
        *round.lock().unwrap() = n;
        let payload = sources.assemble(&mut cache, &order(&["*"]), 2_000);
        full.push((payload.series, payload.full));
        payload.commit(&mut cache);
    }
    assert_eq!(full, [(5, 3), (0, 8), (5, 3)]);
}

proptest! {
    /// Whatever gets lost, the deltas of what was taken add up to the counter, and their times touch.
    #[test]
    fn deltas_add_up(steps in prop::collection::vec((0_i64..100, any::<bool>()), 1..50)) {
        let (value, sources) = shared_counter();
        let mut cache = SeriesCache::new(BORN, 9);
        let (mut taken, mut until) = (0, BORN);
        for (n, (more, arrives)) in steps.into_iter().enumerate() {
            *value.lock().unwrap() += more;
            let now = 2_000 + n as u64;
            let payload = sources.assemble(&mut cache, &order(&["*"]), now);
            let (start, time, delta, _) = only_sum(&payload);
            prop_assert_eq!((start, time), (until, now));
            prop_assert_eq!(taken + delta, *value.lock().unwrap());
            if arrives {
                payload.commit(&mut cache);
                (taken, until) = (taken + delta, now);
            }
        }
    }

    #[test]
    fn no_limit_is_ever_broken(count in 0_usize..200, max_bytes in 0_usize..20_000, codec in 0_usize..5) {
        let sources = many(count);
        let order = PushOrder { max_bytes, codec: Codec::ALL[codec], ..order(&["*"]) };
        let payload = sources.assemble(&mut SeriesCache::new(BORN, 9_999), &order, 2_000);
        prop_assert!(payload.length <= max_bytes && payload.body.len() <= max_bytes);
        prop_assert_eq!(payload.series + payload.too_large, count as u64 + 1);
    }
}
