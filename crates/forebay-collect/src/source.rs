//! Sources of series.

use crate::series::{Number, Series, Value};
use std::{borrow::Cow, fmt, mem};

/// Provides series to every report.
///
/// Any `FnMut(&mut Gathering<'_>) + Send` is a source, and so is a list of sources. Gathering does not reset values: a value
/// that could not be delivered is gathered again.
///
/// ```
/// use forebay_collect::{Gathering, Source};
///
/// let mut source = |into: &mut Gathering<'_>| {
///     into.counter("requests", 7_u64);
///     into.gauge("queue.depth", 3.0);
/// };
/// let series = Gathering::of(&mut source, 1_700_000_000_000_000_000);
/// assert_eq!(series.len(), 2);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no source of series",
    note = "implement `Source`, or pass a closure `FnMut(&mut Gathering<'_>)`"
)]
pub trait Source: Send {
    /// Appends all series.
    ///
    /// It runs on the reporter's task and should not block. A source that panics costs only its own series of this report.
    fn gather(&mut self, into: &mut Gathering<'_>);
}

/// Collects the series of one report.
pub struct Gathering<'a> {
    series: Vec<Series>,
    wants: &'a dyn Fn(&str) -> bool,
    now_unix_nanos: u64,
    unwanted: u64,
}

// === impl Gathering ===

impl<'a> Gathering<'a> {
    /// Gathers all series of a source; `now_unix_nanos` is the time of the report, in nanoseconds since 1970.
    #[must_use]
    pub fn of(source: &mut (impl Source + ?Sized), now_unix_nanos: u64) -> Vec<Series> {
        Self::of_wanted(source, now_unix_nanos, &|_| true)
    }

    /// Gathers the series of a source whose names are wanted.
    #[must_use]
    pub fn of_wanted(
        source: &mut (impl Source + ?Sized),
        now_unix_nanos: u64,
        wants: &dyn Fn(&str) -> bool,
    ) -> Vec<Series> {
        let mut gathering = Gathering::new(now_unix_nanos, wants);
        source.gather(&mut gathering);
        gathering.finish().0
    }

    pub(crate) fn new(now_unix_nanos: u64, wants: &'a dyn Fn(&str) -> bool) -> Self {
        Self { series: Vec::new(), wants, now_unix_nanos, unwanted: 0 }
    }

    /// The series, and the number of unwanted ones.
    pub(crate) fn finish(self) -> (Vec<Series>, u64) {
        (self.series, self.unwanted)
    }

    /// Whether a metric of this name is wanted. A source may ask before it computes one.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        (self.wants)(name)
    }

    /// The time of this report, in nanoseconds since 1970.
    #[must_use]
    pub fn now_unix_nanos(&self) -> u64 {
        self.now_unix_nanos
    }

    /// Adds a series, if its name is wanted.
    pub fn push(&mut self, series: Series) {
        match self.wants(&series.name) {
            true => self.series.push(series),
            false => self.unwanted += 1,
        }
    }

    /// Adds a current value.
    pub fn gauge(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Number>) {
        self.push(Series::new(name, self.now_unix_nanos, Value::gauge(value)));
    }

    /// Adds a cumulative sum that never falls.
    pub fn counter(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Number>) {
        self.push(Series::new(name, self.now_unix_nanos, Value::counter(value)));
    }

    /// Runs `run`, and returns the series that it gathered as a list of its own.
    pub(crate) fn apart<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> (T, Vec<Series>) {
        let before = mem::take(&mut self.series);
        let out = run(self);
        (out, mem::replace(&mut self.series, before))
    }

    pub(crate) fn extend(&mut self, series: Vec<Series>) {
        self.series.extend(series);
    }
}

impl fmt::Debug for Gathering<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering")
            .field("series", &self.series.len())
            .field("now_unix_nanos", &self.now_unix_nanos)
            .finish_non_exhaustive()
    }
}

// === impl Source ===

impl<F: FnMut(&mut Gathering<'_>) + Send> Source for F {
    fn gather(&mut self, into: &mut Gathering<'_>) {
        self(into);
    }
}

impl Source for Box<dyn Source> {
    fn gather(&mut self, into: &mut Gathering<'_>) {
        (**self).gather(into);
    }
}

/// A list gathers all its sources, in order.
impl<S: Source> Source for Vec<S> {
    fn gather(&mut self, into: &mut Gathering<'_>) {
        self.iter_mut().for_each(|source| source.gather(into));
    }
}

/// `None` is a source without series.
impl<S: Source> Source for Option<S> {
    fn gather(&mut self, into: &mut Gathering<'_>) {
        self.iter_mut().for_each(|source| source.gather(into));
    }
}
