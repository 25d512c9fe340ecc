//! A driver with many connections, and the telemetry of it.

mod service;

pub use self::service::{Books, Service};

use forebay_core::BoxError;
use forebay_databricks::{
    BearerToken, ClientInfo, Connect, Connection, DriverTelemetry, FeatureFlag, HostReport, Notice, ResultInfo,
    Settings, Severity,
};
use forebay_example_support::client::http_client;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// What the example is run with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many connections there are, of two tenants.
    pub connections: usize,
    /// How many statements each of them runs.
    pub statements: usize,
    /// How many of a hundred requests go wrong.
    pub faults: u64,
    /// Decides which ones do.
    pub seed: u64,
    /// The knobs.
    pub settings: Settings,
}

/// How it went.
#[derive(Debug)]
pub struct Summary {
    reports: BTreeMap<String, HostReport>,
    notices: BTreeMap<String, u64>,
    books: Books,
    waits: Waits,
    clean: bool,
}

/// How long the driver waited for its telemetry.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    calls: u32,
    sum: Duration,
    longest: Duration,
}

type Said = Arc<Mutex<(BTreeMap<String, HostReport>, BTreeMap<String, u64>)>>;

/// The help of the example.
pub const HELP: &str = "\
Runs the statements of many connections, with the telemetry of a driver, against a service in this process that fails.

Usage: driver_telemetry [OPTIONS]

  --connections N   connections, of two tenants (default 200)
  --statements N    statements of each connection (default 50)
  --faults PERCENT  requests of a hundred that go wrong (default 20)
  --seed N          decides which ones do (default 1)
  --preset NAME     node or csharp (default node)
  --help            this

The driver's own variables (DATABRICKS_TELEMETRY_...) are read too. The status is 0 if the books agree, 1 if not, and 2
if it cannot run or the report cannot be written.
";

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        let settings = Self::hurried(&Settings::node());
        Self { connections: 200, statements: 50, faults: 20, seed: 1, settings }
    }
}

impl Options {
    /// These settings for an example, which makes in seconds what a driver makes in hours, and is not to drop it.
    #[must_use]
    pub fn hurried(settings: &Settings) -> Settings {
        let (flush_interval, close_timeout) = (Duration::from_millis(200), Duration::from_secs(20));
        Settings { flush_interval, close_timeout, max_pending: 20_000, ..settings.clone() }
    }
}

/// Runs all statements, closes all connections, and holds the books of the service against those of the telemetry.
///
/// # Errors
/// If the service cannot be started, or a setting cannot be.
pub async fn run(options: &Options) -> Result<Summary, BoxError> {
    let service = Service::start(options.faults, options.seed).await?;
    let said = Said::default();
    let into = Arc::clone(&said);
    let telemetry = DriverTelemetry::builder(http_client())
        .settings(options.settings.clone())
        .client_info(ClientInfo::new("NodejsDatabricksSqlConnector/1.12.0").user_agent_entry("example"))
        .feature_flag(FeatureFlag::node("1.12.0"))
        .observe(move |notice: &Notice<'_>| hear(notice, &mut lock(&into)))
        // The service is in this machine; a driver leaves this out.
        .allow_inside()
        .build()?;

    let mut tasks = Vec::new();
    for number in 0..options.connections {
        let tenant = ["acme", "globex"][number % 2];
        let connect = Connect::new(service.address())
            .session_id(format!("{tenant}/session-{number}"))
            .credentials(BearerToken::new(tenant)?);
        let (telemetry, statements) = (telemetry.clone(), options.statements);
        tasks.push(tokio::spawn(async move { session(&telemetry.connect(connect).await, statements).await }));
    }
    let mut waits = Waits::default();
    for task in tasks {
        let Waits { calls, sum, longest } = task.await?;
        waits = Waits {
            calls: waits.calls + calls,
            sum: waits.sum.saturating_add(sum),
            longest: waits.longest.max(longest),
        };
    }
    let clean = telemetry.shutdown(Duration::from_secs(30)).await.is_clean();
    let (reports, notices) = lock(&said).clone();
    Ok(Summary { reports, notices, books: service.books(), waits, clean })
}

/// One session; says how long it waited for its telemetry.
async fn session(connection: &Connection, statements: usize) -> Waits {
    let mut waits = Waits::default();
    let mut timed = |call: &dyn Fn()| {
        #[expect(clippy::disallowed_methods, reason = "this is a measurement")]
        let start = Instant::now();
        call();
        let wait = start.elapsed();
        waits = Waits { calls: waits.calls + 1, sum: waits.sum.saturating_add(wait), longest: waits.longest.max(wait) };
    };
    timed(&|| connection.operation("CREATE_SESSION", Duration::from_millis(120)));
    for number in 0..statements {
        let statement = connection.statement(&format!("statement-{number}"));
        timed(&|| statement.started(Some("QUERY"), Some("EXECUTE_STATEMENT"), false));
        timed(&|| statement.result_ready(Duration::from_millis(80), ResultInfo::default()));
        for chunk in 0..4 {
            timed(&|| statement.chunk(chunk, Duration::from_millis(20 + chunk)));
        }
        if number % 10 == 3 {
            let trace =
                "FetchError: socket hang up\n    at fetch (/home/ann/driver/http.js:10:5) token=dapi0123456789ab";
            timed(&|| statement.error_with_trace("FetchError", trace, Severity::Retryable));
        }
        if number % 25 == 7 {
            timed(&|| statement.error_with_trace("PermissionDenied", "no access to the table", Severity::Terminal));
        } else {
            timed(&|| statement.completed(Duration::from_millis(230)));
        }
        // The statement runs.
        sleep(Duration::from_millis(20)).await;
    }
    waits
}

fn hear(notice: &Notice<'_>, said: &mut (BTreeMap<String, HostReport>, BTreeMap<String, u64>)) {
    match notice {
        Notice::Closed { host, report } => {
            let number = said.0.len() + 1;
            said.0.insert(format!("{host} #{number}"), **report);
        }
        notice => *said.1.entry(notice.to_string()).or_default() += 1,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Summary ===

impl Summary {
    /// What the books of both sides disagree about; nothing, as it should be.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (host, report) in &self.reports {
            for (what, totals) in [("events", report.events), ("logs", report.logs)] {
                if !totals.balance() || totals.pending > 0 {
                    wrong.push(format!("{host}: the {what} do not add up: {totals}"));
                }
            }
        }
        let (delivered, dropped) = (self.delivered(), self.dropped());
        let taken = u64::try_from(self.books.logs.len()).unwrap_or(u64::MAX);
        // A log that was dropped after a request without an answer may have been taken: that much is not known.
        if taken < delivered || taken > delivered + dropped {
            wrong.push(format!("the service took {taken} logs; {delivered} are delivered and {dropped} dropped"));
        }
        if self.books.misattributed > 0 {
            wrong.push(format!("{} logs came under the credentials of another", self.books.misattributed));
        }
        if !self.clean {
            wrong.push("not every host was closed in time".to_owned());
        }
        wrong
    }

    /// Logs that the service said it took.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.reports.values().map(|report| report.logs.delivered).sum()
    }

    /// Logs that were dropped, each by a reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.reports.values().map(|report| report.logs.dropped.total()).sum()
    }

    /// What the service has taken.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (host, report) in &self.reports {
            writeln!(f, "{host}")?;
            writeln!(f, "  events   {}", report.events)?;
            writeln!(f, "  logs     {}", report.logs)?;
            let counters = report.counters;
            let (requests, retries, opens) = (counters.requests, counters.retries, counters.breaker_opens);
            writeln!(f, "  requests {requests}, of them {retries} retries; the circuit opened {opens} times")?;
        }
        let Books { requests, faults, logs, errors, flags, .. } = &self.books;
        let twice = logs.values().filter(|times| **times > 1).count();
        writeln!(f, "the service")?;
        writeln!(f, "  requests {requests}, of them {faults} went wrong; the feature flag was asked {flags} times")?;
        writeln!(f, "  logs     {} by id, {errors} of them errors; {twice} came again, under the same id", logs.len())?;
        for (notice, times) in &self.notices {
            writeln!(f, "said {times} times: {notice}")?;
        }
        let Waits { calls, sum, longest } = self.waits;
        let mean = sum.checked_div(calls.max(1)).unwrap_or_default();
        writeln!(f, "the driver called its telemetry {calls} times, {mean:?} on average and {longest:?} at most")?;
        match &*self.disagreements() {
            [] => writeln!(f, "the books agree"),
            wrong => wrong.iter().try_for_each(|wrong| writeln!(f, "WRONG: {wrong}")),
        }
    }
}
