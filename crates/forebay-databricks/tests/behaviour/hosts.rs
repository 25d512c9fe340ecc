//! One exporter for each host, shared by its connections.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::common::{Answer, Fake, HOST, advance, build, connect, flag, telemetry};
use forebay_core::BoxError;
use forebay_databricks::{
    BearerToken, Connect, Credentials, DriverTelemetry, FeatureFlag, Identity, Settings, Severity,
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

fn token(host: &str, token: &str) -> Connect {
    Connect::new(host).session_id("session").credentials(BearerToken::new(token).unwrap())
}

/// Credentials that can be taken away, and that may panic when they go.
struct Held {
    usable: Arc<AtomicBool>,
    panics: bool,
    header: &'static str,
}

impl Credentials for Held {
    fn identity(&self) -> Identity {
        Identity::named("held")
    }

    fn authorize(&self) -> BoxFuture<'_, Result<HeaderMap, BoxError>> {
        Box::pin(async {
            if !self.usable.load(Ordering::Relaxed) {
                return Err("expired".into());
            }
            Ok(HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static(self.header))]))
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        assert!(!self.panics, "in the driver's code");
    }
}

#[tokio::test(start_paused = true)]
async fn g01_g02_g03_aliases_of_a_host_share_one_exporter_until_the_last_has_gone() {
    let fake = Fake::new();
    let (telemetry, heard) = telemetry(&fake, Settings::node());
    let aliases = [HOST.to_owned(), format!("https://{}/", HOST.to_uppercase()), format!("{HOST}.:443")];
    let mut connections = Vec::new();
    for alias in &aliases {
        connections.push(telemetry.connect(token(alias, "t")).await);
    }
    connections.iter().for_each(|connection| connection.operation("x", Duration::ZERO));
    assert_eq!(telemetry.reports().len(), 1);
    connections.pop().unwrap().close().await;
    assert_eq!((fake.seen().len(), fake.logs().len()), (1, 3), "all of them are in one batch");
    connections.pop().unwrap().close().await;
    assert_eq!((telemetry.reports().len(), heard.matching("closed;")), (1, 0), "the last one is still there");
    connections[0].operation("x", Duration::ZERO);
    connections.pop().unwrap().close().await;
    assert_eq!(fake.seen().len(), 2);
    assert_eq!(fake.logs().len(), 4, "the exporter is there until its last connection has gone");
    assert_eq!(
        (telemetry.reports().len(), heard.matching("closed; 4 offered, 4 delivered")),
        (0, 1),
        "{:?}",
        heard.all()
    );
    // A fresh one after that.
    let connection = telemetry.connect(token(HOST, "t")).await;
    connection.operation("x", Duration::ZERO);
    connection.close().await;
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_is_flushed_all_the_same() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let connection = telemetry.connect(connect()).await;
    connection.statement("open").started(None, None, false);
    drop(connection);
    advance(Duration::from_millis(1)).await;
    assert_eq!(fake.logs()[0]["entry"]["sql_driver_log"]["sql_statement_id"], "open");
}

#[tokio::test(start_paused = true)]
async fn a_connection_completes_its_own_statements_only() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let (one, other) = (telemetry.connect(connect()).await, telemetry.connect(connect()).await);
    // The same id in two sessions are two statements.
    [&one, &other].iter().for_each(|connection| connection.statement("a").started(None, None, false));
    assert_eq!(one.report().unwrap().open_statements, 2);
    one.close().await;
    assert_eq!(other.report().unwrap().open_statements, 1);
    other.close().await;
    assert_eq!(fake.logs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_tenants_never_send_each_others_logs() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    // Both are open at a time.
    let connections = [
        telemetry.connect(token(HOST, "a").session_id("a")).await,
        telemetry.connect(token(HOST, "b").session_id("b")).await,
    ];
    connections.iter().for_each(|connection| connection.operation("x", Duration::ZERO));
    advance(Duration::from_secs(6)).await;
    let seen = fake.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        let session = request.logs()[0]["entry"]["sql_driver_log"]["session_id"].as_str().unwrap().to_owned();
        assert_eq!(request.headers["authorization"], format!("Bearer {session}"));
    }
}

#[tokio::test(start_paused = true)]
async fn g06_the_last_flush_goes_out_under_the_credentials_that_are_still_held() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let held = || Held { usable: Arc::new(AtomicBool::new(true)), panics: false, header: "Bearer held" };
    let first = telemetry.connect(Connect::new(HOST).credentials(held())).await;
    let last = telemetry.connect(Connect::new(HOST).credentials(held())).await;
    first.operation("of the first", Duration::ZERO);
    first.close().await;
    last.operation("of the last", Duration::ZERO);
    last.close().await;
    let seen = fake.seen();
    assert_eq!(seen.len(), 2, "each close sends what is its own");
    for request in seen {
        assert_eq!(
            (request.logs().len(), &request.headers["authorization"]),
            (1, &HeaderValue::from_static("Bearer held"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn g07_a_first_user_without_telemetry_or_credentials_pins_nothing() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let off = telemetry.connect(connect().settings(Settings { enabled: false, ..Settings::node() })).await;
    assert!(!off.is_enabled());
    off.operation("x", Duration::ZERO);
    let nobody = telemetry.connect(Connect::new(HOST)).await;
    nobody.operation("x", Duration::ZERO);
    let somebody = telemetry.connect(connect()).await;
    somebody.operation("x", Duration::ZERO);
    nobody.flush().await;
    somebody.flush().await;
    let paths: Vec<_> = fake.seen().iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, ["/telemetry-unauth", "/telemetry-ext"]);
}

#[tokio::test(start_paused = true)]
async fn g09_other_settings_for_a_host_are_said_and_the_first_stay() {
    let fake = Fake::new();
    let (telemetry, heard) = telemetry(&fake, Settings::node());
    let _first = telemetry.connect(connect()).await;
    let _same = telemetry.connect(connect()).await;
    assert_eq!(heard.all(), [""; 0]);
    let other = telemetry.connect(connect().settings(Settings { batch_size: 1, ..Settings::node() })).await;
    assert_eq!(
        heard.all(),
        ["https://adb-1.azuredatabricks.net:443: the settings of an earlier connection stay in force"]
    );
    other.operation("x", Duration::ZERO);
    advance(Duration::from_secs(1)).await;
    assert!(fake.seen().is_empty(), "a batch of one would have left");
}

#[tokio::test(start_paused = true)]
async fn g10_a_panic_while_closing_is_not_the_drivers() {
    let fake = Fake::new();
    let (telemetry, heard) = telemetry(&fake, Settings::node());
    let held = || Held { usable: Arc::new(AtomicBool::new(true)), panics: true, header: "Bearer held" };
    let first = telemetry.connect(Connect::new(HOST).credentials(held())).await;
    let last = telemetry.connect(Connect::new(HOST).credentials(held())).await;
    last.operation("x", Duration::ZERO);
    first.close().await;
    last.close().await;
    assert_eq!(fake.logs().len(), 1, "flushed before");
    assert!(heard.matching("closed;") <= 1 && telemetry.reports().is_empty());
    // An observer that panics is nobody's trouble either.
    let builder = DriverTelemetry::builder(fake.clone()).kill_switch(None);
    let telemetry = builder.observe(|_: &forebay_databricks::Notice<'_>| panic!("in the observer")).build().unwrap();
    assert!(!telemetry.connect(Connect::new("localhost")).await.is_enabled(), "it is notified of the host, and panics");
    let connection = telemetry.connect(connect()).await;
    connection.operation("x", Duration::ZERO);
    connection.close().await;
    assert_eq!(fake.logs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_usable_credentials_a_batch_is_dropped_and_said_once_until_it_works_again() {
    let fake = Fake::new();
    let (telemetry, heard) = telemetry(&fake, Settings::node());
    let usable = Arc::new(AtomicBool::new(false));
    let held = Held { usable: Arc::clone(&usable), panics: false, header: "Bearer held" };
    let connection = telemetry.connect(Connect::new(HOST).credentials(held)).await;
    let send = async || {
        connection.operation("x", Duration::ZERO);
        connection.flush().await;
    };
    send().await;
    send().await;
    assert_eq!((fake.seen().len(), heard.matching("no credentials could be used")), (0, 1));
    usable.store(true, Ordering::Relaxed);
    send().await;
    assert_eq!(fake.seen().len(), 1);
    usable.store(false, Ordering::Relaxed);
    send().await;
    assert_eq!((fake.seen().len(), heard.matching("no credentials could be used")), (1, 2));
    let logs = connection.report().unwrap().logs;
    assert_eq!((logs.delivered, logs.dropped.total()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_fail_are_skipped_while_they_fail_and_asked_again() {
    let fake = Fake::new();
    let (telemetry, heard) = telemetry(&fake, Settings::node());
    let usable = Arc::new(AtomicBool::new(false));
    let first = Held { usable: Arc::clone(&usable), panics: false, header: "Bearer first" };
    let second = Held { usable: Arc::new(AtomicBool::new(true)), panics: false, header: "Bearer second" };
    let connection = telemetry.connect(Connect::new(HOST).credentials(first)).await;
    let _other = telemetry.connect(Connect::new(HOST).credentials(second)).await;
    for (works, sent_under) in [(false, "Bearer second"), (true, "Bearer first"), (false, "Bearer second")] {
        usable.store(works, Ordering::Relaxed);
        connection.operation("x", Duration::ZERO);
        connection.flush().await;
        assert_eq!(fake.seen().last().unwrap().headers["authorization"], sent_under);
    }
    assert_eq!((fake.seen().len(), heard.all().len()), (3, 0), "{:?}", heard.all());
}

#[tokio::test(start_paused = true)]
async fn t09_x02_closing_ends_in_time_whatever_the_service_does() {
    for (settings, limit) in [(Settings::node(), 2_050), (Settings { enabled: true, ..Settings::csharp() }, 5_050)] {
        for answer in [Answer::Hang, Answer::Status(503), Answer::RetryAfter(86_400)] {
            let fake = Fake::new();
            fake.otherwise(answer.clone());
            let (telemetry, heard) = telemetry(&fake, settings.clone());
            let connection = telemetry.connect(connect()).await;
            connection.operation("x", Duration::ZERO);
            connection.error_with_trace("E", "x", Severity::Terminal);
            let start = Instant::now();
            connection.close().await;
            assert!(start.elapsed().as_millis() <= limit, "{answer:?}: {:?}", start.elapsed());
            assert_eq!(heard.matching("closed; 2 offered, 0 delivered, 0 spooled, 2 dropped"), 1, "{:?}", heard.all());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t08_t10_closing_waits_for_the_batch_under_way_and_then_sends_the_rest() {
    let fake = Fake::new();
    fake.script([Answer::Status(503)]);
    let (telemetry, _) = telemetry(&fake, Settings { batch_size: 2, ..Settings::node() });
    let connection = telemetry.connect(connect()).await;
    (0..2).for_each(|_| connection.operation("first", Duration::ZERO));
    tokio::task::yield_now().await;
    connection.operation("rest", Duration::ZERO);
    connection.close().await;
    assert_eq!(fake.logs().len(), 2 + 2 + 1, "the first batch twice, for it failed once");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_flushes_every_host_and_later_connections_have_no_telemetry() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let connections =
        [telemetry.connect(token("a.example", "t")).await, telemetry.connect(token("b.example", "t")).await];
    connections.iter().for_each(|connection| connection.operation("x", Duration::ZERO));
    drop(connections);
    let report = telemetry.shutdown(Duration::from_secs(5)).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(fake.logs().len(), 2);
    assert!(!telemetry.connect(connect()).await.is_enabled());
}

#[tokio::test(start_paused = true)]
async fn a_flush_of_the_process_sends_open_statements_too_and_ends_in_time() {
    let fake = Fake::new();
    let (telemetry, _) = telemetry(&fake, Settings::node());
    let hosts = [telemetry.connect(token("a.example", "t")).await, telemetry.connect(token("b.example", "t")).await];
    hosts.iter().for_each(|connection| connection.statement("open").started(None, None, false));
    let start = Instant::now();
    assert!(telemetry.flush(Duration::from_secs(3)).await, "everything has a fate");
    assert_eq!((fake.logs().len(), start.elapsed()), (2, Duration::ZERO));
    fake.otherwise(Answer::Hang);
    hosts.iter().for_each(|connection| connection.operation("x", Duration::ZERO));
    assert!(!telemetry.flush(Duration::from_secs(3)).await, "the service hangs");
    assert!((3_000..=3_010).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn hosts_that_are_inside_and_hosts_without_number_get_no_telemetry() {
    let fake = Fake::new();
    let builder = DriverTelemetry::builder(fake.clone()).max_hosts(2);
    let (telemetry, heard) = build(builder);
    for inside in ["169.254.169.254", "localhost", "http://adb-1.azuredatabricks.net", "u:hush@adb-1.net"] {
        assert!(!telemetry.connect(Connect::new(inside)).await.is_enabled());
    }
    assert_eq!(heard.all().len(), 4);
    assert_eq!(heard.matching("hush"), 0);
    let mut connections = Vec::new();
    for n in 0..4 {
        connections.push(telemetry.connect(Connect::new(format!("h{n}.example"))).await);
    }
    assert_eq!(connections.iter().filter(|connection| connection.is_enabled()).count(), 2);
    assert_eq!(heard.matching("a connection has no telemetry"), 2, "{:?}", heard.all());
}

#[tokio::test(start_paused = true)]
async fn the_flag_is_asked_once_for_all_and_again_after_its_time() {
    let fake = Fake::new();
    fake.flags_otherwise(flag("TRUE", 1));
    let (telemetry, _) = build(DriverTelemetry::builder(fake.clone()).feature_flag(FeatureFlag::node("1.12.0")));
    let connecting = (0..50).map(|_| telemetry.connect(connect()));
    let connections = futures_util::future::join_all(connecting).await;
    assert!(connections.iter().all(forebay_databricks::Connection::is_enabled));
    let asked = fake.asked();
    assert_eq!((asked.len(), &*asked[0].path), (1, "/api/2.0/connector-service/feature-flags/NODEJS/1.12.0"));
    assert_eq!(asked[0].headers["authorization"], "Bearer s3cret");
    // A second is too short; a minute is what it gets.
    advance(Duration::from_secs(59)).await;
    let _more = telemetry.connect(connect()).await;
    assert_eq!(fake.asked().len(), 1);
    advance(Duration::from_secs(2)).await;
    let _more = telemetry.connect(connect()).await;
    assert_eq!(fake.asked().len(), 2);
    // An hour is the longest time for which a response holds.
    fake.flags_otherwise(flag("true", 1_000_000));
    advance(Duration::from_secs(61)).await;
    let _more = telemetry.connect(connect()).await;
    assert_eq!(fake.asked().len(), 3);
    advance(Duration::from_secs(3_601)).await;
    fake.flags_otherwise(Answer::Hang);
    let start = Instant::now();
    assert!(telemetry.connect(connect()).await.is_enabled(), "the last response holds");
    // The fetch is given up after ten seconds.
    assert!((10_000..=10_010).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(fake.asked().len(), 4);
    // The gate goes with the last connection.
    drop((connections, _more));
}

#[tokio::test(start_paused = true)]
async fn a_service_in_trouble_does_not_switch_telemetry_off_and_never_switches_it_on() {
    let fake = Fake::new();
    fake.flags_otherwise(Answer::Status(500));
    let (telemetry, heard) = build(DriverTelemetry::builder(fake.clone()).feature_flag(FeatureFlag::node("1")));
    assert!(!telemetry.connect(connect()).await.is_enabled(), "it has never said that it wants any");
    assert_eq!(heard.matching("whether telemetry is wanted is unknown: the service responded with 500"), 1);
    fake.flags_otherwise(flag("true", 60));
    advance(Duration::from_secs(61)).await;
    let keep = telemetry.connect(connect()).await;
    assert!(keep.is_enabled(), "after 60 seconds it is asked again");
    for trouble in [Answer::Status(503), Answer::Body(200, "<html>".into()), Answer::Error("reset"), Answer::Hang] {
        fake.flags_otherwise(trouble);
        advance(Duration::from_secs(62)).await;
        assert!(telemetry.connect(connect()).await.is_enabled(), "its last answer holds");
    }
    fake.flags_otherwise(flag("false", 60));
    advance(Duration::from_secs(62)).await;
    assert!(!telemetry.connect(connect()).await.is_enabled());
}

#[tokio::test(start_paused = true)]
async fn the_kill_switch_ends_it_and_a_value_that_is_none_is_said() {
    let fake = Fake::new();
    let built =
        |value: &str| DriverTelemetry::builder(fake.clone()).kill_switch(Some(value.to_owned())).build().unwrap();
    assert!(!built("on").connect(connect()).await.is_enabled());
    assert!(built("off").connect(connect()).await.is_enabled());
    let said = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&said);
    let builder = DriverTelemetry::builder(fake.clone()).kill_switch(Some("off".to_owned()));
    let observer = move |notice: &forebay_databricks::Notice<'_>| {
        assert_eq!(notice.to_string(), "`DATABRICKS_TELEMETRY_DISABLED` is \"off\"; allowed: 1, true, yes, on");
        count.fetch_add(1, Ordering::Relaxed);
    };
    let _telemetry = builder.observe(observer).build().unwrap();
    assert_eq!(said.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn settings_that_users_have_set_wrong_are_said_once_each() {
    let fake = Fake::new();
    let property = |name: &str| (name == "telemetryBatchSize").then(|| "many".to_owned());
    let read = Settings::node().read(property, |_| None);
    let (telemetry, heard) = build(DriverTelemetry::builder(fake.clone()).settings_read(read));
    let wrong = Settings { batch_size: 0, ..Settings::node() };
    assert!(telemetry.connect(connect().settings(wrong)).await.is_enabled(), "with the settings of the process");
    assert_eq!(heard.matching("a setting was ignored: `batch_size` is 0"), 1);
    assert_eq!(heard.all()[..1], ["a setting was ignored: `telemetryBatchSize` is \"many\"; allowed: 1 to 10000"]);
}
