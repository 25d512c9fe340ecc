//! What was acknowledged when senders wait for the sink: it survives a kill, a full disk and a broken folder, and what was not
//! taken is refused.

use crate::support::{Kind, Sender, Temp, assert_ledger, batches, config, on_a_disk_that_may_break, spool, value};
use forebay::core::{BoxError, DropReason};
use forebay_gateway::{
    Config, Gateway,
    sink::{Database, Sink, sqlite},
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// How many of the spans with these numbers are in the database.
fn stored(database: &Database, numbers: &BTreeSet<u64>) -> usize {
    let names: Vec<_> = numbers.iter().map(|n| format!("'span {n}'")).collect();
    let sql = format!("SELECT count(DISTINCT name) FROM spans WHERE name IN ({})", names.join(","));
    database.number(&sql).unwrap().unwrap().try_into().unwrap()
}

/// The numbers of the spans that were acknowledged, and of those that were refused.
type Responses = Arc<Mutex<(BTreeSet<u64>, BTreeSet<u64>)>>;

/// Eight senders, each of which sends `each` spans, one after the other.
async fn send(gateway: &Gateway, each: u64) -> Responses {
    let responses = Responses::default();
    let senders = (0..8_u64).map(|sender| {
        let (responses, to) = (Arc::clone(&responses), Sender::to(gateway));
        tokio::spawn(async move {
            for n in 0..each {
                let n = sender * 1000 + n;
                let reply = to.send(Kind::Healthy, n).await;
                let mut responses = responses.lock().unwrap();
                if reply.is_taken() {
                    responses.0.insert(n)
                } else {
                    responses.1.insert(n)
                };
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    responses
}

#[tokio::test]
async fn on_a_full_disk_what_is_acknowledged_is_in_the_database_or_a_dead_letter() {
    let temp = Temp::new("full-disk");
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    let pages = database.number("PRAGMA page_count").unwrap().unwrap();
    database.execute(&format!("PRAGMA max_page_count = {}", pages + 12)).unwrap();
    let config = Config { synchronous: true, spool: Some(spool(&temp)), ..config() };
    let gateway = Gateway::start(config, sqlite(&database)).await.unwrap();
    let responses = send(&gateway, 60).await;
    let (taken, refused) = responses.lock().unwrap().clone();
    let [totals, ..] = batches(&gateway);
    assert_eq!((taken.len(), refused.len()), (480, 0), "a dead letter is safe");
    assert!(totals.delivered > 0 && totals.spooled > 0, "the disk was full at some time: {totals}");
    assert_eq!((totals.delivered + totals.spooled, stored(&database, &taken) as u64), (480, totals.delivered));
    assert_ledger(&gateway);

    // With room again all of it is there.
    database.execute("PRAGMA max_page_count = 1000000").unwrap();
    while gateway.replay().await.replayed > 0 {}
    assert_eq!(stored(&database, &taken), 480);
    assert_eq!(batches(&gateway)[0].delivered, 480);
    assert_ledger(&gateway);
}

#[tokio::test]
async fn on_a_full_disk_without_dead_letters_each_sender_is_refused_whose_batch_is_not_stored() {
    let temp = Temp::new("full-alone");
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    let pages = database.number("PRAGMA page_count").unwrap().unwrap();
    database.execute(&format!("PRAGMA max_page_count = {}", pages + 12)).unwrap();
    let gateway = Gateway::start(Config { synchronous: true, ..config() }, sqlite(&database)).await.unwrap();
    let responses = send(&gateway, 60).await;
    let (taken, refused) = responses.lock().unwrap().clone();
    assert!(!taken.is_empty() && !refused.is_empty());
    assert_eq!((stored(&database, &taken), stored(&database, &refused)), (taken.len(), 0));
    let [totals, ..] = batches(&gateway);
    let lost = totals.dropped.get(DropReason::Failed);
    assert_eq!((totals.delivered, lost), (taken.len() as u64, refused.len() as u64));
    assert_ledger(&gateway);
}

#[tokio::test]
async fn with_an_unwritable_folder_what_is_acknowledged_is_stored_and_the_rest_is_refused() {
    let temp = Temp::new("unwritable");
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    let healthy = Arc::new(AtomicBool::new(true));
    let (store, works) = (sqlite(&database).service, Arc::clone(&healthy));
    let sink = Sink::of_fn(move |batch| {
        let (store, works) = (store.clone(), works.fetch_xor(true, Relaxed));
        async move {
            if works { tower::ServiceExt::oneshot(store, batch).await } else { Err(BoxError::from("the sink is away")) }
        }
    });
    let mut folder = spool(&temp);
    let broken = on_a_disk_that_may_break(&mut folder);
    let config = Config { synchronous: true, spool: Some(folder), ..config() };
    let gateway = Gateway::start(config, sink).await.unwrap();
    broken.store(true, Relaxed);
    let responses = send(&gateway, 20).await;
    let (taken, refused) = responses.lock().unwrap().clone();
    assert!(!taken.is_empty() && !refused.is_empty());
    assert_eq!((stored(&database, &taken), stored(&database, &refused)), (taken.len(), 0));
    let (_, page) = Sender::to(&gateway).get("/metrics").await;
    let lost = value(&page, "forebay_gateway_dlq_total{signal=\"traces\",result=\"enqueue_failed\"}").unwrap();
    assert!(lost >= 1.0 && batches(&gateway)[0].dropped.total() as f64 >= lost, "{lost}");
    assert_eq!(value(&page, "forebay_gateway_ready"), Some(0.0));
    assert_ledger(&gateway);

    broken.store(false, Relaxed);
    healthy.store(false, Relaxed);
    assert!(Sender::to(&gateway).send(Kind::Healthy, 1).await.is_taken(), "it recovers by itself");
}
