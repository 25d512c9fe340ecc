//! What belongs to one endpoint reaches no other.

use crate::servers::{A, B, Mode, Servers, builder, emit, exporter, ms};
use forebay_export::{BoxError, Credential, Destination, Failover};
use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn f12_headers_and_credentials_of_one_endpoint_reach_no_other() {
    let servers = Servers::default();
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let a = Destination::new(A).header("x-api-key", "of-a").auth(move || {
        counted.fetch_add(1, Relaxed);
        ready(Credential::bearer("token-of-a"))
    });
    let b = Destination::new(B).header("x-tenant", "of-b");
    let endpoints = Failover::new([a, b]).common_header("x-common", "both");
    let exporter = exporter(endpoints, servers.client());
    for (batch, mode) in [(0, Mode::Up), (1, Mode::Status(503)), (2, Mode::Throttles(1)), (3, Mode::Up)] {
        servers.turn(A, mode);
        emit(&exporter, batch..batch + 1);
        exporter.flush().await;
    }
    assert_eq!(asked.load(Relaxed), 1, "once for all of its requests");
    let (of_a, of_b) = (servers.at(A, |server| server.headers.clone()), servers.at(B, |server| server.headers.clone()));
    assert!(of_a.len() >= 3 && of_b.len() >= 2);
    for headers in of_a {
        assert_eq!(
            (&headers["x-api-key"], &headers["authorization"]),
            (&"of-a".parse().unwrap(), &"Bearer token-of-a".parse().unwrap())
        );
        assert!(headers.contains_key("x-common") && !headers.contains_key("x-tenant"));
    }
    for headers in of_b {
        assert!(!headers.contains_key("x-api-key") && !headers.contains_key("authorization"));
        assert!(headers.contains_key("x-common") && headers.contains_key("x-tenant"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_cannot_be_fetched_is_the_fault_of_its_endpoint() {
    let servers = Servers::default();
    let a = Destination::new(A).auth(|| ready(Err::<Credential, _>(BoxError::from("the store is locked"))));
    let exporter = exporter(Failover::new([a, Destination::new(B)]), servers.client());
    emit(&exporter, 0..20);
    exporter.flush().await;
    assert_eq!((servers.requests(A), servers.at(B, |server| server.bodies.len())), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn a_client_of_each_endpoint_is_made_once() {
    let servers = Servers::default();
    let made = Arc::new(AtomicU32::new(0));
    let (counted, of_all) = (Arc::clone(&made), servers.clone());
    let address = |last: u8| std::net::SocketAddr::from(([192, 0, 2, last], 443));
    let at = move |last| Destination::new(A).address(address(last));
    let exporter = builder(Failover::new([at(1), at(2)]))
        .client_for(move |destination| {
            assert!(destination.pinned_address().is_some());
            counted.fetch_add(1, Relaxed);
            of_all.client()
        })
        .build()
        .unwrap();
    emit(&exporter, 0..5);
    exporter.flush().await;
    exporter.handle().set_endpoints(Failover::new([at(2), at(3)])).unwrap();
    emit(&exporter, 5..10);
    exporter.flush().await;
    sleep(ms(10)).await;
    assert_eq!((made.load(Relaxed), servers.at(A, |server| server.bodies.len())), (3, 10));
    let names: Vec<String> = exporter.handle().endpoints().iter().map(|status| status.name.to_string()).collect();
    assert_eq!(names, [format!("{A} at 192.0.2.2:443"), format!("{A} at 192.0.2.3:443")]);
}
