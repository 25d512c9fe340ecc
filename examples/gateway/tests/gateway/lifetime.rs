//! Panics, the kill switch, and the end.

use crate::support::{
    Gate, Kind, Sender, Temp, assert_ledger, batches, config, failing, span, spool, traces, until, until_closed, value,
};
use forebay::{core::DropReason, queue::Limits};
use forebay_gateway::{Config, Gateway, sink::Sink};
use futures_util::FutureExt;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tonic::Code;

#[tokio::test]
async fn a_panicking_sink_costs_nothing_the_batch_is_put_aside_and_the_worker_lives() {
    let temp = Temp::new("panics");
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let sink = Sink::of_fn(move |_| {
        let call = seen.fetch_add(1, Relaxed);
        async move {
            assert!(call >= 2, "a sink that panics");
            Ok(())
        }
    });
    let config = Config { workers: NonZeroUsize::MIN, spool: Some(spool(&temp)), ..config() };
    let gateway = Gateway::start(config, sink).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..5 {
        assert!(sender.send(Kind::Healthy, n).await.is_taken());
    }
    gateway.flush().await;
    let [totals, ..] = batches(&gateway);
    assert_eq!((totals.delivered, totals.spooled), (3, 2));
    assert_eq!(value(&sender.get("/metrics").await.1, "forebay_gateway_panics_total"), Some(2.0));
    assert_eq!(gateway.replay().await.replayed, 2);
    let [totals, ..] = batches(&gateway);
    assert_eq!((totals.delivered, totals.spooled, calls.load(Relaxed)), (5, 0, 7));
    assert_ledger(&gateway);
}

#[tokio::test]
async fn the_kill_switch_responds_when_the_batch_is_stored_and_not_before() {
    let gate = Gate::closed();
    let gateway = Gateway::start(Config { synchronous: true, ..config() }, gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    let waiting = tokio::spawn(async move { (sender.send(Kind::Healthy, 1).await, sender) });
    until(|| gate.entered() == 1).await;
    // Long enough for a response that does not wait for the sink.
    for _ in 0..50 {
        assert_eq!(Sender::to(&gateway).get("/healthz").await.0, 200);
    }
    assert!(!waiting.is_finished(), "not stored yet");
    gate.let_through(1);
    let (reply, sender) = waiting.await.unwrap();
    assert!(reply.is_taken());
    assert_eq!(batches(&gateway)[0].delivered, 1);

    // Live, and back.
    gateway.set_synchronous(false);
    assert!(sender.send(Kind::Healthy, 2).await.is_taken());
    assert_eq!(batches(&gateway)[0].pending, 1);
    gate.let_through(1);
}

#[tokio::test]
async fn a_synchronous_sender_learns_of_a_failure_unless_the_batch_is_safe() {
    let gateway = Gateway::start(Config { synchronous: true, ..config() }, failing(2)).await.unwrap();
    let reply = Sender::to(&gateway).send(Kind::Healthy, 1).await;
    assert_eq!((reply.status.as_u16(), reply.headers.contains_key("retry-after")), (503, true));
    let mut grpc = TraceServiceClient::connect(format!("http://{}", gateway.grpc())).await.unwrap();
    let refused = grpc.export(traces(vec![span(Kind::Healthy, 1)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(batches(&gateway)[0].dropped.get(DropReason::Failed), 2);

    let temp = Temp::new("synchronous");
    let config = Config { synchronous: true, spool: Some(spool(&temp)), ..config() };
    let gateway = Gateway::start(config, failing(1)).await.unwrap();
    assert!(Sender::to(&gateway).send(Kind::Healthy, 1).await.is_taken(), "a retry would double it");
    assert_eq!(batches(&gateway)[0].spooled, 1);
}

#[tokio::test]
async fn q09_stop_drains_in_order_and_takes_nothing_new() {
    let gate = Gate::closed();
    let config = Config { workers: NonZeroUsize::MIN, ..config() };
    let gateway = Gateway::start(config, gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..20 {
        assert!(sender.send(Kind::Healthy, n).await.is_taken());
    }
    let address = gateway.http();
    let mut stopping = tokio::spawn(gateway.stop());
    // The listener goes first.
    until_closed(address).await;
    let early = tokio::time::timeout(Duration::from_millis(200), &mut stopping).await;
    assert!(early.is_err(), "the queue is not empty");
    gate.let_through(20);
    let summary = stopping.await.unwrap();
    assert_eq!((summary.queue.delivered, summary.queue.pending), (20, 0), "{summary}");
    let expected: Vec<_> = (0..20).map(|n| format!("span {n}")).collect();
    assert_eq!(gate.names(), expected);
}

#[tokio::test]
async fn a_flush_ends_when_every_batch_before_it_has_its_fate() {
    let gate = Gate::closed();
    let gateway = Gateway::start(Config { workers: NonZeroUsize::MIN, ..config() }, gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..3 {
        assert!(sender.send(Kind::Healthy, n).await.is_taken());
    }
    let mut flush = std::pin::pin!(gateway.flush());
    for let_through in 0..3 {
        assert!(flush.as_mut().now_or_never().is_none(), "{let_through} of 3 are stored");
        gate.let_through(1);
        until(|| batches(&gateway)[0].delivered == let_through + 1).await;
        // What comes after it is not waited for.
        assert!(sender.send(Kind::Healthy, 10 + let_through).await.is_taken());
    }
    flush.await;
    assert_eq!((batches(&gateway)[0].delivered, batches(&gateway)[0].pending), (3, 3));
    gate.let_through(3);
}

#[tokio::test]
async fn what_a_stop_has_no_time_for_is_put_aside_and_delivered_by_the_next_run() {
    let temp = Temp::new("restart");
    let config = || Config {
        workers: NonZeroUsize::MIN,
        drain: Duration::from_millis(50),
        spool: Some(spool(&temp)),
        ..config()
    };
    let gate = Gate::closed();
    let gateway = Gateway::start(config(), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..5 {
        assert!(sender.send_as("shop", if n == 3 { Kind::Failed } else { Kind::Healthy }, n).await.is_taken());
    }
    let summary = gateway.stop().await;
    let [totals, ..] = summary.pages.each_ref().map(|page| page.batches());
    assert_eq!((totals.spooled, totals.delivered, summary.spool.batches), (5, 0, 5), "{summary}");
    assert!(summary.balances());

    let gate = Gate::closed();
    gate.let_through(5);
    let gateway = Gateway::start(config(), gate.sink()).await.unwrap();
    assert_eq!(
        (gateway.summary().recovered.found, batches(&gateway)[0].offered),
        (5, 0),
        "recovered, and not offered again"
    );
    assert_eq!(gateway.replay().await.replayed, 5);
    let mut names = gate.names();
    names.sort();
    assert_eq!(names, ["span 0", "span 1", "span 2", "span 3", "span 4"]);
    assert!(gate.taken.lock().unwrap().iter().all(|batch| &*batch.tenant == "shop"));
    assert_eq!(gate.taken.lock().unwrap().iter().filter(|batch| batch.facts.has_error).count(), 1);
    let summary = gateway.stop().await;
    assert_eq!((summary.recovered.delivered, summary.recovered.left(), summary.spool.batches), (5, 0, 0), "{summary}");
    assert!(summary.balances(), "{summary}");
}

#[tokio::test]
async fn a_stop_without_a_folder_counts_what_it_loses() {
    let config = Config {
        workers: NonZeroUsize::MIN,
        drain: Duration::from_millis(50),
        limits: Limits::new().items(10),
        ..config()
    };
    let gateway = Gateway::start(config, Gate::closed().sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..3 {
        sender.send(Kind::Healthy, n).await;
    }
    let summary = gateway.stop().await;
    let totals = summary.pages[0].batches();
    assert_eq!((totals.dropped.get(DropReason::Shutdown), totals.pending), (3, 0), "{summary}");
    assert!(summary.balances(), "{summary}");
}

#[tokio::test]
async fn a_folder_too_small_for_the_rest_keeps_what_is_urgent_and_then_the_newest() {
    let temp = Temp::new("small");
    let mut folder = spool(&temp);
    folder.batches = NonZeroU64::new(3).unwrap();
    let config =
        Config { workers: NonZeroUsize::MIN, drain: Duration::from_millis(50), spool: Some(folder), ..config() };
    let gate = Gate::closed();
    let gateway = Gateway::start(config.clone(), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..6 {
        assert!(sender.send(if n == 1 { Kind::Slow } else { Kind::Healthy }, n).await.is_taken());
    }
    let summary = gateway.stop().await;
    let totals = summary.pages[0].batches();
    assert_eq!((totals.spooled, totals.dropped.get(DropReason::Shutdown)), (3, 3), "{summary}");

    gate.let_through(3);
    let gateway = Gateway::start(config, gate.sink()).await.unwrap();
    assert_eq!(gateway.replay().await.replayed, 3);
    assert_eq!(gate.names(), ["span 1", "span 4", "span 5"]);
}

/// Says so when it is dropped.
struct LetGo(Arc<Mutex<Vec<String>>>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("the replay is let go".to_owned());
    }
}

#[tokio::test]
async fn a_stop_closes_the_listener_then_drains_the_queue_then_ends_the_replay_then_closes_the_sink() {
    let temp = Temp::new("order");
    let config = || Config { workers: NonZeroUsize::MIN, spool: Some(spool(&temp)), ..config() };
    // A letter to be replayed.
    let gateway = Gateway::start(config(), failing(1)).await.unwrap();
    assert!(Sender::to(&gateway).send_as("letter", Kind::Healthy, 0).await.is_taken());
    gateway.flush().await;
    assert_eq!(gateway.stop().await.spool.batches, 1);

    let events = Arc::new(Mutex::new(Vec::new()));
    let (gate, seen, closed) = (Gate::closed(), Arc::clone(&events), Arc::clone(&events));
    let (permits, replaying) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let replays = Arc::clone(&replaying);
    let sink = Sink::of_fn(move |batch| {
        let (permits, seen, replays) = (permits.clone(), Arc::clone(&seen), Arc::clone(&replays));
        async move {
            if &*batch.tenant == "letter" {
                // The sink never takes it: only the end of the replay lets it go.
                let _let_go = LetGo(seen);
                replays.fetch_add(1, Relaxed);
                return std::future::pending().await;
            }
            permits.pass().await;
            seen.lock().unwrap().push("stored".to_owned());
            Ok(())
        }
    });
    let sink = sink.on_close(move |_| async move { closed.lock().unwrap().push("the sink is closed".to_owned()) });
    let mut often = config();
    often.spool.as_mut().unwrap().pace.interval = Duration::from_millis(1);
    let gateway = Gateway::start(often, sink).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 1..4 {
        assert!(sender.send(Kind::Healthy, n).await.is_taken());
    }
    until(|| replaying.load(Relaxed) == 1).await;
    let address = gateway.http();
    let stopping = tokio::spawn(gateway.stop());
    until_closed(address).await;
    events.lock().unwrap().push("the listener is closed".to_owned());
    assert!(!stopping.is_finished());
    gate.let_through(3);
    let summary = stopping.await.unwrap();
    let order = ["the listener is closed", "stored", "stored", "stored", "the replay is let go", "the sink is closed"];
    assert_eq!(*events.lock().unwrap(), order);
    assert_eq!((summary.queue.delivered, summary.spool.batches), (3, 1), "the letter stays: {summary}");
}
