//! The examples that are whole systems, in front of the Collector.

use crate::{
    collector::{Collector, free_address, program},
    normal,
};
use bytes::Bytes;
use forebay_testkit::receiver::Receiver;
use http::Response;
use serde_json::{Value, json};
use std::{fmt::Write as _, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// How long a program may take to do as it is told.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_reporter_reports_what_it_gathers() {
    let collector = Collector::started("reporter").await;
    let config = json!({"endpoint": collector.url("/v1/metrics"), "labels": {"node": "7"}}).to_string();
    let answer = move |_: &_| Response::new(Bytes::from(config.clone()));
    let server = Receiver::builder().route("/config", answer).start().await.unwrap();
    let reporter = Command::new(program("FOREBAY_REPORTER"))
        .args(["--config", &format!("{}/config", server.endpoint()), "--allow-private", "--for=2s", "--report=json"])
        .args(["--gather-interval=100ms", "--export-interval=400ms"])
        .output();
    let done = timeout(PATIENCE, reporter).await.unwrap().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}");
    let books: Value = serde_json::from_str(said.trim()).unwrap();
    let delivered = usize::try_from(books["delivered"].as_u64().unwrap()).unwrap();
    assert!(delivered > 50, "{said}");

    // Each series of a gathering is a metric with one point.
    let taken = collector.wait_for(delivered, |collector| normal::metrics(&collector.metrics())).await;
    let mut times: Vec<_> = taken.iter().map(|(.., metric)| format!("{metric:?}")).collect();
    assert!(times.iter().all(|metric| metric.contains("node")), "the server's label is on each");
    times.sort();
    times.dedup();
    assert_eq!(times.len(), delivered, "none came twice");
    println!("reporter: {delivered} values");
}

#[tokio::test]
async fn a_gateway_forwards_what_it_takes() {
    let lines: Vec<String> = (0..3_000).map(|number| format!("line {number}")).collect();
    let collector = Collector::started("gateway").await;
    let (http, grpc) = (free_address(), free_address());
    let data = tempfile(&format!("gateway-{http}").replace([':', '.'], "-"));
    let gateway = Command::new(program("FOREBAY_GATEWAY"))
        .args(["--http", &http.to_string(), "--grpc", &grpc.to_string(), "--data", &data])
        .args(["--forward", &collector.url("")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for (protocol, address) in [("http/protobuf", http), ("grpc", grpc)] {
        let mut ship = Command::new(program("FOREBAY_SHIP"))
            .args(["--endpoint", &format!("http://{address}"), "--protocol", protocol, "--report", "json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let text = lines.iter().fold(String::new(), |mut text, line| {
            writeln!(text, "{line} by {protocol}").unwrap();
            text
        });
        let mut input = ship.stdin.take().unwrap();
        input.write_all(text.as_bytes()).await.unwrap();
        drop(input);
        let done = timeout(PATIENCE, ship.wait_with_output()).await.unwrap().unwrap();
        assert!(done.status.success(), "{protocol}: {}", String::from_utf8_lossy(&done.stdout));
    }
    let pid = gateway.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let done = timeout(PATIENCE, gateway.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}");

    let taken = collector.wait_for(2 * lines.len(), |collector| normal::logs(&collector.logs())).await;
    let mut bodies: Vec<_> = taken.iter().map(|(.., record)| format!("{:?}", record.body)).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 2 * lines.len(), "each line once\n{said}");
    drop(std::fs::remove_dir_all(data));
    println!("gateway: {} lines by HTTP and gRPC", 2 * lines.len());
}

fn tempfile(name: &str) -> String {
    std::env::temp_dir().join(format!("forebay-interop-{}-{name}", std::process::id())).display().to_string()
}
