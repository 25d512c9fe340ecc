use opentelemetry_proto::tonic::metrics::v1::{Metric, MetricsData, metric::Data, number_data_point::Value};
use prost::Message;
use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep};

/// What the receiver in the broker has been given.
pub(crate) struct Inbox {
    folder: PathBuf,
}

/// One payload.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) number: u32,
    pub(crate) millis: u64,
    pub(crate) instance: String,
    pub(crate) terminating: bool,
    pub(crate) bytes: usize,
    pub(crate) data: MetricsData,
}

impl Inbox {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// All of one client, in the order in which they came.
    pub(crate) fn of(&self, client: &str) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for entry in fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "otlp") {
                continue;
            }
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let parts: Vec<_> = name.split(' ').collect();
            let [number, millis, sender, instance, kind] = parts.as_slice() else { panic!("{name}") };
            if *sender != client {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            deliveries.push(Delivery {
                number: number.parse().unwrap(),
                millis: millis.parse().unwrap(),
                instance: (*instance).to_owned(),
                terminating: *kind == "T",
                bytes: bytes.len(),
                data: MetricsData::decode(bytes.as_slice()).expect("a payload is MetricsData"),
            });
        }
        deliveries.sort_by_key(|delivery| (delivery.millis, delivery.number));
        deliveries
    }

    /// Waits until enough of one client have come; they are returned.
    pub(crate) async fn until(&self, client: &str, mut enough: impl FnMut(&[Delivery]) -> bool) -> Vec<Delivery> {
        let begun = Instant::now();
        loop {
            let deliveries = self.of(client);
            if enough(&deliveries) {
                return deliveries;
            }
            let last: Vec<_> = deliveries.iter().rev().take(2).collect();
            assert!(begun.elapsed() < Duration::from_secs(40), "{} so far; the last: {last:?}", deliveries.len());
            // Another process, in real time: there is nothing to wait on.
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes the receiver throw, or no longer.
    pub(crate) fn fail(&self, yes: bool) {
        let mark = self.folder.join("fail");
        if yes { fs::write(mark, "").unwrap() } else { fs::remove_file(mark).unwrap() }
    }
}

impl Delivery {
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.data.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics)
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.metrics().map(|metric| metric.name.clone()).collect()
    }

    /// Labels of the resource.
    pub(crate) fn labels(&self) -> BTreeSet<String> {
        let resources = self.data.resource_metrics.iter().filter_map(|r| r.resource.as_ref());
        resources.flat_map(|resource| &resource.attributes).map(|kv| kv.key.clone()).collect()
    }

    /// The one point of a sum: its start, its time, its value, and whether it is a delta.
    pub(crate) fn sum(&self, name: &str) -> Option<(u64, u64, i64, bool)> {
        let metric = self.metrics().find(|metric| metric.name == name)?;
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
        let point = &sum.data_points[0];
        let value = match point.value {
            Some(Value::AsInt(value)) => value,
            Some(Value::AsDouble(_)) | None => panic!("{point:?}"),
        };
        Some((point.start_time_unix_nano, point.time_unix_nano, value, sum.aggregation_temporality == 1))
    }

    /// What kind of metric it is.
    pub(crate) fn kind(&self, name: &str) -> Option<&'static str> {
        match self.metrics().find(|metric| metric.name == name)?.data.as_ref()? {
            Data::Gauge(_) => Some("gauge"),
            Data::Sum(sum) if sum.is_monotonic => Some("monotonic sum"),
            Data::Sum(_) => Some("sum"),
            Data::Histogram(_) | Data::ExponentialHistogram(_) => Some("histogram"),
            Data::Summary(_) => Some("summary"),
        }
    }
}
