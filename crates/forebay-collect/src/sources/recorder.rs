use crate::{
    cap::CardinalityCap,
    clock::unix_nanos,
    series::{Histogram, LabelValue, Labels, Number, Series, Value},
    source::{Gathering, Source},
};
use forebay_core::ConfigError;
use metrics::{Counter, CounterFn, Gauge, GaugeFn, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Records the metrics of a program through the `metrics` facade, as a [`Source`].
///
/// Counters and histograms are cumulative since their first use, and gauges keep their value until they are set again: gathering
/// resets nothing. A counter costs one atomic addition, a histogram a lock of its own.
///
/// The number of series is bounded at their registration: beyond [`max_series`](RecorderBuilder::max_series) of a name, all
/// new ones share one overflow series. Beyond 10,000 names, new ones are not counted.
///
/// Clones share everything.
#[derive(Clone)]
pub struct Recorder(Arc<Registry>);

/// Builds a [`Recorder`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`max_series`](Self::max_series) | 2,000 per name | 1 and more |
/// | [`bounds`](Self::bounds) | [`Histogram::DEFAULT_BOUNDS`] | |
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RecorderBuilder {
    max_series: usize,
    bounds: Cow<'static, [f64]>,
}

struct Registry {
    max_series: usize,
    bounds: Cow<'static, [f64]>,
    locked: Mutex<Locked>,
}

#[derive(Default)]
struct Locked {
    names: HashMap<(InstrumentKind, String), Named>,
    described: HashMap<String, Described>,
}

#[derive(Default)]
struct Named {
    series: HashMap<Labels, Cell>,
    /// The overflow series, which all series beyond the limit share.
    overflow: Option<Cell>,
}

#[derive(Clone, Default)]
struct Described {
    unit: Cow<'static, str>,
    description: Cow<'static, str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum InstrumentKind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone)]
struct Cell {
    /// When the series was registered, in nanoseconds since 1970.
    since: u64,
    value: CellValue,
}

#[derive(Clone)]
enum CellValue {
    Counter(Arc<CounterCell>),
    Gauge(Arc<GaugeCell>),
    Histogram(Arc<HistogramCell>),
}

struct CounterCell(AtomicU64);

/// The bits of a float.
struct GaugeCell(AtomicU64);

struct HistogramCell(Mutex<Histogram>);

/// The greatest number of names and of descriptions, so that names which are made at run time do not grow without bound.
const MAX_NAMES: usize = 10_000;

// === impl Recorder ===

impl Recorder {
    /// A builder with the defaults of [`RecorderBuilder`].
    pub fn builder() -> RecorderBuilder {
        RecorderBuilder {
            max_series: CardinalityCap::PER_METRIC.get(),
            bounds: Cow::Borrowed(Histogram::DEFAULT_BOUNDS),
        }
    }

    /// A recorder with the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().recorder()
    }

    /// The cell of a series; `None` for a name beyond the limit, which is not counted.
    fn register(&self, kind: InstrumentKind, key: &Key) -> Option<CellValue> {
        let registry = &*self.0;
        let labels: Labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        let mut locked = registry.lock();
        let id = (kind, key.name().to_owned());
        if locked.names.len() >= MAX_NAMES && !locked.names.contains_key(&id) {
            return None;
        }
        let named = locked.names.entry(id).or_default();
        if let Some(cell) = named.series.get(&labels) {
            return Some(cell.value.clone());
        }
        // One place is kept for the overflow series.
        if named.series.len() + 1 < registry.max_series {
            let cell = registry.cell(kind);
            return Some(named.series.entry(labels).or_insert(cell).value.clone());
        }
        Some(named.overflow.get_or_insert_with(|| registry.cell(kind)).value.clone())
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, description: SharedString) {
        let mut locked = self.0.lock();
        if locked.described.len() < MAX_NAMES || locked.described.contains_key(name.as_str()) {
            let unit = Cow::Borrowed(unit.map_or("", ucum));
            locked
                .described
                .insert(name.as_str().to_owned(), Described { unit, description: description.into_owned().into() });
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.register(InstrumentKind::Counter, key) {
            Some(CellValue::Counter(cell)) => Counter::from_arc(cell),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.register(InstrumentKind::Gauge, key) {
            Some(CellValue::Gauge(cell)) => Gauge::from_arc(cell),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        match self.register(InstrumentKind::Histogram, key) {
            Some(CellValue::Histogram(cell)) => metrics::Histogram::from_arc(cell),
            _ => metrics::Histogram::noop(),
        }
    }
}

impl Source for Recorder {
    fn gather(&mut self, into: &mut Gathering<'_>) {
        // CORRECTNESS: the cells are cloned under the lock and read without it, so that no registration waits for a report.
        let mut cells = Vec::new();
        {
            let locked = self.0.lock();
            for ((_, name), named) in &locked.names {
                if !into.wants(name) {
                    continue;
                }
                let about = locked.described.get(name).cloned().unwrap_or_default();
                let overflow = Labels::new().with(CardinalityCap::OVERFLOW, LabelValue::Bool(true));
                let all = named.series.iter().map(|(labels, cell)| (labels.clone(), cell.clone()));
                for (labels, cell) in all.chain(named.overflow.clone().map(|cell| (overflow, cell))) {
                    cells.push((name.clone(), about.clone(), labels, cell));
                }
            }
        }
        cells.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, about, labels, cell) in cells {
            let (value, since) = match &cell.value {
                CellValue::Counter(counter) => (Value::counter(counter.0.load(Ordering::Relaxed)), cell.since),
                CellValue::Gauge(gauge) => {
                    (Value::Gauge(Number::Double(f64::from_bits(gauge.0.load(Ordering::Relaxed)))), 0)
                }
                CellValue::Histogram(histogram) => (Value::histogram(histogram.lock().clone()), cell.since),
            };
            let series = Series::new(name, into.now_unix_nanos(), value).labels(labels).since(since);
            into.push(series.unit(about.unit).description(about.description));
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("names", &self.0.lock().names.len()).finish_non_exhaustive()
    }
}

// === impl RecorderBuilder ===

impl RecorderBuilder {
    /// Sets how many series a name may have, the overflow series included; default 2,000.
    pub fn max_series(mut self, per_name: usize) -> Self {
        self.max_series = per_name;
        self
    }

    /// Sets the bounds of all histograms, see [`Histogram::new`].
    pub fn bounds(mut self, bounds: impl Into<Cow<'static, [f64]>>) -> Self {
        self.bounds = bounds.into();
        self
    }

    /// Builds the recorder, of which `metrics::set_global_recorder` takes a clone.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if a knob is out of its range.
    pub fn build(self) -> Result<Recorder, ConfigError> {
        match self.max_series {
            0 => Err(ConfigError::new("max_series", 0, "1 and more")),
            _ => Ok(self.recorder()),
        }
    }

    fn recorder(self) -> Recorder {
        let Self { max_series, bounds } = self;
        Recorder(Arc::new(Registry { max_series, bounds, locked: Mutex::default() }))
    }
}

// === impl Registry ===

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Locked> {
        // CORRECTNESS: no user code runs under this lock, so a poisoned one guards a whole registry.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, kind: InstrumentKind) -> Cell {
        let value = match kind {
            InstrumentKind::Counter => CellValue::Counter(Arc::new(CounterCell(AtomicU64::new(0)))),
            InstrumentKind::Gauge => CellValue::Gauge(Arc::new(GaugeCell(AtomicU64::new(0.0_f64.to_bits())))),
            InstrumentKind::Histogram => {
                CellValue::Histogram(Arc::new(HistogramCell(Mutex::new(Histogram::new(self.bounds.clone())))))
            }
        };
        Cell { since: unix_nanos(), value }
    }
}

// === impl CounterCell ===

impl CounterFn for CounterCell {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        // The facade demands that an absolute value never falls.
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

// === impl GaugeCell ===

impl GaugeCell {
    fn change(&self, change: impl Fn(f64) -> f64) {
        let changed = |bits| Some(change(f64::from_bits(bits)).to_bits());
        // The closure always returns a value, so the update always succeeds.
        let _before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        self.change(|now| now + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|now| now - value);
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

// === impl HistogramCell ===

impl HistogramCell {
    fn lock(&self) -> MutexGuard<'_, Histogram> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        self.lock().record(value);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.lock().record_many(value, u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// The unit in the notation of UCUM, as in OpenTelemetry.
fn ucum(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "1",
        Unit::Percent => "%",
        Unit::Seconds => "s",
        Unit::Milliseconds => "ms",
        Unit::Microseconds => "us",
        Unit::Nanoseconds => "ns",
        Unit::Tebibytes => "TiBy",
        Unit::Gibibytes => "GiBy",
        Unit::Mebibytes => "MiBy",
        Unit::Kibibytes => "KiBy",
        Unit::Bytes => "By",
        Unit::TerabitsPerSecond => "Tbit/s",
        Unit::GigabitsPerSecond => "Gbit/s",
        Unit::MegabitsPerSecond => "Mbit/s",
        Unit::KilobitsPerSecond => "kbit/s",
        Unit::BitsPerSecond => "bit/s",
        Unit::CountPerSecond => "1/s",
    }
}
