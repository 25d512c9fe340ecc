//! Metrics.

mod exemplar;
mod exponential;
mod histogram;
mod metric;
mod number;
mod summary;
mod temporality;
mod visit;

pub use self::{
    exemplar::{Exemplar, ExemplarWriter},
    exponential::{Buckets, ExponentialHistogramPoint, ExponentialHistogramPointWriter, ExponentialHistogramWriter},
    histogram::{HistogramPoint, HistogramPointWriter, HistogramWriter},
    metric::{Metric, MetricData},
    number::{GaugeWriter, Number, NumberPoint, NumberPointWriter, SumWriter},
    summary::{Quantile, SummaryPoint, SummaryPointWriter, SummaryWriter},
    temporality::Temporality,
    visit::{AsMetric, MetricWriter},
};

use self::visit::MetricMessage;
use crate::{
    encoder::Encoder,
    origin::{AsResource, AsScope},
    settle::{OtlpEvent, explain},
    signal::{Metrics, WriteItem},
    wire::Message,
};
use bytes::BytesMut;
use forebay_core::{BoxError, Observe, Settlement};
use forebay_export::{Encode, Framing, ServerText, Skipped};
use http::{HeaderValue, response};

impl<T: AsMetric> WriteItem<T> for Metrics {
    type Item = MetricMessage;

    #[inline(always)]
    fn write<M: Message<Kind = MetricMessage>>(item: &T, message: &mut M) {
        item.metric(message);
    }

    fn scope(item: &T) -> Option<impl AsScope> {
        item.scope()
    }

    fn resource(item: &T) -> Option<impl AsResource> {
        item.resource()
    }
}

impl<T, O> Encode<T> for Encoder<Metrics, O>
where
    T: AsMetric,
    O: Observe<OtlpEvent> + Send + Sync + 'static,
{
    fn content_type(&self) -> HeaderValue {
        self.protocol().content_type()
    }

    fn framing(&self) -> Framing {
        self.framing_of_requests()
    }

    fn encode(&self, items: &[T], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        self.encode_batch(items, body)
    }

    fn settle(&self, head: &response::Parts, body: &[u8], items: usize) -> Settlement {
        self.settle_response(head, body, items)
    }

    fn explain(&self, content_type: Option<&HeaderValue>, body: &[u8]) -> ServerText {
        explain(content_type, body)
    }
}
