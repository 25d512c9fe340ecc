//! The two sinks that are built in.

use crate::support::{
    Kind, Sender, Temp, assert_books, batches, config, letters, logs, metrics, span, traces, with_event,
};
use forebay::otlp::Signal;
use forebay_examples::gateway::{
    Config, Gateway,
    sink::{Database, forward, sqlite},
};
use forebay_testkit::receiver::{Faults, Receiver};
use prost::Message;
use std::{num::NonZeroUsize, time::Duration};

fn number(database: &Database, sql: &str) -> i64 {
    database.number(sql).unwrap().unwrap()
}

#[tokio::test]
async fn sqlite_stores_all_three_signals() {
    let temp = Temp::new("sqlite");
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    let gateway = Gateway::start(config(), sqlite(&database)).await.unwrap();
    let sender = Sender::to(&gateway);
    let two = traces(vec![with_event(span(Kind::Failed, 1)), span(Kind::Slow, 2)]).encode_to_vec();
    sender.post(Signal::Traces, &[("x-tenant-id", "shop")], two).await;
    sender.post(Signal::Logs, &[], logs(&["first", "second"], 17).encode_to_vec()).await;
    sender.post(Signal::Metrics, &[], metrics(&[1.5, 2.5]).encode_to_vec()).await;
    gateway.flush().await;
    assert_eq!(number(&database, "SELECT count(*) FROM traces WHERE tenant = 'shop'"), 2);
    assert_eq!(number(&database, "SELECT count(*) FROM spans JOIN traces USING (tenant, trace_id)"), 2);
    assert_eq!(number(&database, "SELECT count(*) FROM spans WHERE status = 2 AND name = 'span 1'"), 1);
    assert_eq!(number(&database, "SELECT count(*) FROM logs WHERE body = 'exception' AND length(span_id) = 8"), 1);
    assert_eq!(number(&database, "SELECT count(*) FROM logs WHERE severity = 17 AND body IN ('first', 'second')"), 2);
    assert_eq!(number(&database, "SELECT CAST(10 * sum(value) AS INTEGER) FROM points WHERE name = 'temperature'"), 40);
    assert_books(&gateway);
}

#[tokio::test]
async fn a_batch_that_fails_half_way_leaves_nothing_and_is_whole_after_its_replay() {
    // A trace that fails, a span that fails after its trace, a log that fails after both.
    for (table, column) in [("traces", "tenant"), ("spans", "name"), ("logs", "body")] {
        let temp = Temp::new(&format!("half-{table}"));
        let database = Database::open(&temp.path().join("t.db")).unwrap();
        let poison = match table {
            "traces" => "'shop'",
            "spans" => "'span 2'",
            _ => "'exception'",
        };
        let fail = format!(
            "CREATE TRIGGER poison BEFORE INSERT ON {table} WHEN NEW.{column} = {poison}
             BEGIN SELECT RAISE(ABORT, 'the disk is full'); END;"
        );
        database.execute(&fail).unwrap();
        let config = Config { dead_letters: Some(letters(&temp)), ..config() };
        let gateway = Gateway::start(config, sqlite(&database)).await.unwrap();
        let sender = Sender::to(&gateway);
        let body = traces(vec![with_event(span(Kind::Healthy, 1)), span(Kind::Healthy, 2)]).encode_to_vec();
        assert!(sender.post(Signal::Traces, &[("x-tenant-id", "shop")], body).await.is_taken());
        gateway.flush().await;
        for table in ["traces", "spans", "logs"] {
            assert_eq!(number(&database, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
        }
        assert_eq!(batches(&gateway)[0].spooled, 1);

        database.execute("DROP TRIGGER poison").unwrap();
        assert_eq!(gateway.replay().await.replayed, 1);
        let rows = ["traces", "spans", "logs"].map(|table| number(&database, &format!("SELECT count(*) FROM {table}")));
        assert_eq!(rows, [2, 2, 1]);
        assert_books(&gateway);
    }
}

#[tokio::test]
async fn what_comes_twice_is_stored_once() {
    let temp = Temp::new("twice");
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    let gateway = Gateway::start(config(), sqlite(&database)).await.unwrap();
    let sender = Sender::to(&gateway);
    for _ in 0..3 {
        let body = traces(vec![with_event(span(Kind::Healthy, 1))]).encode_to_vec();
        sender.post(Signal::Traces, &[], body).await;
    }
    gateway.flush().await;
    let rows = ["traces", "spans", "logs"].map(|table| number(&database, &format!("SELECT count(*) FROM {table}")));
    assert_eq!(rows, [1, 1, 1]);
}

#[tokio::test]
async fn everything_is_forwarded_once_through_a_receiver_that_fails_often() {
    let faults = Faults::parse("503:30,429=0:10").unwrap();
    let receiver = Receiver::builder().faults(faults).seed(7).start().await.unwrap();
    let workers = NonZeroUsize::new(8).unwrap();
    let (sink, rejected) = forward(&receiver.endpoint(), workers, Duration::from_secs(20)).unwrap();
    let gateway = Gateway::start(Config { workers, ..config() }, sink).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..50 {
        let text = format!("line {n}");
        assert!(sender.post(Signal::Logs, &[], logs(&[&text], 9).encode_to_vec()).await.is_taken());
        assert!(sender.send(Kind::Healthy, n).await.is_taken());
    }
    assert!(sender.post(Signal::Metrics, &[], metrics(&[1.0, 2.0]).encode_to_vec()).await.is_taken());
    gateway.flush().await;
    assert_eq!(batches(&gateway).map(|totals| totals.delivered), [50, 50, 1]);
    let mut bodies: Vec<_> = (0..50).map(|n| format!("line {n}")).collect();
    bodies.sort();
    let audit = receiver.audit(&bodies);
    assert_eq!((audit.missing, audit.duplicated, audit.foreign), (0, 0, 0), "{audit:?}");
    assert_eq!(receiver.spans().len(), 50);
    assert_eq!(rejected.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_books(&gateway);
    gateway.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_away_costs_nothing() {
    let temp = Temp::new("away");
    // Nobody listens there.
    let (sink, _) = forward("http://127.0.0.1:9", NonZeroUsize::MIN, Duration::from_millis(50)).unwrap();
    let config = Config { dead_letters: Some(letters(&temp)), ..config() };
    let gateway = Gateway::start(config, sink).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..3 {
        assert!(sender.send(Kind::Failed, n).await.is_taken());
    }
    gateway.flush().await;
    assert_eq!(batches(&gateway)[0].spooled, 3);
    assert_books(&gateway);
}
