//! Retries, breaker and losses, as the drivers have them.

use crate::common::{Answer, Fake, advance, connect, telemetry};
use forebay_core::DropReason;
use forebay_databricks::{Connection, Settings, Severity};
use std::time::Duration;
use tokio::time::Instant;

fn csharp() -> Settings {
    Settings { enabled: true, ..Settings::csharp() }
}

async fn send(connection: &Connection) {
    connection.operation("CREATE_SESSION", Duration::from_millis(5));
    connection.flush().await;
}

async fn connected(fake: &Fake, settings: Settings) -> Connection {
    telemetry(fake, settings).0.connect(connect()).await
}

#[tokio::test(start_paused = true)]
async fn r01_r05_a_listed_status_is_tried_four_times_and_then_counted() {
    for (settings, status) in
        [(Settings::node(), 429), (Settings::node(), 500), (csharp(), 502), (csharp(), 503), (csharp(), 504)]
    {
        let fake = Fake::new();
        fake.otherwise(Answer::Status(status));
        let connection = connected(&fake, settings).await;
        send(&connection).await;
        assert_eq!(fake.seen().len(), 4, "{status}");
        assert_eq!(connection.report().unwrap().logs.dropped.total(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn r04_400_401_403_404_are_tried_once() {
    for settings in [Settings::node(), csharp()] {
        for status in [400, 401, 403, 404] {
            let fake = Fake::new();
            fake.otherwise(Answer::Status(status));
            let connection = connected(&fake, settings.clone()).await;
            send(&connection).await;
            assert_eq!(fake.seen().len(), 1, "{status}");
            assert_eq!(connection.report().unwrap().logs.dropped.get(DropReason::Rejected), 1, "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r06_what_is_not_listed_is_tried_once_by_node_and_again_by_csharp() {
    for status in [408, 409, 413, 418, 501] {
        for (settings, attempts) in [(Settings::node(), 1), (csharp(), 4)] {
            let fake = Fake::new();
            fake.otherwise(Answer::Status(status));
            let connection = connected(&fake, settings).await;
            send(&connection).await;
            // What is too large is refused for what is in it, whoever asks.
            if status != 413 {
                assert_eq!(fake.seen().len(), attempts, "{status}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r07_a_host_that_does_not_exist_is_tried_once_by_node() {
    let missing = "failed to lookup address information: Name or service not known";
    let busy = "failed to lookup address information: Temporary failure in name resolution";
    for (text, attempts) in [(missing, 1), (busy, 4)] {
        let fake = Fake::new();
        fake.otherwise(Answer::Error(text));
        let connection = connected(&fake, Settings::node()).await;
        send(&connection).await;
        assert_eq!(fake.seen().len(), attempts, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn r03_the_delays_are_those_of_the_driver() {
    for _ in 0..20 {
        let fake = Fake::new();
        fake.otherwise(Answer::Status(503));
        let connection = connected(&fake, Settings::node()).await;
        let start = Instant::now();
        send(&connection).await;
        // 100-200, 200-300 and 400-500 ms.
        let took = start.elapsed();
        assert!((700..=1_010).contains(&took.as_millis()), "{took:?}");
    }
    // The fifth delay and the sixth are at the cap of a second, the jitter included.
    let fake = Fake::new();
    fake.otherwise(Answer::Status(503));
    let connection = connected(&fake, Settings { max_retries: 6, ..Settings::node() }).await;
    let start = Instant::now();
    send(&connection).await;
    assert!((3_300..=3_910).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    let fake = Fake::new();
    fake.otherwise(Answer::Status(503));
    let connection = connected(&fake, csharp()).await;
    let start = Instant::now();
    send(&connection).await;
    assert!((300..=310).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn r03_the_jitter_of_node_is_anything_from_nothing_to_a_hundred_milliseconds() {
    let fake = Fake::new();
    fake.otherwise(Answer::Status(503));
    let settings = Settings { max_retries: 1, breaker_enabled: false, ..Settings::node() };
    let connection = connected(&fake, settings).await;
    let mut jitters = Vec::new();
    for _ in 0..400 {
        let start = Instant::now();
        send(&connection).await;
        jitters.push(start.elapsed().as_millis().checked_sub(100).expect("not before the delay itself"));
    }
    // The timer has whole milliseconds. Each of the five parts of the range has its share, 80 of 400 on average.
    assert!(jitters.iter().all(|jitter| *jitter <= 101), "{:?}", jitters.iter().max());
    for fifth in 0..5 {
        let share = jitters.iter().filter(|jitter| **jitter / 20 == fifth).count();
        assert!((30..=140).contains(&share), "{share} of 400 from {} ms on", fifth * 20);
    }
}

#[tokio::test(start_paused = true)]
async fn r02_no_retries_are_one_attempt() {
    let fake = Fake::new();
    fake.otherwise(Answer::Status(503));
    let connection = connected(&fake, Settings { max_retries: 0, ..Settings::node() }).await;
    send(&connection).await;
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn r12_the_hint_of_the_service_is_obeyed() {
    let fake = Fake::new();
    fake.script([Answer::RetryAfter(7)]);
    let connection = connected(&fake, Settings::node()).await;
    let start = Instant::now();
    send(&connection).await;
    assert!(start.elapsed() >= Duration::from_secs(7));
    assert_eq!(connection.report().unwrap().logs.delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn b01_b03_b05_five_exports_open_the_circuit_and_two_close_it() {
    let fake = Fake::new();
    fake.otherwise(Answer::Status(503));
    let connection = connected(&fake, Settings::node()).await;
    for _ in 0..5 {
        send(&connection).await;
    }
    assert_eq!(fake.seen().len(), 20, "one export with all its retries is one observation");
    send(&connection).await;
    assert_eq!(fake.seen().len(), 20, "rejected without a request");
    let report = connection.report().unwrap();
    assert_eq!((report.counters.breaker_opens, report.logs.dropped.get(DropReason::CircuitOpen)), (1, 1));
    // 60 seconds and a little: its jitter spreads a fleet.
    advance(Duration::from_secs(90)).await;
    fake.otherwise(Answer::Status(200));
    send(&connection).await;
    send(&connection).await;
    fake.otherwise(Answer::Status(400));
    send(&connection).await;
    fake.otherwise(Answer::Status(200));
    send(&connection).await;
    assert_eq!(connection.report().unwrap().logs.delivered, 3, "closed, so that one failure does not open it");
}

#[tokio::test(start_paused = true)]
async fn b09_timeouts_count_and_are_retried() {
    // Three exports of 40 seconds each. The C# driver's failures have to be within 30 seconds, so these never open its
    // circuit; Node's have to come one after the other, and two of them do.
    for (settings, requests, opens) in [(Settings::node(), 8, 1), (csharp(), 12, 0)] {
        let fake = Fake::new();
        fake.otherwise(Answer::Hang);
        let connection = connected(&fake, Settings { breaker_threshold: 2, ..settings }).await;
        let start = Instant::now();
        send(&connection).await;
        assert_eq!(fake.seen().len(), 4, "a black hole is tried again");
        // Ten seconds for each attempt, and a second at most before each retry.
        assert!((40_000..=43_010).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        send(&connection).await;
        send(&connection).await;
        let report = connection.report().unwrap();
        assert_eq!((fake.seen().len(), report.counters.breaker_opens), (requests, opens));
        assert_eq!(report.logs.dropped.get(DropReason::CircuitOpen), opens);
        assert_eq!((report.logs.delivered, report.logs.dropped.total()), (0, 3), "never reported as success");
    }
}

#[tokio::test(start_paused = true)]
async fn b09_a_black_hole_opens_the_circuit_of_both() {
    for settings in [Settings::node(), csharp()] {
        let fake = Fake::new();
        fake.otherwise(Answer::Hang);
        let settings =
            Settings { max_retries: 0, attempt_timeout: Duration::from_secs(1), breaker_threshold: 3, ..settings };
        let connection = connected(&fake, settings).await;
        for _ in 0..4 {
            send(&connection).await;
        }
        assert_eq!((fake.seen().len(), connection.report().unwrap().counters.breaker_opens), (3, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn b14_csharp_does_not_trip_on_failures_with_one_success_among_them() {
    let fake = Fake::new();
    // More failures in a row than the threshold, with one success before them in the window of 30 seconds.
    fake.script([500, 500, 200, 500, 500, 500, 500, 500, 500].map(Answer::Status));
    let connection = connected(&fake, Settings { max_retries: 0, ..csharp() }).await;
    for _ in 0..9 {
        send(&connection).await;
    }
    assert_eq!((fake.seen().len(), connection.report().unwrap().counters.breaker_opens), (9, 0));
    // The success leaves the window; five failures in it open the circuit.
    advance(Duration::from_secs(45)).await;
    fake.otherwise(Answer::Status(500));
    for _ in 0..6 {
        send(&connection).await;
    }
    assert_eq!((fake.seen().len(), connection.report().unwrap().counters.breaker_opens), (14, 1));
}

#[tokio::test(start_paused = true)]
async fn b05_two_successes_close_the_circuit_of_node_and_one_that_of_csharp() {
    for (settings, needed) in [(Settings::node(), 2), (csharp(), 1)] {
        for successes in 0..=needed {
            let fake = Fake::new();
            fake.otherwise(Answer::Status(503));
            let connection = connected(&fake, Settings { max_retries: 0, ..settings.clone() }).await;
            for _ in 0..6 {
                send(&connection).await;
            }
            assert_eq!(fake.seen().len(), 5, "open");
            advance(Duration::from_secs(90)).await;
            fake.otherwise(Answer::Status(200));
            for _ in 0..successes {
                send(&connection).await;
            }
            // One failure: of a circuit that is half-open it is the end, of one that is closed it is the first.
            fake.otherwise(Answer::Status(503));
            send(&connection).await;
            let before = fake.seen().len();
            send(&connection).await;
            let went_through = fake.seen().len() - before;
            assert_eq!(went_through, usize::from(successes == needed), "{successes} of {needed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_does_not_hold_up_another() {
    let fake = Fake::new();
    fake.down("down.example");
    let (telemetry, heard) = telemetry(&fake, Settings { max_retries: 0, ..Settings::node() });
    let connect = |host: &str| telemetry.connect(forebay_databricks::Connect::new(host));
    let (down, up) = (connect("down.example").await, connect("up.example").await);
    for _ in 0..10 {
        send(&down).await;
        send(&up).await;
    }
    let (down, up) = (down.report().unwrap(), up.report().unwrap());
    assert_eq!((down.counters.breaker_opens, down.logs.delivered, down.logs.dropped.total()), (1, 0, 10));
    assert_eq!((up.counters.breaker_opens, up.logs.delivered, up.logs.dropped.total()), (0, 10, 0));
    // Every notice about it names the host.
    let failures = "https://down.example:443: the export of 1 items failed";
    let opened = "https://down.example:443: the circuit was closed and is open: 5 calls failed in a row";
    assert_eq!((heard.matching(failures), heard.matching(opened)), (10, 1), "{:?}", heard.all());
    assert_eq!((heard.matching("up.example"), heard.all().len()), (0, 11));
}

#[tokio::test(start_paused = true)]
async fn b16_the_knobs_reach_the_breaker() {
    let fake = Fake::new();
    fake.otherwise(Answer::Status(503));
    let short = Settings {
        breaker_threshold: 1,
        breaker_timeout: Duration::from_secs(600),
        max_retries: 0,
        ..Settings::node()
    };
    let connection = connected(&fake, short.clone()).await;
    send(&connection).await;
    advance(Duration::from_secs(500)).await;
    send(&connection).await;
    assert_eq!(fake.seen().len(), 1);
    let fake = Fake::new();
    fake.otherwise(Answer::Status(503));
    let connection = connected(&fake, Settings { breaker_enabled: false, ..short }).await;
    for _ in 0..10 {
        send(&connection).await;
    }
    assert_eq!(fake.seen().len(), 10, "switched off");
}

#[tokio::test(start_paused = true)]
async fn t11_a_failed_batch_is_dropped_or_waits_bounded_and_without_duplicates() {
    // As the drivers: dropped.
    let fake = Fake::new();
    fake.script([503; 4].map(Answer::Status));
    let connection = connected(&fake, Settings::node()).await;
    send(&connection).await;
    advance(Duration::from_secs(600)).await;
    assert_eq!(fake.seen().len(), 4);
    assert_eq!(connection.report().unwrap().logs.dropped.total(), 1);

    // With patience: the same batch comes again, once, when the service is back.
    let fake = Fake::new();
    fake.script([503; 6].map(Answer::Status));
    let patient = Settings { max_age: Duration::from_secs(300), ..Settings::node() };
    let connection = connected(&fake, patient.clone()).await;
    send(&connection).await;
    let report = connection.report().unwrap();
    assert_eq!((report.logs.delivered, report.logs.dropped.total()), (1, 0));
    let seen = fake.seen();
    assert!(seen.len() == 7 && seen.iter().all(|request| request.logs() == seen[0].logs()));

    // Not for ever.
    let fake = Fake::new();
    fake.otherwise(Answer::Status(503));
    let connection = connected(&fake, patient).await;
    let start = Instant::now();
    send(&connection).await;
    let report = connection.report().unwrap();
    assert_eq!(report.logs.dropped.get(DropReason::Expired), 1, "{}", report.logs);
    assert!((300..=420).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn t12_every_loss_is_counted_by_its_reason() {
    let fake = Fake::new();
    fake.otherwise(Answer::Status(503));
    let settings =
        Settings { max_pending: 50, batch_size: 10, max_errors: 2, breaker_threshold: 1, ..Settings::node() };
    let connection = connected(&fake, settings).await;
    // Beyond its errors, a statement loses the oldest.
    let statement = connection.statement("a");
    for _ in 0..5 {
        statement.error_with_trace("E", "x", Severity::Retryable);
    }
    statement.completed(Duration::ZERO);
    // Beyond its room, the exporter drops the oldest that tells of no error.
    (0..100).for_each(|_| connection.operation("x", Duration::ZERO));
    connection.flush().await;
    // The circuit is open.
    send(&connection).await;
    let report = connection.report().unwrap();
    assert_eq!(report.events.dropped.get(DropReason::Evicted), 3);
    assert!(report.logs.dropped.get(DropReason::Evicted) >= 50, "{}", report.logs);
    assert!(report.logs.dropped.get(DropReason::CircuitOpen) >= 1, "{}", report.logs);
    assert!(report.events.balance() && report.logs.balance());
    assert_eq!((report.logs.pending, report.logs.offered), (0, 2 + 1 + 100 + 1));
}

#[tokio::test(start_paused = true)]
async fn q16_errors_survive_where_others_make_room() {
    let fake = Fake::new();
    fake.script([Answer::Hang]);
    let settings = Settings { max_pending: 60, batch_size: 10, max_retries: 0, ..Settings::node() };
    let connection = connected(&fake, settings).await;
    // The first batch is under way, and stays there.
    (0..10).for_each(|_| connection.operation("x", Duration::ZERO));
    advance(Duration::from_millis(1)).await;
    for n in 0..40 {
        connection.error_with_trace(format!("E{n}"), "x", Severity::Retryable);
        (0..20).for_each(|_| connection.operation("x", Duration::ZERO));
    }
    connection.flush().await;
    let errors = fake.logs().iter().filter(|log| !log["entry"]["sql_driver_log"]["error_info"].is_null()).count();
    assert_eq!(errors, 40);
    assert!(connection.report().unwrap().logs.balance());
}

#[tokio::test(start_paused = true)]
async fn t01_t02_t06_a_batch_leaves_when_it_is_full_or_after_five_seconds() {
    let fake = Fake::new();
    let connection = connected(&fake, Settings::node()).await;
    (0..250).for_each(|_| connection.operation("x", Duration::ZERO));
    advance(Duration::from_millis(10)).await;
    let sizes = |fake: &Fake| fake.seen().iter().map(|request| request.logs().len()).collect::<Vec<_>>();
    assert_eq!(sizes(&fake), [100, 100]);
    advance(Duration::from_millis(4_900)).await;
    assert_eq!(sizes(&fake), [100, 100]);
    advance(Duration::from_millis(200)).await;
    assert_eq!(sizes(&fake), [100, 100, 50]);
    advance(Duration::from_secs(600)).await;
    assert_eq!(fake.seen().len(), 3, "nothing is sent when there is nothing");
}

#[tokio::test(start_paused = true)]
async fn t05_one_batch_is_under_way_at_a_time() {
    let fake = Fake::new();
    fake.script([Answer::Hang]);
    let connection = connected(&fake, Settings::node()).await;
    (0..250).for_each(|_| connection.operation("x", Duration::ZERO));
    advance(Duration::from_secs(9)).await;
    assert_eq!(fake.seen().len(), 1, "the first one hangs");
    // Its attempt times out, and its retry is taken; then the others go.
    connection.flush().await;
    assert_eq!(fake.seen().len(), 4);
    assert_eq!(connection.report().unwrap().logs.delivered, 250);
}

#[tokio::test(start_paused = true)]
async fn t07_a_terminal_error_leaves_at_once_and_a_retryable_one_with_its_statement() {
    let fake = Fake::new();
    let connection = connected(&fake, Settings::node()).await;
    let statement = connection.statement("a");
    statement.started(None, None, false);
    statement.error_with_trace("Timeout", "x", Severity::Retryable);
    advance(Duration::from_secs(60)).await;
    assert!(fake.seen().is_empty(), "it waits");
    statement.error_with_trace("PermissionDenied", "x", Severity::Terminal);
    advance(Duration::from_millis(1)).await;
    let names: Vec<_> =
        fake.logs().iter().map(|log| log["entry"]["sql_driver_log"]["error_info"]["error_name"].to_string()).collect();
    assert!(names.contains(&"\"PermissionDenied\"".to_owned()), "{names:?}");
    connection.flush().await;
    assert_eq!(fake.logs().len(), 3, "both errors, and the statement");
    // Of no statement at all: not lost either.
    connection.error_with_trace("NoStatement", "x", Severity::Retryable);
    connection.flush().await;
    assert_eq!(fake.logs().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn csharp_keeps_errors_that_passed_to_itself() {
    for (settings, errors) in [(Settings::node(), 1), (csharp(), 0)] {
        let fake = Fake::new();
        let connection = connected(&fake, settings).await;
        let statement = connection.statement("a");
        statement.error_with_trace("Timeout", "x", Severity::Retryable);
        statement.completed(Duration::ZERO);
        connection.flush().await;
        assert_eq!(fake.logs().len(), errors + 1);
        let report = connection.report().unwrap();
        assert_eq!(report.events.dropped.get(DropReason::Filtered), u64::from(errors == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn statements_are_bounded_by_time_and_number() {
    let fake = Fake::new();
    let settings = Settings { max_statements: 2, statement_ttl: Duration::from_secs(60), ..Settings::node() };
    let connection = connected(&fake, settings).await;
    for id in ["a", "b", "c"] {
        let statement = connection.statement(id);
        statement.started(None, None, false);
        statement.error_with_trace("Timeout", "x", Severity::Retryable);
    }
    connection.flush().await;
    let ids = |fake: &Fake| {
        let driver = |log: &serde_json::Value| log["entry"]["sql_driver_log"].clone();
        let of = |driver: serde_json::Value| {
            (driver["sql_statement_id"].as_str().unwrap().to_owned(), !driver["error_info"].is_null())
        };
        fake.logs().iter().map(driver).map(of).collect::<Vec<_>>()
    };
    assert_eq!(
        ids(&fake),
        [("a".to_owned(), true), ("a".to_owned(), false)],
        "the oldest makes room, its errors first"
    );
    advance(Duration::from_secs(61)).await;
    connection.flush().await;
    assert_eq!((ids(&fake).len(), connection.report().unwrap().open_statements), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_costs_its_batch_only() {
    let fake = Fake::new();
    fake.script([Answer::Panic]);
    let connection = connected(&fake, Settings::node()).await;
    send(&connection).await;
    send(&connection).await;
    let logs = connection.report().unwrap().logs;
    assert_eq!((logs.delivered, logs.dropped.get(DropReason::Panicked)), (1, 1), "{logs}");
}
