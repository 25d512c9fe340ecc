//! The end comes when it was promised, and what was not sent comes back.

use crate::support::{balanced, emit, line, over, soon, to};
use forebay::{core::DropReason, otlp::Protocol};
use forebay_testkit::receiver::{Fault, Receiver};
use http::StatusCode;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const DEADLINE: Duration = Duration::from_millis(300);

/// X02: the deadline holds, whatever the network does.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a promise about the real clock")]
async fn x02_shutdown_ends_on_time_whatever_the_server_does() {
    let faults = [
        ("a black hole", Fault::BlackHole { processed: false }),
        ("one that trickles", Fault::Trickle { every: Duration::from_secs(1) }),
        ("one that accepts and never reads", Fault::Deaf),
        ("Retry-After: 86400", Fault::retry_after(StatusCode::TOO_MANY_REQUESTS, 86_400)),
    ];
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        for (name, fault) in &faults {
            let receiver = Receiver::builder().script(vec![fault.clone(); 100]).start().await.unwrap();
            let exporter = to(&receiver, protocol).build().unwrap();
            emit(&exporter, 0..250);
            soon(receiver.until(|totals| totals.requests > 0)).await;
            let start = Instant::now();
            let report = exporter.shutdown(DEADLINE).await;
            let took = start.elapsed();
            assert!(took < DEADLINE + Duration::from_millis(50), "{name}: {took:?}");
            let totals = balanced(report.totals);
            assert_eq!((totals.offered, totals.pending), (250, 0), "{name}: {totals}");
            // What was not delivered is the caller's again.
            let unsent = 250 - totals.delivered;
            assert_eq!(totals.dropped.get(DropReason::Shutdown), unsent, "{name}: {totals}");
            assert_eq!(report.unsent.len() as u64, unsent, "{name}");
        }
    }
}

/// X02, without an HTTP server: no process accepts the connection.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a promise about the real clock")]
async fn x02_shutdown_ends_on_time_where_nobody_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let exporter = over(&url, Protocol::HttpProtobuf, crate::support::http1()).build().unwrap();
    emit(&exporter, 0..10);
    let start = Instant::now();
    let report = exporter.shutdown(DEADLINE).await;
    assert!(start.elapsed() < DEADLINE + Duration::from_millis(50), "{:?}", start.elapsed());
    let unsent: Vec<_> = report.unsent.into_iter().collect();
    assert_eq!(unsent, (0..10).map(|n| crate::support::record(line(n))).collect::<Vec<_>>());
}

#[tokio::test]
async fn shutdown_delivers_what_can_be_delivered_and_refuses_what_comes_later() {
    let receiver = Receiver::builder().start().await.unwrap();
    let exporter = to(&receiver, Protocol::HttpProtobuf).build().unwrap();
    emit(&exporter, 0..250);
    let (first, second) = tokio::join!(exporter.shutdown(soon_enough()), exporter.shutdown(soon_enough()));
    assert_eq!((first.totals.delivered, first.unsent.len()), (250, 0));
    assert_eq!(second.totals.delivered, 250, "T10: a second closer waits for the first");
    emit(&exporter, 0..5);
    assert_eq!(balanced(exporter.totals()).dropped.get(DropReason::Shutdown), 5);
}

fn soon_enough() -> Duration {
    Duration::from_secs(20)
}
