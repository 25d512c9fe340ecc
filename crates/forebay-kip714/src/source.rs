use crate::selector::Selector;
use forebay_otlp::Metric;
use std::fmt;

/// Something that can say what its metrics are now.
///
/// It is asked once per push, on the client's task, so it must not block. What it hands over is not kept: counters and
/// histograms count up since a start of their own ([`Temporality::Cumulative`](forebay_otlp::Temporality)), and the
/// client takes the differences where a broker wants those. A time of 0 is the time of the push.
///
/// A source that panics costs its own metrics of that push, and is counted.
pub trait Source: Send + Sync + 'static {
    /// Appends its metrics to `out`; those that are not `wanted` may be left out, and are not sent in any case.
    fn collect(&self, wanted: &Selector, out: &mut Vec<Metric>);
}

/// A closure that appends metrics.
pub(crate) struct Gather<F>(pub(crate) F);

/// A source of `forebay-collect`, which wants to be asked by one at a time.
#[cfg(feature = "collect")]
pub(crate) struct Collected<S>(pub(crate) std::sync::Mutex<S>);

// === impl Source ===

#[cfg(feature = "collect")]
impl<S: forebay_collect::Source + 'static> Source for Collected<S> {
    fn collect(&self, wanted: &Selector, out: &mut Vec<Metric>) {
        // One that panicked is asked again at the next push, as a reporter would.
        let mut source = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = crate::client::wall_clock();
        let series = forebay_collect::Gathering::of_wanted(&mut *source, now, &|name| wanted.wants(name));
        out.extend(Metric::from_series(series));
    }
}

impl<F: Fn(&mut Vec<Metric>) + Send + Sync + 'static> Source for Gather<F> {
    fn collect(&self, _: &Selector, out: &mut Vec<Metric>) {
        (self.0)(out);
    }
}

impl<S: Source + ?Sized> Source for std::sync::Arc<S> {
    fn collect(&self, wanted: &Selector, out: &mut Vec<Metric>) {
        (**self).collect(wanted, out);
    }
}

impl<F> fmt::Debug for Gather<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gather")
    }
}
