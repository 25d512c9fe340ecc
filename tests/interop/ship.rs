//! The example that ships files, against the Collector.

use crate::{
    collector::{Collector, program},
    normal,
};
use forebay::otlp::{Protocol, Signal};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use std::{fmt::Write as _, process::Stdio};
use tokio::{io::AsyncWriteExt, process::Command};

#[tokio::test]
async fn ships_in_every_protocol() {
    let lines: Vec<String> = (0..3_000).map(|number| format!("line {number} \"quoted\" grüße")).collect();
    for protocol in ["http/protobuf", "http/json", "grpc"] {
        for compression in ["none", "gzip", "zstd"] {
            let collector = Collector::started(&format!("ship-{}-{compression}", protocol.replace('/', "-"))).await;
            let url =
                if protocol == "grpc" { collector.url_for(Protocol::Grpc, Signal::Logs) } else { collector.url("") };
            let mut ship = Command::new(program("FOREBAY_SHIP"))
                .args(["--endpoint", &url, "--protocol", protocol, "--compression", compression])
                .args(["--report", "json", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let text = lines.iter().fold(String::new(), |mut text, line| {
                writeln!(text, "{line}").unwrap();
                text
            });
            let mut input = ship.stdin.take().unwrap();
            input.write_all(text.as_bytes()).await.unwrap();
            drop(input);
            let done = ship.wait_with_output().await.unwrap();
            let said = String::from_utf8(done.stdout).unwrap();
            assert!(done.status.success(), "{protocol} {compression}: {said}");

            let taken = collector.wait_for(lines.len(), |collector| normal::logs(&collector.logs())).await;
            let mut bodies: Vec<_> = taken
                .into_iter()
                .filter_map(|(.., record)| match record.body?.value? {
                    Value::StringValue(text) => Some(text),
                    Value::BytesValue(bytes) => String::from_utf8(bytes).ok(),
                    _ => None,
                })
                .collect();
            let mut expected = lines.clone();
            bodies.sort();
            expected.sort();
            assert_eq!(bodies, expected, "{protocol} {compression}");
            println!("ship {protocol} {compression}: {} lines", lines.len());
        }
    }
}
