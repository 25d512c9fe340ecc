//! What a connection waits for when it is closed, and what the code of a driver may do wrong.

#![expect(clippy::panic, reason = "test code")]

use crate::common::{Answer, Fake, advance, connect, telemetry};
use forebay_databricks::{Settings, Severity};
use std::{error::Error, fmt, time::Duration};
use tokio::time::Instant;

/// Each log is a batch of its own.
fn single() -> Settings {
    Settings { batch_size: 1, ..Settings::node() }
}

#[tokio::test(start_paused = true)]
async fn t09_a_close_waits_until_the_own_logs_have_a_fate() {
    let fake = Fake::new();
    fake.script([Answer::Status(503), Answer::Status(503)]);
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let (own, other) = (telemetry.connect(connect()).await, telemetry.connect(connect()).await);
    own.statement("open").started(None, None, false);
    own.operation("x", Duration::ZERO);
    let start = Instant::now();
    own.close().await;
    // Two retries (100 ms and 200 ms, each with up to 100 ms of jitter), and not the five seconds until a batch leaves
    // by itself.
    assert!((300..=510).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(other.report().unwrap().logs.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn t09_a_close_does_not_wait_for_the_logs_of_others() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, single());
    let (own, other) = (telemetry.connect(connect()).await, telemetry.connect(connect()).await);
    // One that has sent nothing waits for nothing, whatever is under way.
    let idle = telemetry.connect(connect()).await;
    fake.script([Answer::Status(200), Answer::Hang]);
    own.operation("own", Duration::ZERO);
    other.operation("other", Duration::ZERO);
    let start = Instant::now();
    own.close().await;
    assert_eq!((fake.seen().len(), start.elapsed()), (2, Duration::ZERO), "the second hangs");
    idle.close().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(other.report().unwrap().logs.pending, 1);
}

#[tokio::test(start_paused = true)]
async fn t09_x02_a_close_among_others_ends_in_time_and_loses_nothing() {
    let fake = Fake::new();
    fake.script([Answer::Hang]);
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let (own, other) = (telemetry.connect(connect()).await, telemetry.connect(connect()).await);
    own.operation("own", Duration::ZERO);
    let start = Instant::now();
    own.close().await;
    assert!((2_000..=2_050).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    // The attempt times out, and the next one is taken: the log outlives its connection.
    advance(Duration::from_secs(11)).await;
    other.flush().await;
    assert_eq!(other.report().unwrap().logs.delivered, 1);
}

struct Bad {
    source: bool,
}

impl fmt::Debug for Bad {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("in `Debug`")
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source {
            return f.write_str("readable");
        }
        panic!("in `Display`")
    }
}

impl Error for Bad {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if self.source {
            panic!("in `source`")
        }
        None
    }
}

impl From<Bad> for String {
    fn from(_: Bad) -> Self {
        panic!("in `into`")
    }
}

/// An error that is its own cause.
#[derive(Debug)]
struct Circle;

impl fmt::Display for Circle {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Error for Circle {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

#[tokio::test(start_paused = true)]
async fn texts_of_the_driver_that_panic_cost_themselves_only() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let connection = telemetry.connect(connect()).await;
    connection.error("E1", &Bad { source: false }, Severity::Terminal);
    connection.error("E2", &Bad { source: true }, Severity::Terminal);
    connection.error(Bad { source: false }, &Circle, Severity::Terminal);
    connection.statement("s").error("E4", &Bad { source: false }, Severity::Terminal);
    connection.error_with_trace(Bad { source: false }, "x", Severity::Terminal);
    connection.operation(Bad { source: false }, Duration::ZERO);
    connection.close().await;
    let mut errors: Vec<_> = fake
        .logs()
        .iter()
        .map(|log| log["entry"]["sql_driver_log"]["error_info"].clone())
        .filter(|error| !error.is_null())
        .map(|error| (error["error_name"].to_string(), error["stack_trace"].as_str().unwrap().len()))
        .collect();
    errors.sort();
    let lost = "(its text panicked)".len();
    let name = "\"(its text panicked)\"";
    assert_eq!(errors.len(), 5, "{errors:?}");
    assert_eq!(errors[..2], [(name.to_owned(), 1), (name.to_owned(), forebay_databricks::MAX_TRACE)]);
    assert_eq!(errors[2..], [("\"E1\"".into(), lost), ("\"E2\"".into(), "readable".len()), ("\"E4\"".into(), lost)]);
}
