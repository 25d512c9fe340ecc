//! A driver, as far as its telemetry sees it.

use bytes::Bytes;
use forebay_databricks::{BearerToken, Connect, Connection, DriverTelemetry, ResultInfo, Settings, Severity};
use http::{Request, Response};
use http_body_util::Full;
use std::{convert::Infallible, future::ready, io, time::Duration};
use tower::service_fn;

/// A connection with telemetry or without. With telemetry, the service takes everything.
///
/// # Panics
///
/// Outside a Tokio runtime with a timer.
pub async fn connection(enabled: bool) -> Connection {
    let client =
        service_fn(|_: Request<Full<Bytes>>| ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))));
    let settings = Settings { enabled, ..Settings::node() };
    let telemetry = DriverTelemetry::builder(client).settings(settings).kill_switch(None).build().unwrap();
    telemetry.connect(Connect::new("adb-1.azuredatabricks.net").credentials(BearerToken::new("t").unwrap())).await
}

/// Reports one statement that reads four chunks and fails once on its way, and one operation of its connection.
pub fn statement(connection: &Connection) {
    const TIME: Duration = Duration::from_millis(3);
    let statement = connection.statement("01ef-2345-6789");
    statement.started(Some("QUERY"), Some("EXECUTE_STATEMENT"), false);
    statement.status_call(TIME);
    statement.retried();
    statement.result_ready(TIME, ResultInfo::default());
    (0..4).for_each(|chunk| statement.chunk(chunk, TIME));
    statement.error("TimeoutError", &io::Error::from(io::ErrorKind::TimedOut), Severity::Retryable);
    statement.error_with_trace("TimeoutError", "at fetch (x.js)", Severity::Retryable);
    statement.consumed(TIME);
    statement.clone().completed(TIME);
    connection.operation("EXECUTE_STATEMENT", TIME);
    connection.error("TimeoutError", &io::Error::from(io::ErrorKind::TimedOut), Severity::Terminal);
}
