use super::Received;
use bytes::Bytes;
use forebay_testkit::receiver::{Faults, Keep, Receiver};
use http::Response;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use prost::Message;
use serde_json::json;
use std::{collections::HashMap, io, sync::Arc, sync::OnceLock};

/// The server that is started where no configuration is named: it serves one, and receives what that asks for.
#[derive(Debug)]
pub(super) struct BuiltIn {
    receiver: Receiver,
    /// Apart from the receiver, whose faults are for exports: without a configuration there would be none.
    config: Receiver,
}

const CONFIG: &str = "/config";

// === impl BuiltIn ===

impl BuiltIn {
    /// Starts it on a free port of this machine; with `books` it remembers all it receives.
    pub(super) async fn start(faults: Faults, seed: u64, books: bool) -> io::Result<Self> {
        let endpoint = Arc::new(OnceLock::new());
        let said = Arc::clone(&endpoint);
        let respond = move |_: &_| {
            let labels = json!({"service.instance.id": "demo", "deployment.environment.name": "example"});
            let include = [r"^process\.", r"^demo\.", r"^reporter\."];
            let config = json!({"endpoint": said.get(), "include": include, "labels": labels, "refresh": "10s"});
            Response::new(Bytes::from(config.to_string()))
        };
        let keep = if books { Keep::default() } else { Keep::Counts };
        let receiver = Receiver::builder().faults(faults).seed(seed).keep(keep).start().await?;
        let config = Receiver::builder().keep(Keep::Counts).route(CONFIG, respond).start().await?;
        // No request arrives before it is known: the address is not known before either.
        let _first = endpoint.set(receiver.endpoint());
        Ok(Self { receiver, config })
    }

    pub(super) fn config(&self) -> String {
        format!("{}{CONFIG}", self.config.endpoint())
    }

    /// Ends it, and reads what it received.
    pub(super) async fn books(self) -> Received {
        self.config.shutdown().await;
        self.receiver.shutdown().await;
        let mut points: HashMap<Vec<u8>, u64> = HashMap::new();
        for metric in self.receiver.metrics() {
            for point in points_of(&metric) {
                *points.entry(point).or_default() += 1;
            }
        }
        let (received, distinct) = (points.values().sum(), points.len() as u64);
        Received { received, repeated: received - distinct, ambiguous: self.receiver.totals().ambiguous }
    }
}

/// Each point with the name of its metric, so that a point that is received twice is found.
fn points_of(metric: &Metric) -> Vec<Vec<u8>> {
    let named = |point: Vec<u8>| [metric.name.as_bytes(), &[0], &point].concat();
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().map(|point| named(point.encode_to_vec())).collect(),
        Some(Data::Sum(sum)) => sum.data_points.iter().map(|point| named(point.encode_to_vec())).collect(),
        Some(Data::Histogram(all)) => all.data_points.iter().map(|point| named(point.encode_to_vec())).collect(),
        Some(Data::ExponentialHistogram(_) | Data::Summary(_)) | None => Vec::new(),
    }
}
