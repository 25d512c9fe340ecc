use super::{
    exponential::{ExponentialHistogramMessage, ExponentialHistogramWriter},
    histogram::{HistogramMessage, HistogramWriter},
    number::{GaugeMessage, GaugeWriter, SumMessage, SumWriter},
    summary::{SummaryMessage, SummaryWriter},
};
use crate::{
    origin::{AsResource, AsScope, Resource, Scope},
    value::AsValue,
    wire::{Message, fields, setters},
};

/// A type that can be sent as a metric: a name, and points of one kind.
///
/// A type of your own is written field by field straight into the request, without becoming a
/// [`Metric`](crate::Metric) first:
///
/// ```
/// use forebay_otlp::{AsMetric, AttributesWriter, MetricWriter, NumberPointWriter, SumWriter, Temporality};
///
/// struct Requests {
///     since: u64,
///     at: u64,
///     by_route: Vec<(String, i64)>,
/// }
///
/// impl AsMetric for Requests {
///     fn metric<W: MetricWriter>(&self, w: &mut W) {
///         w.name("http.server.requests");
///         w.unit("{request}");
///         w.sum(|sum| {
///             for (route, count) in &self.by_route {
///                 sum.point(|point| {
///                     point.start_time_unix_nano(self.since);
///                     point.time_unix_nano(self.at);
///                     point.int(*count);
///                     point.attribute("http.route", route);
///                 });
///             }
///             sum.aggregation_temporality(Temporality::Cumulative);
///             sum.is_monotonic(true);
///         });
///     }
/// }
/// ```
///
/// The same value must write the same fields each time: a batch that has to be split is written again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a metric",
    note = "implement `AsMetric`, or turn it into a `forebay_otlp::Metric`"
)]
pub trait AsMetric {
    /// Writes the fields of the metric.
    fn metric<W: MetricWriter>(&self, w: &mut W);

    /// The part of the program that it comes from; the encoder's scope by default.
    fn scope(&self) -> Option<impl AsScope> {
        None::<Scope>
    }

    /// The entity that sends it; the encoder's resource by default.
    fn resource(&self) -> Option<impl AsResource> {
        None::<Resource>
    }
}

/// Takes the fields of one metric, in any order.
///
/// The order of the methods here is the canonical one. A field that is given twice keeps its first value, and so does the
/// data: a metric has points of one kind only.
pub trait MetricWriter {
    /// Takes the points of a gauge.
    type Gauge<'a>: GaugeWriter;
    /// Takes the points of a sum and their temporality.
    type Sum<'a>: SumWriter;
    /// Takes the points of a histogram and their temporality.
    type Histogram<'a>: HistogramWriter;
    /// Takes the points of an exponential histogram and their temporality.
    type ExponentialHistogram<'a>: ExponentialHistogramWriter;
    /// Takes the points of a summary.
    type Summary<'a>: SummaryWriter;

    /// Its name.
    fn name(&mut self, name: &str);
    /// Its meaning, for human readers.
    fn description(&mut self, description: &str);
    /// The unit of its values, in the notation of UCUM.
    fn unit(&mut self, unit: &str);
    /// Current values.
    fn gauge(&mut self, write: impl FnOnce(&mut Self::Gauge<'_>));
    /// Values that add up over time.
    fn sum(&mut self, write: impl FnOnce(&mut Self::Sum<'_>));
    /// The distribution of values over given buckets.
    fn histogram(&mut self, write: impl FnOnce(&mut Self::Histogram<'_>));
    /// The distribution of values over buckets that grow exponentially.
    fn exponential_histogram(&mut self, write: impl FnOnce(&mut Self::ExponentialHistogram<'_>));
    /// Quantiles of values, only for metrics that are translated from Prometheus.
    fn summary(&mut self, write: impl FnOnce(&mut Self::Summary<'_>));
    /// Adds an attribute of the metric as a whole, which does not identify it.
    fn metadata(&mut self, key: &str, value: impl AsValue);
}

/// The kind of a `Metric`.
#[derive(Debug)]
pub enum MetricMessage {}

fields! {
    NAME = 1, "name";
    DESCRIPTION = 2, "description";
    UNIT = 3, "unit";
    GAUGE = 5, "gauge";
    SUM = 7, "sum";
    HISTOGRAM = 9, "histogram";
    EXPONENTIAL_HISTOGRAM = 10, "exponentialHistogram";
    SUMMARY = 11, "summary";
    METADATA = 12, "metadata";
}

/// Represents all the fields of which a metric has one.
const DATA: crate::wire::Field = GAUGE;

// === impl MetricMessage ===

/// Methods that write the data, whose length usually takes two bytes: points have hundreds of bytes.
macro_rules! data {
    ($($name:ident($type:ident) => $field:ident;)*) => {$(
        fn $name(&mut self, write: impl FnOnce(&mut Self::$type<'_>)) {
            if self.first(DATA) {
                self.message($field.wide(2), write);
            }
        }
    )*};
}

#[doc(hidden)]
impl<M: Message<Kind = MetricMessage>> MetricWriter for M {
    type Gauge<'a> = M::Child<'a, GaugeMessage>;
    type Sum<'a> = M::Child<'a, SumMessage>;
    type Histogram<'a> = M::Child<'a, HistogramMessage>;
    type ExponentialHistogram<'a> = M::Child<'a, ExponentialHistogramMessage>;
    type Summary<'a> = M::Child<'a, SummaryMessage>;

    setters! {
        name(name: &str) => NAME: string(name);
        description(description: &str) => DESCRIPTION: string(description);
        unit(unit: &str) => UNIT: string(unit);
    }

    data! {
        gauge(Gauge) => GAUGE;
        sum(Sum) => SUM;
        histogram(Histogram) => HISTOGRAM;
        exponential_histogram(ExponentialHistogram) => EXPONENTIAL_HISTOGRAM;
        summary(Summary) => SUMMARY;
    }

    fn metadata(&mut self, key: &str, value: impl AsValue) {
        self.attribute(METADATA, key, value);
    }
}

/// A pointer to a metric is sent as that metric.
macro_rules! pointers {
    ($($pointer:ty)*) => {$(
        impl<T: AsMetric + ?Sized> AsMetric for $pointer {
            #[inline]
            fn metric<W: MetricWriter>(&self, w: &mut W) {
                (**self).metric(w);
            }

            fn scope(&self) -> Option<impl AsScope> {
                (**self).scope()
            }

            fn resource(&self) -> Option<impl AsResource> {
                (**self).resource()
            }
        }
    )*};
}
pointers!(&T Box<T> std::sync::Arc<T>);
