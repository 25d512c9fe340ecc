//! An exporter with a spool: what could not be delivered survives, and what it counts is true. In virtual time, on a disk that
//! is simulated, so that no test waits for a thread.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

#[expect(clippy::allow_attributes, reason = "what one test leaves unused another uses")]
mod support;

use bytes::{Bytes, BytesMut};
use forebay_export::{Backoff, BoxError, DropReason, Encode, Exporter, ExporterBuilder, Fate, Limits, Skipped};
use forebay_spool::{
    Appended, BoxFuture, Codec, Disposition, Engine, ExporterSpool, Group, Lease, LeaseId, Settled, Spool, SpoolError,
    Stats, Verified, Want, replay::ReplayPolicy,
};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use std::{
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use support::{NOW, SimDisk, at, builder};
use tokio::time::{Instant, advance, sleep};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

const S: Duration = Duration::from_secs(1);

// === A spool whose calls end at once ===

#[derive(Clone, Debug)]
struct Now(Arc<Mutex<Engine>>);

impl Now {
    fn open(disk: &SimDisk) -> Self {
        Self::of(builder(disk))
    }

    fn of(builder: forebay_spool::SpoolBuilder) -> Self {
        Self(Arc::new(Mutex::new(builder.open_engine(at(NOW)).unwrap())))
    }

    fn pending(&self) -> u64 {
        self.0.lock().unwrap().stats().destinations[0].pending
    }

    fn dead(&self) -> Vec<(String, Bytes)> {
        let letters = self.0.lock().unwrap().dead_letters(None, 99).unwrap();
        letters.into_iter().map(|letter| (letter.reason, letter.record.payload)).collect()
    }
}

impl Spool for Now {
    fn append(&self, group: Group) -> BoxFuture<'_, Result<Appended, SpoolError>> {
        let mut engine = self.0.lock().unwrap();
        Box::pin(ready(engine.append(vec![group], NOW).remove(0)))
    }

    fn lease<'a>(&'a self, destination: &'a str, want: Want) -> BoxFuture<'a, Result<Option<Lease>, SpoolError>> {
        let leased = self.0.lock().unwrap().lease(destination, want, NOW);
        let engine = Arc::clone(&self.0);
        Box::pin(ready(leased.map(|leased| {
            leased.map(|(id, records)| {
                let give_back = move |id: LeaseId| {
                    engine.lock().unwrap().settle(id.get(), &[]);
                };
                Lease::new(id, records, Box::new(give_back))
            })
        })))
    }

    fn settle(&self, lease: Lease, dispositions: Vec<Disposition>) -> BoxFuture<'_, Result<Settled, SpoolError>> {
        let (id, _records) = lease.into_parts();
        let mut engine = self.0.lock().unwrap();
        let settled = engine.settle(id.get(), &dispositions);
        Box::pin(ready(engine.flush().map(|()| settled)))
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, SpoolError>> {
        Box::pin(ready(Ok(self.0.lock().unwrap().stats())))
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, SpoolError>> {
        Box::pin(ready(Ok(self.0.lock().unwrap().verify())))
    }
}

struct Text;

impl Codec<String> for Text {
    fn encode(&self, item: &String, payload: &mut Vec<u8>) -> Result<(), BoxError> {
        assert!(item != "panic", "the codec panics");
        if item == "never" {
            return Err("it cannot be encoded".into());
        }
        payload.extend_from_slice(item.as_bytes());
        Ok(())
    }

    fn decode(&self, payload: &[u8]) -> Result<String, BoxError> {
        if payload == b"panic at decode" {
            panic!("the codec panics");
        }
        Ok(String::from_utf8(payload.to_vec())?)
    }
}

// === A server that can be away ===

struct Lines;

impl Encode<String> for Lines {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/plain")
    }

    fn encode(&self, items: &[String], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        items.iter().for_each(|item| body.extend_from_slice(format!("{item}\n").as_bytes()));
        Ok(Skipped::NONE)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    There,
    /// It says 503.
    Away,
    /// It does not respond.
    Hangs,
    /// It is there, and refuses each request with an item that begins with `bad`.
    Picky,
}

#[derive(Clone)]
struct Server(Arc<(Mutex<Mode>, Mutex<Vec<(String, Instant)>>, AtomicUsize)>);

type Client = BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, BoxError>;

impl Server {
    fn new(mode: Mode) -> Self {
        Self(Arc::new((Mutex::new(mode), Mutex::default(), AtomicUsize::new(0))))
    }

    fn set(&self, mode: Mode) {
        *self.0.0.lock().unwrap() = mode;
    }

    fn requests(&self) -> usize {
        self.0.2.load(Relaxed)
    }

    /// What it took, in its order.
    fn taken(&self) -> Vec<String> {
        self.0.1.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    fn client(&self) -> Client {
        let server = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<Full<Bytes>>| {
            let server = server.clone();
            async move {
                server.0.2.fetch_add(1, Relaxed);
                let body = request.into_body().collect().await?.to_bytes();
                let lines: Vec<_> = String::from_utf8(body.to_vec())?.lines().map(str::to_owned).collect();
                sleep(Duration::from_millis(10)).await;
                let mode = *server.0.0.lock().unwrap();
                let status = match mode {
                    Mode::Hangs => pending().await,
                    Mode::Away => 503,
                    Mode::Picky if lines.iter().any(|line| line.starts_with("bad")) => 400,
                    Mode::There | Mode::Picky => {
                        let at = Instant::now();
                        server.0.1.lock().unwrap().extend(lines.into_iter().map(|line| (line, at)));
                        200
                    }
                };
                Ok::<_, BoxError>(Response::builder().status(status).body(Full::default())?)
            }
        }))
    }
}

fn exporter(server: &Server) -> ExporterBuilder<String, Lines, Client> {
    Exporter::builder()
        .endpoint("http://127.0.0.1/")
        .encoder(Lines)
        .client(server.client())
        .retry(|retry| retry.max_retries(1).backoff(Backoff::constant(Duration::from_millis(1))).without_budget())
        .breaker(|breaker| breaker.open_for(5 * S))
        .attempt_timeout(S)
        .batching(forebay_export::Batching::new().max_items(16).max_delay(Duration::from_millis(10)))
}

fn spool(spool: &Now) -> ExporterSpool<Text> {
    ExporterSpool::new(spool.clone(), "main", Text).policy(ReplayPolicy::default().ramp(S)).unwrap()
}

fn emit(exporter: &Exporter<String>, name: &str, count: usize) -> Vec<String> {
    let lines: Vec<_> = (0..count).map(|number| format!("{name} {number}")).collect();
    lines.iter().for_each(|line| exporter.emit(line.clone()));
    lines
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Waits until `done`, in virtual time, a limited number of it.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

// === Overflow ===

#[tokio::test(start_paused = true)]
async fn what_an_outage_leaves_behind_is_spooled_and_arrives_once_when_the_server_is_back() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(2 * S).build().unwrap();
    let lines = emit(&exporter, "line", 100);
    until("spooled", || exporter.totals().spooled == 100).await;
    let totals = exporter.totals();
    assert!(totals.balance() && totals.pending == 0 && totals.dropped.total() == 0, "{totals}");
    assert_eq!(spooled.pending(), 100);
    assert!(server.taken().is_empty());

    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 100).await;
    let (totals, counters) = (exporter.totals(), exporter.counters());
    assert!(totals.balance() && totals.spooled == 0, "{totals}");
    assert_eq!((counters.replayed, counters.recovered, counters.evicted, counters.quarantined), (100, 0, 0, 0));
    assert_eq!(sorted(server.taken()), sorted(lines));
    assert_eq!(spooled.pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_without_time_spools_what_is_left_and_the_next_process_recovers_it() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::open(&disk);
    let first = exporter(&server).overflow_to(spool(&spooled)).build().unwrap();
    let lines = emit(&first, "line", 50);
    let began = Instant::now();
    let report = first.shutdown(4 * S).await;
    assert!(began.elapsed() <= 4 * S + Duration::from_millis(20), "{:?}", began.elapsed());
    assert_eq!((report.totals.spooled, report.totals.pending, report.unsent.len()), (50, 0, 0), "{}", report.totals);
    assert!(report.totals.balance());
    drop(first);
    sleep(S).await;
    let engine = Arc::into_inner(spooled.0).expect("the worker has ended").into_inner().unwrap();
    engine.close().unwrap();

    server.set(Mode::There);
    let spooled = Now::open(&disk);
    let second = exporter(&server).overflow_to(spool(&spooled)).build().unwrap();
    second.emit("fresh".to_owned());
    until("replayed", || second.counters().replayed == 50).await;
    second.flush().await;
    let (totals, counters) = (second.totals(), second.counters());
    assert_eq!((totals.offered, totals.delivered, totals.spooled), (1, 1, 0), "what is recovered is not offered twice");
    assert_eq!((counters.recovered, counters.replayed), (50, 50));
    assert!(totals.balance(), "{totals}");
    assert_eq!(sorted(server.taken()), sorted([lines, vec!["fresh".to_owned()]].concat()));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fills_makes_room_in_the_spool_and_drops_nothing() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server)
        .overflow_to(spool(&spooled))
        .limits(Limits::new().items(200))
        .attempt_timeout(60 * S)
        .spool_after(300 * S)
        .build()
        .unwrap();
    for round in 0..40 {
        emit(&exporter, &format!("round {round}"), 20);
        // The worker gets its turn, as it does where producers are not faster than a disk.
        sleep(Duration::from_millis(1)).await;
    }
    let totals = exporter.totals();
    assert_eq!((totals.offered, totals.dropped.total()), (800, 0), "{totals}");
    assert!(totals.pending <= 200 && totals.spooled >= 600 && totals.balance(), "{totals}");
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 800).await;
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn one_open_batch_that_fills_the_queue_is_spooled_from_the_first_refusal_on() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server)
        .overflow_to(spool(&spooled))
        .limits(Limits::new().items(100))
        .batching(forebay_export::Batching::new().max_items(1000).max_delay(600 * S))
        .build()
        .unwrap();
    for _ in 0..10 {
        emit(&exporter, "line", 100);
        sleep(Duration::from_millis(1)).await;
    }
    let totals = exporter.totals();
    // A burst that no disk could follow is refused at the door, as it is without a spool.
    assert_eq!((totals.offered, totals.dropped.get(DropReason::SoftLimit)), (1000, 100), "{totals}");
    assert!(totals.spooled >= 800 && totals.balance(), "{totals}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_one_request_per_backoff_and_no_storm() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(2 * S).build().unwrap();
    emit(&exporter, "line", 500);
    until("spooled", || exporter.totals().spooled == 500).await;
    let before = server.requests();
    advance(Duration::ZERO).await;
    sleep(600 * S).await;
    // One probe a minute once the backoff has grown, each with its retry; and while it grows, a few more.
    let requests = server.requests() - before;
    assert!((4..=60).contains(&requests), "{requests}");
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 500).await;
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn a_backlog_never_starves_what_is_fresh() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let policy = ReplayPolicy::default().ramp(S).max_records_per_second(500);
    let backlog = spool(&spooled).policy(policy).unwrap();
    let exporter = exporter(&server).overflow_to(backlog).spool_after(S).build().unwrap();
    for round in 0..50 {
        emit(&exporter, &format!("old {round}"), 100);
        sleep(S / 10).await;
    }
    until("spooled", || exporter.totals().spooled == 5000).await;
    server.set(Mode::There);
    until("the first is delivered", || exporter.totals().delivered > 0).await;
    // The circuit closes, and its ramp ends.
    sleep(5 * S).await;
    let backlog = exporter.totals().spooled;
    assert!(backlog > 1000, "{backlog}");
    let mut emitted = Vec::new();
    for number in 0..200 {
        emitted.push(Instant::now());
        exporter.emit(format!("fresh {number}"));
        sleep(Duration::from_millis(10)).await;
    }
    let drained = backlog - exporter.totals().spooled;
    assert!(drained >= 500, "the backlog drains beside it: {drained}");
    until("delivered", || exporter.totals().delivered == 5200).await;
    for (line, arrived) in &*server.0.1.lock().unwrap() {
        if let Some(number) = line.strip_prefix("fresh ") {
            let took = *arrived - emitted[number.parse::<usize>().unwrap()];
            assert!(took <= Duration::from_millis(60), "{line}: {took:?}");
        }
    }
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn poison_in_the_spool_costs_only_itself_and_is_a_dead_letter() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    emit(&exporter, "line", 20);
    exporter.emit("bad one".to_owned());
    emit(&exporter, "more", 20);
    until("spooled", || exporter.totals().spooled == 41).await;
    server.set(Mode::Picky);
    until("settled", || exporter.totals().spooled == 0).await;
    let (totals, counters) = (exporter.totals(), exporter.counters());
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Rejected)), (40, 1), "{totals}");
    assert_eq!((counters.replayed, counters.quarantined), (40, 1));
    assert!(totals.balance());
    assert_eq!(spooled.dead(), [("rejected".to_owned(), Bytes::from_static(b"bad one"))]);
    // A dead letter that is requeued was counted already: it is recovered.
    assert_eq!(spooled.0.lock().unwrap().requeue(None, None).unwrap(), 1);
    server.set(Mode::There);
    until("replayed", || exporter.counters().replayed == 41).await;
    let (totals, counters) = (exporter.totals(), exporter.counters());
    assert_eq!(
        (totals.delivered, totals.dropped.get(DropReason::Rejected), counters.recovered),
        (40, 1, 1),
        "{totals}"
    );
    assert!(totals.balance());
}

#[tokio::test(start_paused = true)]
async fn what_the_spool_evicts_is_dropped_and_counted() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::of(builder(&disk).max_records(60));
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    for round in 0..10 {
        emit(&exporter, &format!("round {round}"), 16);
        sleep(2 * S).await;
    }
    until("evicted", || exporter.counters().evicted >= 100).await;
    let pending = spooled.pending();
    until("compared", || exporter.totals().spooled == pending).await;
    let (totals, counters) = (exporter.totals(), exporter.counters());
    assert_eq!(totals.dropped.get(DropReason::Evicted), 160 - pending, "{totals}");
    assert_eq!((counters.evicted, totals.pending), (160 - pending, 0), "{totals}");
    assert!(totals.balance());
}

#[tokio::test(start_paused = true)]
async fn an_item_that_no_record_can_hold_costs_only_itself() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    // A record may have 64 KiB in the tests.
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    for item in ["one", "never", "panic", "two", &"x".repeat(70 << 10), "three", "panic at decode"] {
        exporter.emit(item.to_owned());
    }
    until("spooled", || exporter.totals().pending == 0).await;
    let totals = exporter.totals();
    assert_eq!((totals.spooled, totals.dropped.get(DropReason::Encode)), (4, 3), "{totals}");
    server.set(Mode::There);
    until("delivered", || exporter.totals().spooled == 0).await;
    assert_eq!(sorted(server.taken()), ["one", "three", "two"]);
    let dead = spooled.dead();
    assert_eq!((dead.len(), dead[0].0.as_str()), (1, "it cannot be decoded: the codec panics"));
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_drops_as_without_a_spool() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::of(builder(&disk).max_records(20).overflow(forebay_spool::Overflow::Refuse));
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    emit(&exporter, "line", 48);
    until("settled", || exporter.totals().pending == 0).await;
    let totals = exporter.totals();
    assert!(totals.spooled >= 16 && totals.dropped.get(DropReason::Expired) >= 16 && totals.balance(), "{totals}");
}

#[tokio::test(start_paused = true)]
async fn what_is_switched_off_is_neither_spooled_nor_replayed() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(2 * S).build().unwrap();
    emit(&exporter, "line", 20);
    until("spooled", || exporter.totals().spooled == 20).await;
    emit(&exporter, "off", 20);
    sleep(S / 2).await;
    exporter.handle().switch_off();
    server.set(Mode::There);
    sleep(60 * S).await;
    let totals = exporter.totals();
    assert_eq!((totals.spooled, totals.dropped.get(DropReason::Disabled)), (20, 20), "{totals}");
    assert!(server.taken().is_empty());
    exporter.handle().switch_on();
    until("delivered", || exporter.totals().delivered == 20).await;
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn a_caller_gets_the_fate_spooled() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    assert_eq!(exporter.clone().oneshot("line".to_owned()).await, Ok(Fate::Spooled));
}

// === Write-ahead ===

#[tokio::test(start_paused = true)]
async fn a_written_ahead_item_is_durable_before_it_is_sent() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::open(&disk);
    let ahead = spool(&spooled).policy(ReplayPolicy::write_ahead()).unwrap();
    let mut exporter = exporter(&server).write_ahead(ahead).build().unwrap();
    let first = exporter.ready().await.unwrap().call("first".to_owned());
    assert_eq!(first.await, Ok(Fate::Spooled));
    assert_eq!((spooled.pending(), server.taken().len()), (1, 0));
    let began = Instant::now();
    let lines = emit(&exporter, "line", 100);
    exporter.flush().await;
    assert!(began.elapsed() <= Duration::from_millis(50), "{:?}", began.elapsed());
    assert_eq!((exporter.totals().spooled, spooled.pending()), (101, 101));
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 101).await;
    assert_eq!(sorted(server.taken()), sorted([lines, vec!["first".to_owned()]].concat()));
    assert!(exporter.totals().balance() && exporter.totals().spooled == 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_sends_what_is_written_ahead_and_keeps_what_it_cannot() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::There));
    let spooled = Now::open(&disk);
    let ahead = || spool(&spooled).policy(ReplayPolicy::write_ahead()).unwrap();
    let first = exporter(&server).write_ahead(ahead()).build().unwrap();
    emit(&first, "line", 1000);
    let began = Instant::now();
    let report = first.shutdown(30 * S).await;
    assert_eq!((report.totals.delivered, report.totals.spooled), (1000, 0), "{}", report.totals);
    assert!(began.elapsed() < 5 * S, "{:?}", began.elapsed());

    server.set(Mode::Away);
    let second = exporter(&server).write_ahead(ahead()).build().unwrap();
    emit(&second, "late", 30);
    let began = Instant::now();
    let report = second.shutdown(3 * S).await;
    assert!(began.elapsed() <= 3 * S + Duration::from_millis(20), "{:?}", began.elapsed());
    assert_eq!((report.totals.delivered, report.totals.spooled, report.unsent.len()), (0, 30, 0), "{}", report.totals);
    assert_eq!(spooled.pending(), 30);

    server.set(Mode::There);
    sleep(300 * S).await;
    assert_eq!(spooled.pending(), 30, "the replay has ended with the shutdown");
    let third = exporter(&server).write_ahead(ahead()).build().unwrap();
    until("replayed", || third.counters().replayed == 30).await;
    assert_eq!((third.totals().offered, third.counters().recovered), (0, 30));
    assert_eq!(server.taken().len(), 1030);
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_has_no_room_for_waits_and_is_written_when_it_has() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::of(builder(&disk).max_records(20).overflow(forebay_spool::Overflow::Refuse));
    let ahead = spool(&spooled).policy(ReplayPolicy::write_ahead()).unwrap();
    let exporter = exporter(&server).write_ahead(ahead).build().unwrap();
    emit(&exporter, "line", 48);
    sleep(5 * S).await;
    let totals = exporter.totals();
    assert!(totals.pending >= 16 && totals.dropped.total() == 0, "{totals}");
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 48).await;
    assert!(exporter.totals().balance());
}
