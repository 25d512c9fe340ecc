//! The two sinks that are built in.

use crate::support::{
    Kind, Sender, Temp, assert_ledger, batches, config, logs, metrics, span, spool, traces, with_event,
};
use forebay::otlp::Signal;
use forebay_gateway::{
    Config, Gateway,
    sink::{Database, Forward, forward, sqlite},
};
use forebay_testkit::receiver::{Faults, Receiver};
use prost::Message;
use std::{num::NonZeroUsize, time::Duration};

fn to(url: String, workers: NonZeroUsize, patience: Duration) -> Forward {
    Forward { url, workers, patience, trust: None }
}

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
    assert!(database.execute("DELETE FROM traces").is_err(), "no span is without its trace");
    assert_ledger(&gateway);
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
        let config = Config { spool: Some(spool(&temp)), ..config() };
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
        assert_ledger(&gateway);
    }
}

#[tokio::test]
async fn f09_spans_that_share_an_id_or_have_none_are_rows_of_their_own() {
    let temp = Temp::new("share");
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    let gateway = Gateway::start(config(), sqlite(&database)).await.unwrap();
    let sender = Sender::to(&gateway);
    let (client, server) = (with_event(span(Kind::Healthy, 1)), with_event(span(Kind::Slow, 1)));
    let bare = || opentelemetry_proto::tonic::trace::v1::Span::default();
    let body = traces(vec![client, server, bare(), bare()]).encode_to_vec();
    // Two requests with the same content are two requests: which of them a sender repeats is not known.
    for _ in 0..2 {
        assert!(sender.post(Signal::Traces, &[], body.clone()).await.is_taken());
    }
    gateway.flush().await;
    let rows = ["traces", "spans", "logs"].map(|table| number(&database, &format!("SELECT count(*) FROM {table}")));
    assert_eq!(rows, [2, 8, 4]);
    assert_eq!(gateway.summary().pages[0].records().delivered, 8);
}

#[test]
fn f09_a_replayed_batch_is_stored_once_and_an_older_database_keeps_its_spans() {
    let temp = Temp::new("again");
    let path = temp.path().join("t.db");
    let database = Database::open(&path).unwrap();
    let old = "DROP TABLE spans; DROP TABLE batches; CREATE TABLE spans (
        tenant TEXT NOT NULL, trace_id BLOB NOT NULL, span_id BLOB NOT NULL, parent_span_id BLOB,
        service TEXT NOT NULL, name TEXT NOT NULL, kind INTEGER NOT NULL, start_ns INTEGER NOT NULL,
        end_ns INTEGER NOT NULL, status INTEGER NOT NULL, status_message TEXT NOT NULL, attributes TEXT NOT NULL,
        PRIMARY KEY (tenant, trace_id, span_id), FOREIGN KEY (tenant, trace_id) REFERENCES traces (tenant, trace_id)
        ) WITHOUT ROWID;
        INSERT INTO traces VALUES ('', X'01', 1);
        INSERT INTO spans VALUES ('', X'01', X'01', NULL, '', 'old', 0, 0, 0, 0, '', '[]'),
        ('', X'01', X'02', NULL, '', 'old', 0, 0, 0, 0, '', '[]');";
    database.execute(old).unwrap();
    drop(database);
    for _ in 0..2 {
        let database = Database::open(&path).unwrap();
        assert_eq!(number(&database, "SELECT count(*) FROM spans WHERE name = 'old'"), 2);
    }
    let database = Database::open(&path).unwrap();
    let batch = forebay_gateway::Batch {
        id: forebay_gateway::BatchId(7),
        signal: Signal::Traces,
        tenant: "".into(),
        body: traces(vec![with_event(span(Kind::Healthy, 1)); 3]).encode_to_vec().into(),
        facts: forebay_gateway::Facts::default(),
        received: 1,
    };
    for _ in 0..3 {
        database.store(&batch).unwrap();
    }
    let rows = ["spans", "logs"].map(|table| number(&database, &format!("SELECT count(*) FROM {table}")));
    assert_eq!(rows, [5, 3]);
    // What an earlier version has stored is in the list too, from which the retention takes the oldest.
    let age = Some(Duration::from_nanos(1));
    assert_eq!(database.retain(forebay_gateway::sink::Retention { age, bytes: None }, 9).unwrap().batches, 2);
    assert_eq!(number(&database, "SELECT count(*) FROM spans"), 0);
}

#[tokio::test]
async fn a_batch_whose_worker_panicked_after_it_was_stored_is_stored_once() {
    let temp = Temp::new("after-commit");
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    let first = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let sink = sqlite(&database).map(|store| {
        tower::service_fn(move |batch| {
            let (store, panics) = (store.clone(), first.swap(false, std::sync::atomic::Ordering::Relaxed));
            async move {
                tower::ServiceExt::oneshot(store, batch).await?;
                assert!(!panics, "after the commit");
                Ok::<_, forebay::core::BoxError>(())
            }
        })
    });
    let config = Config { spool: Some(spool(&temp)), ..config() };
    let gateway = Gateway::start(config, sink).await.unwrap();
    let body = traces(vec![with_event(span(Kind::Healthy, 1)), span(Kind::Healthy, 2)]).encode_to_vec();
    assert!(Sender::to(&gateway).post(Signal::Traces, &[], body).await.is_taken());
    gateway.flush().await;
    let rows = || ["traces", "spans", "logs"].map(|table| number(&database, &format!("SELECT count(*) FROM {table}")));
    assert_eq!((rows(), batches(&gateway)[0].spooled), ([2, 2, 1], 1), "it is stored, and counts as failed");
    assert_eq!(gateway.replay().await.replayed, 1);
    assert_eq!((rows(), batches(&gateway)[0].delivered), ([2, 2, 1], 1));
    assert_ledger(&gateway);
}

#[tokio::test]
async fn everything_is_forwarded_once_through_a_receiver_that_fails_often() {
    let faults = Faults::parse("503:30,429=0:10").unwrap();
    let receiver = Receiver::builder().faults(faults).seed(7).start().await.unwrap();
    let workers = NonZeroUsize::new(8).unwrap();
    let (sink, rejected) = forward(to(receiver.endpoint(), workers, Duration::from_secs(20))).unwrap();
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
    assert_ledger(&gateway);
    gateway.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_away_costs_nothing() {
    let temp = Temp::new("away");
    // No server listens there.
    let url = "http://127.0.0.1:9".to_owned();
    let (sink, _) = forward(to(url, NonZeroUsize::MIN, Duration::from_millis(50))).unwrap();
    let config = Config { spool: Some(spool(&temp)), ..config() };
    let gateway = Gateway::start(config, sink).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..3 {
        assert!(sender.send(Kind::Failed, n).await.is_taken());
    }
    gateway.flush().await;
    assert_eq!(batches(&gateway)[0].spooled, 3);
    assert_ledger(&gateway);
}

/// Batches that come together while another writer holds the file, and what became of each.
async fn store_together(temp: &Temp, poison: Option<(u64, &str)>) -> (Vec<bool>, Database, f64) {
    let path = temp.path().join("t.db");
    let (database, other) = (Database::open(&path).unwrap(), Database::open(&path).unwrap());
    if let Some((n, raise)) = poison {
        let trigger = format!(
            "CREATE TRIGGER poison BEFORE INSERT ON spans WHEN NEW.name = 'span {n}'
             BEGIN SELECT RAISE({raise}, 'no'); END;"
        );
        database.execute(&trigger).unwrap();
    }
    let sink = sqlite(&database);
    let service = sink.service.clone();
    let gateway = Gateway::start(config(), sink).await.unwrap();
    other.execute("BEGIN IMMEDIATE").unwrap();
    let stored = (0..8).map(|n| {
        let batch = forebay_gateway::Batch {
            id: forebay_gateway::BatchId(n.into()),
            signal: Signal::Traces,
            tenant: "".into(),
            body: traces(vec![span(Kind::Healthy, n)]).encode_to_vec().into(),
            facts: forebay_gateway::Facts::default(),
            received: n,
        };
        tower::ServiceExt::oneshot(service.clone(), batch)
    });
    let (stored, ()) = futures_util::future::join(
        futures_util::future::join_all(stored),
        // All of them are in the line once each was polled.
        async { other.execute("COMMIT").unwrap() },
    )
    .await;
    let (_, page) = Sender::to(&gateway).get("/metrics").await;
    let transactions = crate::support::value(&page, "forebay_gateway_store_transactions_total").unwrap();
    (stored.iter().map(Result::is_ok).collect(), database, transactions)
}

#[tokio::test]
async fn batches_that_wait_at_a_time_share_a_transaction() {
    let temp = Temp::new("group");
    let (stored, database, transactions) = store_together(&temp, None).await;
    assert_eq!(stored, [true; 8]);
    assert_eq!(number(&database, "SELECT count(*) FROM spans"), 8);
    assert!(transactions <= 2.0, "the first may have gone alone: {transactions}");
}

#[tokio::test]
async fn a_batch_that_fails_takes_no_other_one_of_its_transaction_with_it() {
    let temp = Temp::new("group-poison");
    let (stored, database, transactions) = store_together(&temp, Some((3, "ABORT"))).await;
    assert_eq!(stored, [true, true, true, false, true, true, true, true]);
    assert_eq!(number(&database, "SELECT count(*) FROM spans"), 7);
    assert_eq!(number(&database, "SELECT count(*) FROM spans WHERE name = 'span 3'"), 0);
    assert_eq!(number(&database, "SELECT count(*) FROM traces"), 7, "its trace went with it");
    assert!(transactions <= 2.0, "{transactions}");
}

/// SQLite undoes a whole transaction by itself for some errors, of the disk among them.
#[tokio::test]
async fn batches_whose_transaction_sqlite_has_undone_are_stored_each_by_itself() {
    let temp = Temp::new("group-undone");
    let (stored, database, _) = store_together(&temp, Some((3, "ROLLBACK"))).await;
    assert_eq!(stored, [true, true, true, false, true, true, true, true]);
    let names = "SELECT count(*) FROM spans WHERE name <> 'span 3'";
    assert_eq!((number(&database, names), number(&database, "SELECT count(*) FROM traces")), (7, 7));
}
