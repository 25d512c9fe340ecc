//! Reports on a timer.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_collect::{
    Filter, Gathering, Number, Precedence, ReportEnd, Reporter, ReporterBuilder, Series, Value, WhenUndecided,
};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tower::service_fn;

const INTERVAL: Duration = Duration::from_secs(10);

type Reports = Arc<Mutex<Vec<(Duration, Vec<Series>)>>>;

fn reporter() -> ReporterBuilder {
    Reporter::builder().interval(INTERVAL).seed(7).clock(|| 1_000)
}

fn gauge(into: &mut Gathering<'_>) {
    into.gauge("g", 1.0);
}

/// Starts it with a service that returns the results of `respond`.
fn start(
    builder: ReporterBuilder,
    respond: impl Fn(usize) -> Result<ReportEnd, &'static str> + Send + 'static,
) -> (Reporter, Reports, tokio::task::JoinHandle<()>) {
    let reports = Reports::default();
    let (into, start) = (Arc::clone(&reports), Instant::now());
    let service = service_fn(move |report: Vec<Series>| {
        let mut reports = into.lock().unwrap();
        reports.push((start.elapsed(), report));
        std::future::ready(respond(reports.len()))
    });
    let (reporter, worker) = builder.build(service).unwrap();
    (reporter, reports, tokio::spawn(worker.run()))
}

async fn advance(time: Duration) {
    tokio::task::yield_now().await;
    tokio::time::advance(time).await;
    tokio::task::yield_now().await;
}

fn exported(_: usize) -> Result<ReportEnd, &'static str> {
    Ok(ReportEnd::Exported)
}

#[tokio::test(start_paused = true)]
async fn k08_the_first_report_is_spread_and_the_others_come_at_the_interval() {
    let mut firsts = Vec::new();
    for seed in 0..50 {
        let (reporter, reports, _worker) = start(reporter().source(gauge).seed(seed), exported);
        for _ in 0..400 {
            advance(Duration::from_millis(100)).await;
        }
        let times: Vec<_> = reports.lock().unwrap().iter().map(|(time, _)| *time).collect();
        assert!((INTERVAL / 2..=INTERVAL * 3 / 2).contains(&times[0]), "{times:?}");
        let steps = times.windows(2).map(|pair| pair[1].abs_diff(pair[0]).as_secs_f64());
        assert!(times.len() >= 3 && steps.into_iter().all(|step| (step - 10.0).abs() < 0.11), "{times:?}");
        firsts.push(times[0]);
        drop(reporter);
    }
    firsts.sort();
    firsts.dedup();
    assert!(firsts.len() > 25, "{} different first times of 50", firsts.len());
}

#[tokio::test(start_paused = true)]
async fn c06_a_failed_report_is_neither_repeated_nor_does_it_lose_a_gauge_or_a_sum() {
    let mut count = 0_u64;
    let source = move |into: &mut Gathering<'_>| {
        count += 1;
        into.gauge("g", 5.0);
        into.counter("n", count);
    };
    let respond = |n| if n <= 2 { Err("down") } else { Ok(ReportEnd::Exported) };
    let (reporter, reports, _worker) = start(reporter().source(source), respond);
    assert_eq!(reporter.flush().await, Some(ReportEnd::Failed));
    assert_eq!(reporter.flush().await, Some(ReportEnd::Failed));
    assert_eq!(reporter.flush().await, Some(ReportEnd::Exported));
    let reports = reports.lock().unwrap();
    assert_eq!(reports.len(), 3, "one call for each report, and no storm");
    let last = &reports[2].1;
    assert_eq!(last[0].value, Value::gauge(5.0));
    assert_eq!(last[1].value, Value::counter(3_u64), "it carries what the failed ones did not deliver");
    let counts = reporter.counts();
    assert_eq!((counts.failed, counts.exported, counts.series), (2, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn c05_the_same_gauge_with_two_sets_of_labels_is_two_series() {
    let source = |into: &mut Gathering<'_>| {
        for (node, value) in [("a", 1.0), ("b", 2.0)] {
            into.push(Series::new("g", into.now_unix_nanos(), Value::gauge(value)).labels([("node", node)]));
        }
    };
    let (reporter, reports, _worker) = start(reporter().source(source), exported);
    reporter.flush().await;
    let values: Vec<_> = reports.lock().unwrap()[0].1.iter().map(|one| one.value.clone()).collect();
    assert_eq!(values, [Value::Gauge(Number::Double(1.0)), Value::Gauge(Number::Double(2.0))]);
}

#[tokio::test(start_paused = true)]
async fn c07_changed_labels_retire_the_old_series() {
    let builder = reporter().source(gauge).labels([("node", "old")]).max_series(2);
    let (reporter, reports, _worker) = start(builder, exported);
    for node in ["old", "new", "newer"] {
        reporter.set_labels([("node", node)]);
        reporter.flush().await;
    }
    let labels = |report: &(Duration, Vec<Series>)| {
        report.1.iter().map(|one| one.labels.get("node").unwrap().to_string()).collect::<Vec<_>>()
    };
    let all: Vec<_> = reports.lock().unwrap().iter().map(labels).collect();
    assert_eq!(all, [["old"], ["new"], ["newer"]]);
    assert_eq!(reporter.counts().overflowed, 0);
}

#[tokio::test(start_paused = true)]
async fn the_precedence_of_labels_is_a_choice() {
    for (precedence, wins) in [(Precedence::Added, "added"), (Precedence::Own, "own")] {
        let source = |into: &mut Gathering<'_>| {
            into.push(Series::new("g", 1, Value::gauge(1.0)).labels([("node", "own")]));
        };
        let builder = reporter().source(source).labels([("node", "added")]).precedence(precedence);
        let (reporter, reports, _worker) = start(builder, exported);
        reporter.flush().await;
        assert_eq!(reports.lock().unwrap()[0].1[0].labels.get("node").unwrap().as_str(), Some(wins));
    }
}

#[tokio::test(start_paused = true)]
async fn c08_nowhere_to_send_is_a_skip_that_is_counted() {
    let (reporter, _, _worker) = start(reporter().source(gauge), |_| Ok(ReportEnd::Skipped));
    assert_eq!(reporter.flush().await, Some(ReportEnd::Skipped));
    let counts = reporter.counts();
    assert_eq!((counts.skipped, counts.failed, counts.exported), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_to_report_is_no_request() {
    let filter = Filter::builder(WhenUndecided::Deny).allow("^other").build().0;
    let (reporter, reports, _worker) = start(reporter().source(gauge).filter(filter), exported);
    assert_eq!(reporter.flush().await, Some(ReportEnd::Empty));
    assert!(reports.lock().unwrap().is_empty());
    assert_eq!((reporter.counts().empty, reporter.counts().filtered), (1, 1));
    // The filter is swapped while it runs.
    reporter.filter().set(Filter::all());
    assert_eq!(reporter.flush().await, Some(ReportEnd::Exported));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_costs_its_own_series() {
    let broken = |into: &mut Gathering<'_>| {
        into.gauge("half", 1.0);
        panic!("in a source");
    };
    let (reporter, reports, _worker) = start(reporter().source(broken).source(gauge), exported);
    reporter.flush().await;
    let names: Vec<_> = reports.lock().unwrap()[0].1.iter().map(|one| one.name.clone()).collect();
    assert_eq!(names, ["g"]);
    assert_eq!(reporter.counts().panicked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_or_panics_fails_its_report_only() {
    let service = service_fn({
        let calls = Mutex::new(0);
        move |_: Vec<Series>| {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            let call = *calls;
            async move {
                match call {
                    1 => std::future::pending().await,
                    2 => panic!("in the service"),
                    _ => Ok::<(), Infallible>(()),
                }
            }
        }
    });
    let (reporter, worker) = reporter().source(gauge).timeout(Duration::from_secs(3)).build(service).unwrap();
    let _worker = tokio::spawn(worker.run());
    let start = Instant::now();
    assert_eq!(reporter.flush().await, Some(ReportEnd::Failed));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert_eq!(reporter.flush().await, Some(ReportEnd::Failed));
    assert_eq!(reporter.flush().await, Some(ReportEnd::Exported));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_makes_a_last_report_and_joins_the_worker() {
    let (reporter, reports, worker) = start(reporter().source(gauge), exported);
    let clone = reporter.clone();
    let counts = reporter.shutdown(Duration::from_secs(5)).await;
    assert_eq!(counts.exported, 1);
    worker.await.unwrap();
    assert_eq!(reports.lock().unwrap().len(), 1);
    assert_eq!(clone.flush().await, None);
    // Dropping every handle does the same.
    let (reporter, reports, worker) = start(self::reporter().source(gauge), exported);
    drop(reporter);
    worker.await.unwrap();
    assert_eq!(reports.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn x02_a_shutdown_ends_in_time_whatever_the_service_does() {
    let service = service_fn(|_: Vec<Series>| std::future::pending::<Result<(), Infallible>>());
    let (reporter, worker) = reporter().source(gauge).build(service).unwrap();
    let worker = tokio::spawn(worker.run());
    let start = Instant::now();
    let counts = reporter.shutdown(Duration::from_secs(2)).await;
    assert!(start.elapsed() < Duration::from_millis(2_050));
    assert_eq!(counts.exported, 0);
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_interval_holds_at_once_and_a_bad_one_changes_nothing() {
    let (reporter, reports, _worker) = start(reporter().source(gauge).spread(1.0..1.0), exported);
    assert_eq!(reporter.set_interval(Duration::ZERO).await.unwrap_err().knob(), "interval");
    reporter.set_interval(Duration::from_secs(1)).await.unwrap();
    for _ in 0..5 {
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(reports.lock().unwrap().len(), 5);
}

#[test]
fn knobs_that_cannot_be_are_refused() {
    let build = |builder: ReporterBuilder| {
        let service = service_fn(|_: Vec<Series>| async { Ok::<(), Infallible>(()) });
        builder.build(service).map(|_| ()).unwrap_err().knob()
    };
    assert_eq!(build(reporter().interval(Duration::ZERO)), "interval");
    assert_eq!(build(reporter().timeout(Duration::ZERO)), "timeout");
    assert_eq!(build(reporter().spread(2.0..1.0)), "spread");
}
