use forebay::{
    kip714::names::{self, producer},
    otlp::{Metric, MetricData, NumberPoint, Temporality},
};
use tokio::time::Instant;

/// A producer that sends a thousand records a second over one connection, and has its better and worse moments.
#[derive(Debug)]
pub(super) struct Producer {
    began: Instant,
    series: u32,
}

// === impl Producer ===

impl Producer {
    pub(super) fn new(series: u32) -> Self {
        Self { began: Instant::now(), series }
    }

    /// Its metrics as they are now: the KIP's standard ones, a counter, and as many more as were asked for.
    pub(super) fn gather(&self, out: &mut Vec<Metric>) {
        let seconds = self.began.elapsed().as_secs_f64();
        let wave = 1.0 + (seconds * 2.0).sin() / 2.0;
        out.extend([
            gauge(producer::CONNECTION_CREATION_RATE, 1.0 / seconds.max(1.0)),
            total(producer::CONNECTION_CREATION_TOTAL, 1.0),
            node(producer::NODE_REQUEST_LATENCY_AVG, 3.0 * wave),
            node(producer::NODE_REQUEST_LATENCY_MAX, 9.0 * wave),
            gauge(producer::PRODUCE_THROTTLE_TIME_AVG, 0.0),
            gauge(producer::PRODUCE_THROTTLE_TIME_MAX, 0.0),
            gauge(producer::RECORD_QUEUE_TIME_AVG, 5.0 * wave),
            gauge(producer::RECORD_QUEUE_TIME_MAX, 20.0 * wave),
            total(names::metric("producer-metrics", "record-send-total"), (seconds * 1_000.0).floor()),
        ]);
        out.extend((0..self.series).map(|n| {
            let name = names::metric("producer-topic-metrics", "record-send-rate");
            let point = NumberPoint::new(0, 1_000.0 * wave).attribute("topic", format!("topic-{n:05}"));
            Metric::new(name, MetricData::Gauge(vec![point]))
        }));
    }
}

fn gauge(name: impl Into<std::borrow::Cow<'static, str>>, value: f64) -> Metric {
    Metric::new(name, MetricData::Gauge(vec![NumberPoint::new(0, value)]))
}

fn node(name: &'static str, value: f64) -> Metric {
    Metric::new(name, MetricData::Gauge(vec![NumberPoint::new(0, value).attribute("node_id", "node-1")]))
}

fn total(name: impl Into<std::borrow::Cow<'static, str>>, value: f64) -> Metric {
    let points = vec![NumberPoint::new(0, value)];
    Metric::new(name, MetricData::Sum { points, temporality: Temporality::Cumulative, monotonic: true })
}
