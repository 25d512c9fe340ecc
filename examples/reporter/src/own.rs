use super::Settings;
use forebay::export::Exporter;
use forebay_collect::{Gathering, Labels, RemoteConfig, Series, Value};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, interval};

/// What the system knows of this process, under the names of OpenTelemetry's semantic conventions.
///
/// On systems without `/proc` only the uptime is known.
pub(super) fn process() -> impl FnMut(&mut Gathering<'_>) + Send {
    let start = Instant::now();
    let mut since = None;
    move |into| {
        let now = into.now_unix_nanos();
        let since = *since.get_or_insert(now);
        let uptime = Series::new("process.uptime", now, Value::gauge(start.elapsed().as_secs_f64()));
        into.push(uptime.unit("s").description("The time the process has been running."));
        if let Some(cpu) = cpu_time() {
            let series = Series::new("process.cpu.time", now, Value::counter(cpu.as_secs_f64()));
            into.push(series.since(since).unit("s").description("Total CPU seconds, of all threads."));
        }
        if let Some(bytes) = status("VmRSS:").map(|kib| kib * 1024) {
            let series = Series::new("process.memory.usage", now, Value::up_down(bytes));
            into.push(series.since(since).unit("By").description("The amount of physical memory in use."));
        }
        if let Some(threads) = status("Threads:") {
            let series = Series::new("process.thread.count", now, Value::up_down(threads));
            into.push(series.since(since).unit("{thread}").description("Process threads count."));
        }
    }
}

/// What the reporter does itself: its exports, its values and the configuration, through the exporter that it tells of.
///
/// Each number is a sum over all exports so far, so what is said of an export is in the next one.
pub(super) fn reporter(
    exporter: Exporter<Series>,
    config: RemoteConfig<Settings>,
    failures: Arc<AtomicU64>,
) -> impl FnMut(&mut Gathering<'_>) + Send {
    let mut since = None;
    move |into| {
        let now = into.now_unix_nanos();
        let since = *since.get_or_insert(now);
        let counter = |name: &'static str, value: u64| Series::new(name, now, Value::counter(value)).since(since);
        let (totals, state) = (exporter.totals(), config.state());
        into.push(counter("reporter.export.requests", exporter.counters().requests).unit("{request}"));
        into.push(counter("reporter.export.failures", failures.load(Relaxed)).unit("{export}"));
        into.push(counter("reporter.values.delivered", totals.delivered).unit("{value}"));
        for (reason, values) in totals.dropped.iter() {
            let dropped = counter("reporter.values.dropped", values).unit("{value}");
            into.push(dropped.labels(Labels::new().with("reason", reason.as_str())));
        }
        into.push(Series::new("reporter.values.waiting", now, Value::gauge(totals.pending)).unit("{value}"));
        for (result, fetches) in [("success", state.successes), ("failure", state.failures)] {
            let fetched = counter("reporter.config.fetches", fetches).unit("{fetch}");
            into.push(fetched.labels(Labels::new().with("result", result)));
        }
    }
}

/// Work to report on: it counts what it does, and how late it was woken, through the `metrics` facade.
///
/// # Cancellation
///
/// It never ends by itself, and leaves nothing behind.
pub(super) async fn work() {
    metrics::describe_counter!("demo.steps", "Steps done.");
    metrics::describe_histogram!("demo.lag", metrics::Unit::Seconds, "How late a step was.");
    let mut ticks = interval(Duration::from_millis(20));
    for step in 0_u64.. {
        let due = ticks.tick().await;
        metrics::histogram!("demo.lag").record(due.elapsed().as_secs_f64());
        metrics::counter!("demo.steps", "parity" => if step.is_multiple_of(2) { "even" } else { "odd" }).increment(1);
    }
}

/// User and system time: fields 14 and 15 of `/proc/self/stat`, in ticks of 1/100 second on every Linux.
fn cpu_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in brackets and may hold anything; the third field follows it.
    let mut fields = stat.rsplit(')').next()?.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
}

fn status(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// How many bytes a series takes while it waits, names that are not part of the program included.
pub(super) fn weight(series: &Series) -> usize {
    /// A place in a map, roughly.
    const PLACE: usize = 48;
    let labels = series.labels.iter().map(|(name, value)| PLACE + name.len() + value.as_str().map_or(0, str::len));
    let buckets = match &series.value {
        Value::Histogram { histogram, .. } => 8 * histogram.counts.len(),
        _ => 0,
    };
    size_of::<Series>() + series.name.len() + labels.sum::<usize>() + buckets
}
