//! The ready-made sources give what was counted.

#![cfg(all(feature = "metrics", feature = "opentelemetry"))]
#![expect(clippy::expect_used, reason = "test code")]

use forebay_collect::{
    Gathering, LabelValue, Labels, Number, OpenTelemetrySource, Recorder, Series, Temporality, Value,
};
use metrics::with_local_recorder;
use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;

fn find<'a>(series: &'a [Series], name: &str, labels: &Labels) -> &'a Series {
    series.iter().find(|one| one.name == name && one.labels == *labels).expect("such a series")
}

#[test]
fn c05_c06_a_recorder_keeps_each_set_of_labels_and_takes_nothing_away() {
    let mut recorder = Recorder::builder().bounds(vec![1.0, 10.0]).build().unwrap();
    with_local_recorder(&recorder.clone(), || {
        metrics::describe_counter!("requests", metrics::Unit::Bytes, "what came");
        metrics::counter!("requests", "route" => "a").increment(2);
        metrics::counter!("requests", "route" => "a").increment(1);
        metrics::gauge!("depth", "node" => "a").set(4.0);
        metrics::gauge!("depth", "node" => "b").set(5.0);
        metrics::gauge!("depth", "node" => "b").decrement(0.5);
        metrics::histogram!("took").record(7.0);
        metrics::histogram!("took").record(70.0);
    });
    for _ in 0..2 {
        let series = Gathering::of(&mut recorder, 99);
        assert_eq!(series.len(), 4);
        let requests = find(&series, "requests", &Labels::from([("route", "a")]));
        assert_eq!(requests.value, Value::counter(3_i64));
        assert_eq!((&*requests.unit, &*requests.description, requests.time_unix_nanos), ("By", "what came", 99));
        assert!(requests.start_unix_nanos > 0);
        assert_eq!(find(&series, "depth", &Labels::from([("node", "a")])).value, Value::gauge(4.0));
        assert_eq!(find(&series, "depth", &Labels::from([("node", "b")])).value, Value::gauge(4.5));
        let Value::Histogram { histogram, temporality } = &find(&series, "took", &Labels::new()).value else {
            panic!()
        };
        assert_eq!(
            (&histogram.counts[..], histogram.sum, *temporality),
            (&[0, 1, 1][..], Some(77.0), Temporality::Cumulative)
        );
    }
}

#[test]
fn a_label_without_end_ends_in_one_overflow_series() {
    let mut recorder = Recorder::builder().max_series(10).build().unwrap();
    with_local_recorder(&recorder.clone(), || {
        (0..10_000).for_each(|user| metrics::counter!("logins", "user" => user.to_string()).increment(1));
    });
    let series = Gathering::of(&mut recorder, 1);
    assert_eq!(series.len(), 10);
    let overflow = find(&series, "logins", &Labels::new().with("otel.metric.overflow", true));
    assert_eq!(overflow.value, Value::counter(10_000_i64 - 9));
}

#[test]
fn names_without_end_end_too() {
    let mut recorder = Recorder::new();
    with_local_recorder(&recorder.clone(), || {
        (0..10_100).for_each(|n| metrics::counter!(format!("name{n}")).increment(1));
        metrics::counter!("name0").increment(1);
    });
    let series = Gathering::of(&mut recorder, 1);
    assert_eq!(series.len(), 10_000);
    assert_eq!(find(&series, "name0", &Labels::new()).value, Value::counter(2_i64));
}

#[test]
fn the_instruments_of_opentelemetry_are_a_source() {
    let mut source = OpenTelemetrySource::new();
    assert!(Gathering::of(&mut source, 1).is_empty(), "no provider has it yet");
    let provider = SdkMeterProvider::builder().with_reader(source.clone()).build();
    let meter = provider.meter("test");
    let requests = meter.u64_counter("requests").with_unit("{request}").build();
    requests.add(3, &[KeyValue::new("status", 200)]);
    meter.f64_gauge("load").build().record(0.5, &[]);
    meter.i64_up_down_counter("open").build().add(-2, &[]);
    meter.f64_histogram("took").with_boundaries(vec![1.0, 10.0]).build().record(7.0, &[]);
    for _ in 0..2 {
        let series = Gathering::of(&mut source, 1);
        let labels = Labels::new().with("status", LabelValue::Int(200));
        let requests = find(&series, "requests", &labels);
        assert_eq!(requests.value, Value::counter(3_i64));
        assert!(requests.time_unix_nanos > requests.start_unix_nanos && requests.start_unix_nanos > 0);
        assert_eq!(find(&series, "load", &Labels::new()).value, Value::Gauge(Number::Double(0.5)));
        assert_eq!(find(&series, "open", &Labels::new()).value, Value::up_down(-2_i64));
        let Value::Histogram { histogram, .. } = &find(&series, "took", &Labels::new()).value else { panic!() };
        assert_eq!((&histogram.counts[..], histogram.max), (&[0, 1, 0][..], Some(7.0)));
    }
    requests.add(1, &[KeyValue::new("status", 200)]);
    let series = Gathering::of_wanted(&mut source, 1, &|name| name == "requests");
    assert_eq!((series.len(), &series[0].value), (1, &Value::counter(4_i64)));
}
