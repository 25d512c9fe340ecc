//! The reporter as its user runs it, and against servers that change their minds.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use bytes::Bytes;
use forebay_collect::Recorder;
use forebay_example_support::stop::Interrupts;
use forebay_reporter::{Options, Summary, Task, parse, run};
use forebay_testkit::receiver::Receiver;
use http::Response;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use serde_json::{Value, json};
use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

fn process(arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_reporter")).args(arguments).arg("--report=json").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let report = stdout.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
    (output.status.code().unwrap(), report, String::from_utf8(output.stderr).unwrap())
}

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} in {report}"))
}

fn options(arguments: &[&str]) -> Options {
    match parse(arguments.iter().map(Into::into), |_| None).unwrap() {
        Task::Run(options) => *options,
        other => panic!("{other:?}"),
    }
}

/// Runs it here, and says what it notices.
async fn here(arguments: &[&str]) -> (Summary, Vec<String>) {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&notices);
    let tell = move |text| into.lock().unwrap().push(text);
    let summary = run(options(arguments), Recorder::new(), &Interrupts::by_hand().1, tell).await.unwrap();
    let notices = notices.lock().unwrap().clone();
    (summary, notices)
}

#[test]
fn what_is_gathered_arrives_once() {
    let (code, report, _) = process(&["--for=2s", "--gather-interval=200ms", "--export-interval=500ms"]);
    assert_eq!(code, 0, "{report}");
    let delivered = number(&report, "/delivered");
    assert!(delivered > 0);
    assert_eq!(number(&report, "/offered"), delivered);
    assert_eq!((number(&report, "/receiver/received"), number(&report, "/receiver/repeated")), (delivered, 0));
}

#[test]
fn a_failed_export_is_no_storm_and_loses_nothing() {
    let faults = "--faults=503:40,reset:20";
    let (code, report, _) =
        process(&["--for=3s", "--gather-interval=100ms", "--export-interval=300ms", faults, "--seed=3"]);
    assert_eq!((code, number(&report, "/pending")), (0, 0), "{report}");
    assert!(number(&report, "/delivered") > 0 && number(&report, "/config_failures") == 0, "{report}");
    assert_eq!(number(&report, "/offered"), number(&report, "/delivered"));
    // What came twice was in a request that was received and never responded to: the same values, at the same times.
    assert!(number(&report, "/receiver/repeated") <= number(&report, "/receiver/ambiguous"));
    let distinct = number(&report, "/receiver/received") - number(&report, "/receiver/repeated");
    assert_eq!(distinct, number(&report, "/delivered"));
    // Ten intervals, each batch at most once in each, and what the end brings: far from a storm.
    assert!(number(&report, "/requests") < 60, "{report}");
}

#[test]
fn without_a_configuration_nothing_is_sent() {
    let config = r"--config=http://127.0.0.1:9/none";
    let (code, report, notices) = process(&["--for=1s", "--gather-interval=100ms", config]);
    assert_eq!((code, number(&report, "/offered")), (0, 0), "no endpoint is no error: {report}");
    assert!(number(&report, "/skipped") > 0 && number(&report, "/config_failures") > 0);
    assert!(notices.contains("there was no response with a configuration"), "{notices}");
}

#[tokio::test]
async fn the_configuration_says_what_and_where_to_and_the_last_good_one_is_kept() {
    let asked = Arc::new(AtomicUsize::new(0));
    let receiver = Receiver::builder().start().await.unwrap();
    let (count, endpoint) = (Arc::clone(&asked), format!("{}/v1/metrics", receiver.endpoint()));
    let config = move |_: &_| {
        let first = json!({
            "endpoint": endpoint, "include": ["^process.uptime$", "("], "labels": {"node": "7"}, "refresh": "1s",
        });
        let (status, body) = match count.fetch_add(1, SeqCst) {
            0 => (200, first.to_string()),
            1 => (200, "<html>sorry</html>".to_owned()),
            2 => (503, String::new()),
            _ => (404, String::new()),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status.try_into().unwrap();
        response
    };
    let server = Receiver::builder().route("/config", config).start().await.unwrap();
    let config = format!("--config={}/config", server.endpoint());
    let (summary, notices) =
        here(&["--for=5s", "--gather-interval=200ms", "--export-interval=500ms", "--allow-private", &config]).await;

    assert!(summary.is_complete(), "{summary}");
    let metrics = receiver.metrics();
    assert!(metrics.iter().all(|metric| metric.name == "process.uptime"), "{metrics:?}");
    assert_eq!(metrics.len() as u64, summary.totals.delivered);
    // It went on through a response that is none, and through a server that was out of order; it ended with the 404.
    assert!(metrics.len() > 8, "{summary}");
    assert!(summary.gathered.skipped > 0, "{summary}");
    assert!(notices.iter().any(|text| text.contains("`(` was skipped")), "{notices:?}");
    assert!(notices.iter().any(|text| text.contains("404")), "{notices:?}");
    assert!(summary.fetches.1 >= 3);
}

#[tokio::test]
async fn a_server_may_not_point_at_the_neighbours() {
    let receiver = Receiver::builder().start().await.unwrap();
    let endpoint = format!("{}/v1/metrics", receiver.endpoint());
    let config = json!({"endpoint": endpoint}).to_string();
    let server =
        Receiver::builder().route("/config", move |_| Response::new(config.clone().into())).start().await.unwrap();
    let config = format!("--config={}/config", server.endpoint());
    let (summary, notices) = here(&["--for=500ms", "--gather-interval=100ms", &config]).await;
    assert_eq!((summary.totals.offered, receiver.requests().len()), (0, 0));
    assert!(notices.iter().any(|text| text.contains("public address")), "{notices:?}");
}

#[tokio::test]
async fn the_buffer_of_an_outage_is_bounded_and_what_it_loses_is_counted() {
    // A port that was free a moment ago, and where no server listens.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = json!({"endpoint": format!("http://{gone}/v1/metrics")}).to_string();
    let server =
        Receiver::builder().route("/config", move |_| Response::new(config.clone().into())).start().await.unwrap();
    let config = format!("--config={}/config", server.endpoint());
    let knobs =
        ["--gather-interval=50ms", "--export-interval=200ms", "--buffer-bytes=4096", "--allow-private", "--drain=1s"];
    let (summary, _) = here(&[&["--for=2s", &config], &knobs[..]].concat()).await;
    assert!(summary.totals.balance() && summary.totals.pending == 0, "{summary}");
    assert_eq!(summary.totals.delivered, 0);
    let reasons: Vec<_> = summary.totals.dropped.iter().map(|(reason, _)| reason.to_string()).collect();
    assert!(reasons.len() >= 2, "the oldest went first, and the end let the rest go: {reasons:?}");
    assert!(!summary.is_complete());
}

#[tokio::test]
async fn the_reporter_reports_on_itself_through_its_own_exports() {
    let receiver = Receiver::builder().start().await.unwrap();
    let config = json!({"endpoint": receiver.endpoint(), "include": ["^reporter"]}).to_string();
    let server =
        Receiver::builder().route("/config", move |_| Response::new(config.clone().into())).start().await.unwrap();
    let config = format!("--config={}/config", server.endpoint());
    let knobs = ["--gather-interval=100ms", "--export-interval=300ms", "--allow-private", "--for=2s"];
    let (summary, notices) = here(&[&[&*config], &knobs[..]].concat()).await;
    assert!(summary.is_complete(), "{summary} {notices:?}");
    let metrics = receiver.metrics();
    let last = |name: &str| {
        let of_name = metrics.iter().filter(|metric| metric.name == name);
        let sums = of_name.filter_map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => Some(&sum.data_points),
            _ => None,
        });
        let values = sums.flatten().filter_map(|point| match point.value {
            Some(number_data_point::Value::AsInt(value)) => Some(value),
            _ => None,
        });
        values.max().unwrap_or_else(|| panic!("no {name}"))
    };
    let requests = i64::try_from(summary.counters.requests).unwrap();
    assert!((1..=requests).contains(&last("reporter.export.requests")), "an export is in the next one");
    assert!(last("reporter.values.delivered") > 0);
    assert_eq!((last("reporter.export.failures"), last("reporter.config.fetches")), (0, 1));
}

#[test]
fn wrong_arguments_are_named() {
    for (argument, named) in [
        ("--gather-interval=0s", "--gather-interval"),
        ("--config=ftp://x", "an http or https URL"),
        ("--buffer-bytes=7", "4096 or more"),
        ("--faults=503:200", "--faults"),
        ("--nonsense", "--nonsense"),
    ] {
        let (code, _, notices) = process(&[argument]);
        assert_eq!(code, 2, "{argument}");
        assert!(notices.contains(named) && notices.lines().count() == 1, "{notices}");
    }
}
