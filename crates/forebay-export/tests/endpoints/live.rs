//! Endpoints that change while the exporter runs.

use crate::servers::{A, B, C, Mode, Servers, emit, exporter, ms};
use forebay_export::{Balance, Destination, EndpointStatus, Failover, State};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_at_a_removed_endpoint_ends_there_or_goes_on_elsewhere() {
    for (mode, at_a) in [(Mode::Up, 5), (Mode::Status(503), 0)] {
        let servers = Servers::default();
        servers.at(A, |server| (server.latency, server.mode) = (ms(500), mode));
        let exporter = exporter(Failover::new([Destination::new(A).max_in_flight(8)]), servers.client());
        emit(&exporter, 0..5);
        sleep(ms(100)).await;
        exporter.handle().set_endpoints(Failover::new([B])).unwrap();
        emit(&exporter, 5..10);
        exporter.flush().await;
        assert_eq!(servers.requests(A), 5);
        assert_eq!(servers.at(A, |server| server.bodies.len()), at_a, "{mode:?}");
        assert_eq!(servers.at(B, |server| server.bodies.len()), 10 - at_a, "{mode:?}");
        assert_eq!(exporter.totals().delivered, 100);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_stays_keeps_what_is_known_of_it() {
    let servers = Servers::default();
    servers.turn(A, Mode::Throttles(30));
    servers.turn(B, Mode::Refuses);
    let exporter = exporter(Failover::new([A, B, C]), servers.client());
    for batch in 0..10 {
        emit(&exporter, batch..batch + 1);
        exporter.flush().await;
    }
    let before = exporter.handle().endpoints();
    let throttled = Destination::new(A).header("x-new", "1");
    exporter.handle().set_endpoints(Balance::new([throttled, Destination::new(B), Destination::new(C)])).unwrap();
    let after = exporter.handle().endpoints();
    assert!(after[0].away_for.unwrap() > ms(25_000), "{:?}", after[0]);
    for (before, after) in before.iter().zip(&after) {
        let known = |status: &EndpointStatus| (status.requests, status.failures, status.opens);
        assert_eq!(known(before), known(after));
        assert_eq!((before.circuit, before.limit), (after.circuit, after.limit));
    }
    servers.clear(A);
    emit(&exporter, 10..20);
    exporter.flush().await;
    assert_eq!((servers.requests(A), exporter.totals().delivered), (0, 200));

    exporter.handle().set_endpoints(Failover::new([C])).unwrap();
    exporter.handle().set_endpoints(Failover::new([A, C])).unwrap();
    let [a, _] = &exporter.handle().endpoints()[..] else { panic!("two") };
    assert_eq!((a.requests, a.circuit, a.away_for), (0, State::Closed, None), "it was away: nothing is known of it");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_waits_for_room_finds_a_new_endpoint() {
    let servers = Servers::default();
    servers.at(A, |server| server.latency = ms(5000));
    let one = || Destination::new(A).max_in_flight(1);
    let exporter = exporter(Balance::new([one()]), servers.client());
    emit(&exporter, 0..3);
    sleep(ms(100)).await;
    assert_eq!(servers.requests(A), 1);
    exporter.handle().set_endpoints(Balance::new([one(), Destination::new(B).max_in_flight(9)])).unwrap();
    sleep(ms(50)).await;
    assert_eq!(servers.at(B, |server| server.bodies.len()), 2, "it does not wait for the first to end");
}
