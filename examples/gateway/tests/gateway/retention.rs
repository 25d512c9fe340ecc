//! How long, and how much, the database keeps.

use crate::support::{Kind, Temp, config, logs, metrics, span, traces, until, with_event};
use forebay::otlp::Signal;
use forebay_gateway::{
    Batch, BatchId, Facts, Gateway,
    sink::{Database, Retention, sqlite_with_retention},
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

fn batch(received: u64, signal: Signal, body: Vec<u8>) -> Batch {
    let facts = Facts { records: 1, ..Facts::default() };
    // The paths differ in length.
    let id = BatchId(u128::from(received) << 8 | signal.path().len() as u128);
    Batch { id, signal, tenant: "".into(), body: body.into(), facts, received }
}

fn count(database: &Database, table: &str) -> i64 {
    database.number(&format!("SELECT count(*) FROM {table}")).unwrap().unwrap()
}

#[test]
fn what_was_received_too_long_ago_goes_with_all_its_rows_and_nothing_else_does() {
    let temp = Temp::new("age");
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    for second in 0..10 {
        // Span 77 is one trace that is in each batch.
        let spans = vec![with_event(span(Kind::Healthy, second)), span(Kind::Healthy, 77)];
        let received = second * SECOND;
        database.store(&batch(received, Signal::Traces, traces(spans).encode_to_vec())).unwrap();
        database.store(&batch(received, Signal::Logs, logs(&["text"], 9).encode_to_vec())).unwrap();
        database.store(&batch(received, Signal::Metrics, metrics(&[1.0]).encode_to_vec())).unwrap();
    }
    let all = ["spans", "logs", "points", "traces", "batches"];
    assert_eq!(all.map(|table| count(&database, table)), [20, 20, 10, 11, 30]);
    let keep = Retention { age: Some(Duration::from_secs(4)), bytes: None };
    assert_eq!(database.retain(keep, 10 * SECOND).unwrap().batches, 18, "received at 0 to 5 seconds");
    assert_eq!(all.map(|table| count(&database, table)), [8, 8, 4, 5, 12]);
    let oldest = "SELECT min(CAST(substr(name, 6) AS INTEGER)) FROM spans WHERE name <> 'span 77'";
    assert_eq!(database.number(oldest).unwrap(), Some(6));
    assert_eq!(database.retain(keep, 10 * SECOND).unwrap().batches, 0);
    assert_eq!(database.retain(Retention::default(), u64::MAX).unwrap().batches, 0, "no bound keeps all");
}

#[test]
fn the_oldest_make_room_for_what_is_stored_and_the_file_stops_growing() {
    let temp = Temp::new("size");
    let path = temp.path().join("t.db");
    let database = Database::open(&path).unwrap();
    let most = 256 << 10;
    let keep = Retention { age: None, bytes: Some(most) };
    let used = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    let used = |database: &Database| u64::try_from(database.number(used).unwrap().unwrap()).unwrap();
    let mut largest = 0;
    for n in 0..400 {
        let wide = Span { name: format!("{n} {}", "x".repeat(4_000)), ..span(Kind::Healthy, n) };
        database.store(&batch(n + 1, Signal::Traces, traces(vec![wide]).encode_to_vec())).unwrap();
        if n % 20 == 19 {
            database.retain(keep, u64::MAX).unwrap();
            assert!(used(&database) <= most, "{}", used(&database));
            database.execute("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
            largest = largest.max(std::fs::metadata(&path).unwrap().len());
        }
    }
    assert!(largest < 2 * most, "{largest} bytes, for {most} and what comes between two rounds");
    let kept = count(&database, "spans");
    let newest = format!("SELECT count(*) FROM spans WHERE CAST(substr(name, 1, 3) AS INTEGER) >= {}", 400 - kept);
    assert_eq!(database.number(&newest).unwrap(), Some(kept), "the newest are there");
    assert!(kept > 20, "{kept}");
}

#[tokio::test]
async fn it_is_kept_to_by_itself_while_the_gateway_runs() {
    let temp = Temp::new("keeper");
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    database.store(&batch(1, Signal::Logs, logs(&["old"], 9).encode_to_vec())).unwrap();
    let keep = Retention { age: Some(Duration::from_secs(3600)), bytes: None };
    let gateway = Gateway::start(config(), sqlite_with_retention(&database, keep)).await.unwrap();
    until(|| count(&database, "logs") == 0).await;
    let page = crate::support::Sender::to(&gateway).get("/metrics").await.1;
    assert_eq!(crate::support::value(&page, "forebay_gateway_store_removed_batches_total"), Some(1.0));
    gateway.stop().await;
}
