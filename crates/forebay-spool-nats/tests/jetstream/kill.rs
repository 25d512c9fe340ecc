//! The server is killed in the middle of a run, and started again: what was acknowledged arrives.

use crate::nats::Nats;
use bytes::{Bytes, BytesMut};
use forebay_export::{Batching, BoxError, Encode, Exporter, Skipped};
use forebay_spool::{Codec, ExporterSpool, replay::ReplayPolicy};
use forebay_spool_nats::{Group, JetStreamSpool, NewRecord, Spool, Want};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::service_fn;

const WRITERS: usize = 8;
const GROUPS: usize = 60;
const GROUP: usize = 20;
const KILLS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_arrives_although_the_server_is_killed() {
    let mut nats = Nats::start().await;
    let spool = nats.builder().await.lease_for(Duration::from_secs(2)).timeout(Duration::from_secs(2)).open();
    let spool = spool.await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read(spool.clone(), Arc::clone(&done)));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(spool.clone(), writer));
    }
    for _ in 0..KILLS {
        sleep(Duration::from_millis(400)).await;
        nats.kill();
        sleep(Duration::from_millis(200)).await;
        nats.start_again().await;
    }
    let mut refused = 0;
    let mut acknowledged = Vec::new();
    while let Some(writer) = writers.join_next().await {
        let (of_one, refused_of_one) = writer.unwrap();
        acknowledged.extend(of_one);
        refused += refused_of_one;
    }
    done.store(true, Relaxed);
    let arrived = reader.await.unwrap();
    let missing: Vec<_> = acknowledged.iter().filter(|payload| !arrived.contains_key(*payload)).collect();
    let again: usize = arrived.values().map(|times| times - 1).sum();
    let (kept, seen) = (acknowledged.len(), arrived.len());
    println!("{kept} acknowledged, {refused} refused, {seen} arrived, {again} of them again; {KILLS} kills");
    assert!(
        missing.is_empty(),
        "{} acknowledged records are missing: {:?}",
        missing.len(),
        &missing[..missing.len().min(5)]
    );
    // A group that was refused may have been stored all the same; then it is whole.
    let mut by_group = HashMap::<&str, usize>::new();
    arrived.keys().for_each(|payload| *by_group.entry(payload.rsplit_once(' ').unwrap().0).or_default() += 1);
    assert!(by_group.values().all(|records| *records == GROUP), "a group is all or nothing");
    assert_eq!(spool.stats().await.unwrap().records, 0);
}

/// Appends until each group is acknowledged or refused; the payloads of the acknowledged ones, and how many were refused.
async fn write(spool: JetStreamSpool, writer: usize) -> (Vec<String>, usize) {
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for number in 0..GROUPS {
        let payloads: Vec<_> = (0..GROUP).map(|record| format!("{writer}-{number} {record}")).collect();
        match spool.append(Group::new(payloads.iter().cloned().map(NewRecord::new))).await {
            Ok(_) => acknowledged.extend(payloads),
            Err(_) => refused += GROUP,
        }
    }
    (acknowledged, refused)
}

/// Leases and acknowledges until nothing is left; how often each payload came.
async fn read(spool: JetStreamSpool, done: Arc<AtomicBool>) -> HashMap<String, usize> {
    let (mut arrived, mut quiet_since) = (HashMap::new(), Instant::now());
    // What was leased when the server was killed comes again when its lease has ended.
    while !done.load(Relaxed) || quiet_since.elapsed() < Duration::from_secs(5) {
        if let Ok(Some(lease)) = spool.lease("main", Want::default()).await {
            for record in lease.records() {
                *arrived.entry(String::from_utf8(record.payload.to_vec()).unwrap()).or_default() += 1;
            }
            // Where the acknowledgement fails, the records come again.
            let _unclear = spool.acknowledge(lease).await;
            quiet_since = Instant::now();
        } else {
            sleep(Duration::from_millis(20)).await;
        }
    }
    arrived
}

struct Text;

impl Codec<String> for Text {
    fn encode(&self, line: &String, payload: &mut Vec<u8>) -> Result<(), BoxError> {
        payload.extend_from_slice(line.as_bytes());
        Ok(())
    }

    fn decode(&self, payload: &[u8]) -> Result<String, BoxError> {
        Ok(String::from_utf8(payload.to_vec())?)
    }
}

impl Encode<String> for Text {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/plain")
    }

    fn encode(&self, lines: &[String], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        lines.iter().for_each(|line| body.extend_from_slice(format!("{line}\n").as_bytes()));
        Ok(Skipped::NONE)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_writes_ahead_to_jetstream_delivers_all_although_the_server_is_killed() {
    let mut nats = Nats::start().await;
    let spool = nats.builder().await.lease_for(Duration::from_secs(2)).timeout(Duration::from_secs(2)).open();
    let ahead = ExporterSpool::new(spool.await.unwrap(), "main", Text).policy(ReplayPolicy::write_ahead()).unwrap();
    let taken = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let books = Arc::clone(&taken);
    let client = service_fn(move |request: Request<Full<Bytes>>| {
        let books = Arc::clone(&books);
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            for line in std::str::from_utf8(&body)?.lines() {
                *books.lock().unwrap().entry(line.to_owned()).or_default() += 1;
            }
            Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
        }
    });
    let exporter = Exporter::builder()
        .endpoint("http://127.0.0.1/")
        .encoder(Text)
        .client(client)
        .batching(Batching::new().max_items(64).max_delay(Duration::from_millis(20)))
        .write_ahead(ahead)
        .build()
        .unwrap();
    const LINES: usize = 6_000;
    for number in 0..LINES {
        exporter.emit(format!("line {number}"));
        if number % 100 == 0 {
            sleep(Duration::from_millis(20)).await;
        }
        if number == LINES / 3 || number == 2 * LINES / 3 {
            nats.kill();
            nats.start_again().await;
        }
    }
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until && taken.lock().unwrap().len() < LINES {
        sleep(Duration::from_millis(50)).await;
    }
    let report = exporter.shutdown(Duration::from_secs(5)).await;
    let taken = taken.lock().unwrap();
    let again: usize = taken.values().map(|times| times - 1).sum();
    println!("{LINES} emitted, {} arrived, {again} of them again; {}", taken.len(), report.totals);
    assert_eq!(taken.len(), LINES, "{}", report.totals);
    assert!(report.totals.balance(), "{}", report.totals);
}
