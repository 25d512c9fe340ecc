//! A client against a broker that speaks the protocol over TCP, and plays every error.
//!
//! Real sockets and a paused clock do not go together, so time is real here, and short.
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::DropReason;
use forebay_kip714::{
    ClientBuilder, ClientEvent, Codec, ErrorCode, GetTelemetrySubscriptionsRequest, Kip714Client, State, Stopped,
    TelemetryRequest,
    tcp::{Sasl, TcpTransport},
};
use forebay_otlp::{Metric, MetricData, NumberPoint, Temporality};
use forebay_testkit::kafka::{Api, Broker, BrokerLog, Fault, Login, Subscription};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::timeout;
use tower::ServiceExt;

const FAST: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

fn counter(name: &'static str, value: i64) -> Metric {
    let points = vec![NumberPoint::new(0, value)];
    Metric::new(name, MetricData::Sum { points, temporality: Temporality::Cumulative, monotonic: true })
}

fn transport(broker: &Broker) -> TcpTransport {
    TcpTransport::builder().bootstrap(&broker.address()).client_id("test").build().unwrap()
}

/// A client with one counter that goes up by one with each push.
fn builder() -> ClientBuilder {
    let count = AtomicI64::new(0);
    Kip714Client::builder()
        .metrics(move |out| out.push(counter("org.apache.kafka.producer.sent.total", count.fetch_add(1, Relaxed) + 1)))
        .request_timeout(Duration::from_secs(5))
}

fn client(broker: &Broker) -> Kip714Client {
    builder().build(transport(broker)).unwrap()
}

async fn until(broker: &Broker, enough: impl FnMut(&BrokerLog) -> bool) -> BrokerLog {
    timeout(PATIENCE, broker.until(enough)).await.unwrap()
}

async fn subscribed() -> Broker {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::all().every(FAST));
    broker
}

#[tokio::test]
async fn metrics_arrive_under_one_id_at_their_interval() {
    let broker = subscribed().await;
    let client = client(&broker);
    let id = client.instance_id(PATIENCE).await.unwrap();
    let seen = until(&broker, |seen| seen.pushes.len() >= 5).await;
    assert!(seen.gets.len() == 1 && seen.gets[0].id == [0; 16]);
    assert!(seen.pushes.iter().all(|push| push.code == 0 && push.id == *id.as_bytes() && push.codec == 4));
    assert!(seen.pushes.iter().all(|push| push.metrics[0].name == "org.apache.kafka.producer.sent.total"));
    for pair in seen.pushes.windows(2) {
        assert!(pair[1].at - pair[0].at >= FAST, "{:?}", pair[1].at - pair[0].at);
    }
    assert_eq!(seen.software, [("forebay-kip714".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    let report = client.shutdown(PATIENCE).await;
    assert!(report.totals.balance() && report.totals.pending == 0, "{}", report.totals);
    let seen = broker.seen();
    assert_eq!(seen.pushes.iter().filter(|push| push.terminating).count(), 1);
    assert!(seen.pushes.last().unwrap().terminating && seen.connections == 1);
}

/// A code as the response to a push; what the client does then, and why it has stopped if it has.
async fn push_with_response(code: i16) -> (BrokerLog, Kip714Client, Arc<Mutex<Vec<ClientEvent>>>) {
    let broker = subscribed().await;
    broker.script(Api::Push, [Fault::Code(code)]);
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let client = builder()
        .observe(move |event: &ClientEvent| told.lock().unwrap().push(event.clone()))
        .build(transport(&broker))
        .unwrap();
    until(&broker, |seen| seen.pushes.len() == 1).await;
    let ended = async {
        while !client.status().ended {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = until(&broker, |seen| seen.pushes.len() >= 3) => {}
        () = ended => {}
    }
    (broker.seen(), client, events)
}

fn stops_said(events: &Mutex<Vec<ClientEvent>>) -> usize {
    let stopped = |event: &&ClientEvent| matches!(event, ClientEvent::Changed { change, .. } if matches!(change, forebay_kip714::Change::Stopped(_)));
    events.lock().unwrap().iter().filter(stopped).count()
}

#[tokio::test]
async fn k01_k02_k03_k07_codes_that_stop_the_client_stop_it_for_good_and_are_said_once() {
    for (code, why) in [
        (42, Stopped::InvalidRequest),
        (87, Stopped::InvalidRecord),
        (35, Stopped::UnsupportedVersion),
        (31, Stopped::Refused(ErrorCode(31))),
    ] {
        let (seen, client, events) = push_with_response(code).await;
        assert_eq!(client.status().stopped, Some(why));
        assert_eq!((seen.pushes.len(), stops_said(&events)), (1, 1));
        let report = client.shutdown(PATIENCE).await;
        assert_eq!(report.totals.dropped.get(DropReason::Rejected), 1);
        assert!(report.totals.balance());
    }
}

#[tokio::test]
async fn k04_k05_k06_k07_codes_that_pass_lead_to_a_new_subscription_and_further_pushes() {
    for code in [117, 76, 118, 89] {
        let (seen, client, events) = push_with_response(code).await;
        assert_eq!((client.status().stopped, stops_said(&events)), (None, 0), "{code}");
        assert!(seen.gets.len() >= 2 && seen.pushes.len() >= 3, "{code}");
        // The refusal is no failure of the broker: the same connection is used for what follows.
        assert_eq!(seen.connections, 1, "{code}");
        let taken: Vec<_> = seen.pushes.iter().filter(|push| push.code == 0).collect();
        assert!(taken.len() >= 2, "{code}");
        if code == 118 {
            // Half of one series is none.
            assert_eq!(taken[0].bytes, 0);
            continue;
        }
        // What was refused is in the next delta: nothing is lost, nothing is there twice.
        match &taken[0].metrics.first().unwrap().data {
            Some(opentelemetry_proto::tonic::metrics::v1::metric::Data::Sum(sum)) => {
                use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
                assert_eq!(sum.data_points[0].value, Some(Value::AsInt(2)), "{code}");
            }
            other => unreachable!("{other:?}"),
        }
        if code == 76 {
            assert_eq!((seen.pushes[0].codec, seen.pushes[1].codec), (4, 3));
        }
    }
}

#[tokio::test]
async fn k04_the_subscription_that_changes_is_asked_for_and_the_throttled_question_survived() {
    let broker = subscribed().await;
    let client = client(&broker);
    until(&broker, |seen| !seen.pushes.is_empty()).await;
    // As a real broker: the response to the question that it made us ask is a throttle.
    broker.script(Api::Push, [Fault::Code(117)]);
    broker.script(Api::Get, [Fault::Code(89)]);
    let before = broker.seen().pushes.len();
    until(&broker, |seen| seen.gets.len() >= 3 && seen.pushes.len() >= before + 3).await;
    broker.subscribe(Subscription::to(["something.else"]).every(FAST));
    let seen = until(&broker, |seen| seen.pushes.last().is_some_and(|push| push.code == 0 && push.bytes == 0)).await;
    assert!(seen.pushes.iter().any(|push| push.code == 117));
    assert_eq!(client.status().stopped, None);
}

#[tokio::test]
async fn k09_nothing_wanted_is_asked_again_and_nothing_is_pushed() {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::none().every(FAST));
    let client = client(&broker);
    let seen = until(&broker, |seen| seen.gets.len() >= 4).await;
    assert!(seen.pushes.is_empty() && seen.gets.iter().all(|get| get.code == 0));
    broker.subscribe(Subscription::all().every(FAST));
    until(&broker, |seen| seen.pushes.len() >= 2).await;
    broker.subscribe(Subscription::none().every(FAST));
    let pushed = until(&broker, |seen| seen.pushes.last().is_some_and(|push| push.code == 117)).await.pushes.len();
    let asked = broker.seen().gets.len();
    until(&broker, |seen| seen.gets.len() >= asked + 3).await;
    assert_eq!(broker.seen().pushes.len(), pushed);
    assert_eq!(client.shutdown(PATIENCE).await.status.counters.terminating_pushes, 0);
}

#[tokio::test]
async fn k09_requested_metrics_that_are_null_are_nothing_wanted() {
    let broker = Broker::start().await;
    // Throttle time, code, id, subscription; null types; interval, size, temporality; null metrics; no tags.
    let mut null = vec![0; 6];
    null.extend([7; 16]);
    null.extend([0, 0, 0, 1, 0]);
    null.extend(100_i32.to_be_bytes());
    null.extend(1_000_i32.to_be_bytes());
    null.extend([0, 0, 0]);
    broker.script(Api::Get, [Fault::Garbage(null.clone()), Fault::Garbage(null)]);
    broker.subscribe(Subscription::all().every(FAST));
    let client = client(&broker);
    let seen = until(&broker, |seen| !seen.pushes.is_empty()).await;
    assert_eq!((seen.connections, seen.gets.len()), (1, 3), "asked again, over a connection that is not broken");
    let counters = client.status().counters;
    assert_eq!((counters.failures, client.status().stopped), (0, None));
    assert!(counters.subscriptions >= 3);
}

#[tokio::test]
async fn k10_a_subscription_that_matches_nothing_gets_an_empty_payload() {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::to(["no.such.metric"]).every(FAST));
    let _client = client(&broker);
    let seen = until(&broker, |seen| seen.pushes.len() >= 2).await;
    assert!(seen.pushes.iter().all(|push| push.code == 0 && push.bytes == 0 && push.codec == 0));
}

#[tokio::test]
async fn k05_k12_each_compression_arrives_and_refused_ones_are_not_used_again() {
    for codec in Codec::ALL {
        let broker = Broker::start().await;
        broker.subscribe(Subscription::all().every(FAST).accepted([codec.id()]));
        let _client = client(&broker);
        let seen = until(&broker, |seen| !seen.pushes.is_empty()).await;
        assert_eq!((seen.pushes[0].codec, seen.pushes[0].code), (codec.id(), 0), "{codec}");
        assert_eq!(seen.pushes[0].metrics.len(), 1, "{codec}");
    }
    let broker = subscribed().await;
    broker.script(Api::Push, [Fault::Code(76), Fault::Code(76), Fault::Code(76), Fault::Code(76)]);
    let _client = client(&broker);
    let seen = until(&broker, |seen| seen.pushes.len() >= 6).await;
    let codecs: Vec<_> = seen.pushes.iter().map(|push| push.codec).take(6).collect();
    assert_eq!(codecs, [4, 3, 1, 2, 0, 0]);
}

#[tokio::test]
async fn k06_k17_what_is_too_large_is_left_out_and_counted_and_the_limit_is_learned() {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::all().every(FAST).max_bytes(2_000));
    broker.script(Api::Push, [Fault::None, Fault::Code(118)]);
    let client = Kip714Client::builder()
        .metrics(|out| {
            out.extend((0..200_u32).map(|n| {
                let points = vec![NumberPoint::new(0, f64::from(n))];
                Metric::new(format!("org.apache.kafka.producer.topic.{n}.rate"), MetricData::Gauge(points))
            }));
        })
        .build(transport(&broker))
        .unwrap();
    let seen = until(&broker, |seen| seen.pushes.len() >= 4).await;
    assert!(seen.pushes.iter().all(|push| push.plain_bytes <= 2_000), "the limit is the limit");
    assert!(seen.pushes[2].plain_bytes <= seen.pushes[1].plain_bytes / 2, "and smaller once refused");
    let totals = client.shutdown(PATIENCE).await.totals;
    assert!(totals.dropped.get(DropReason::TooLarge) > 100 && totals.balance(), "{totals}");
    assert!(totals.delivered > 0);
}

#[tokio::test]
async fn k06_one_refused_series_does_not_mean_empty_pushes_for_ever() {
    let broker = subscribed().await;
    broker.script(Api::Push, [Fault::Code(118)]);
    let client = client(&broker);
    // A push that is refused, some that are empty, and then the series again.
    let seen = until(&broker, |seen| seen.pushes.iter().skip(1).any(|push| push.bytes > 0)).await;
    let empty = seen.pushes[1..].iter().take_while(|push| push.bytes == 0).count();
    assert!((1..=4).contains(&empty), "{empty}");
    assert!(client.shutdown(PATIENCE).await.totals.balance());
}

#[tokio::test]
async fn k13_the_last_push_comes_long_before_its_interval_once() {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::all());
    let client = client(&broker);
    client.instance_id(PATIENCE).await.unwrap();
    let (one, other) = tokio::join!(client.shutdown(PATIENCE), client.shutdown(PATIENCE));
    assert_eq!(one.status, other.status);
    assert_eq!(one.status.state, State::Terminated);
    let seen = broker.seen();
    assert_eq!((seen.pushes.len(), seen.pushes[0].terminating, seen.pushes[0].code), (1, true, 0));
    assert_eq!(one.totals.delivered, 1);
}

#[tokio::test]
async fn k13_dropping_the_client_sends_the_last_push_too() {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::all());
    let client = client(&broker);
    client.instance_id(PATIENCE).await.unwrap();
    drop(client);
    let seen = until(&broker, |seen| !seen.pushes.is_empty()).await;
    assert!(seen.pushes[0].terminating);
}

#[tokio::test]
async fn k13_a_broker_that_never_responds_costs_no_more_than_the_deadline() {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::all());
    broker.script(Api::Push, [Fault::Silence]);
    let client = client(&broker);
    client.instance_id(PATIENCE).await.unwrap();
    let begun = tokio::time::Instant::now();
    let report = client.shutdown(Duration::from_millis(300)).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(1_500), "{took:?}");
    assert_eq!(report.totals.dropped.get(DropReason::Shutdown), 1);
    assert!(report.totals.balance() && report.totals.pending == 0);
}

#[tokio::test]
async fn k14_disconnects_in_mid_push_stop_nothing() {
    let broker = subscribed().await;
    let faults = [Fault::Disconnect, Fault::None, Fault::Disconnect, Fault::None];
    broker.script(Api::Push, faults.clone());
    broker.script(Api::Get, [Fault::None, Fault::Disconnect]);
    let client = client(&broker);
    let seen = until(&broker, |seen| seen.pushes.iter().filter(|push| push.code == 0).count() >= 6).await;
    assert!(seen.connections >= 3);
    let ids: std::collections::HashSet<_> = seen.pushes.iter().map(|push| push.id).collect();
    assert_eq!(ids.len(), 1, "the id is kept for life");
    assert_eq!(client.status().stopped, None);
}

#[tokio::test]
async fn k14_a_broker_that_goes_and_comes_back_finds_its_client_again() {
    let broker = subscribed().await;
    let address = broker.address();
    let client = client(&broker);
    let id = client.instance_id(PATIENCE).await.unwrap();
    until(&broker, |seen| seen.pushes.len() >= 2).await;
    broker.stop().await;
    let broker = loop {
        // The port may take a moment to be free.
        match Broker::start_on(&address).await {
            Ok(broker) => break broker,
            Err(_in_use) => tokio::task::yield_now().await,
        }
    };
    broker.subscribe(Subscription::all().every(FAST));
    let seen = until(&broker, |seen| seen.pushes.iter().filter(|push| push.code == 0).count() >= 2).await;
    assert!(seen.pushes.iter().all(|push| push.id == *id.as_bytes()));
    // It does not ask for another one: brokers of the testkit give the same ids in the same order.
    assert!(seen.gets.iter().all(|get| get.id == *id.as_bytes()), "{:?}", seen.gets);
}

#[tokio::test]
async fn the_next_broker_is_tried_when_one_is_away() {
    let away = Broker::start().await;
    let gone = away.address();
    away.stop().await;
    let broker = subscribed().await;
    let bootstrap = format!("{gone}, {}", broker.address());
    for _ in 0..4 {
        let transport = TcpTransport::builder().bootstrap(&bootstrap).build().unwrap();
        let client = builder().build(transport).unwrap();
        assert!(client.instance_id(PATIENCE).await.is_some());
    }
}

/// One request over a transport of its own, so that it chooses a broker of its own.
async fn ask_once(bootstrap: &str) {
    let transport = TcpTransport::builder().bootstrap(bootstrap).build().unwrap();
    let request = TelemetryRequest::GetSubscriptions(GetTelemetrySubscriptionsRequest::default());
    transport.oneshot(request).await.unwrap();
}

#[tokio::test]
async fn the_first_broker_is_chosen_at_random() {
    let (one, other) = (Broker::start().await, Broker::start().await);
    let bootstrap = format!("{},{}", one.address(), other.address());
    for _ in 0..40 {
        ask_once(&bootstrap).await;
    }
    let asked = [one.seen().gets.len(), other.seen().gets.len()];
    // By chance alone, once in 2^39 runs.
    assert!(asked.iter().all(|asked| *asked > 0) && asked.iter().sum::<usize>() == 40, "{asked:?}");
}

#[tokio::test]
async fn the_brokers_of_the_cluster_are_discovered_and_share_their_clients() {
    // Newest, flexible, with rack and throttle time, and the oldest that can ask for no topic.
    for version in [12, 9, 8, 3, 2, 1] {
        let brokers = [Broker::start().await, Broker::start().await, Broker::start().await];
        brokers[0].newest_metadata(version);
        brokers[0].advertise(brokers.iter().map(Broker::address));
        for _ in 0..40 {
            ask_once(&brokers[0].address()).await;
        }
        let asked = brokers.each_ref().map(|broker| broker.seen().gets.len());
        assert!(asked.iter().all(|asked| *asked > 0) && asked.iter().sum::<usize>() == 40, "{version}: {asked:?}");
    }
}

#[tokio::test]
async fn a_broker_that_was_discovered_takes_over_from_one_that_ends() {
    let (first, second) = (subscribed().await, subscribed().await);
    let cluster = [first.address(), second.address()];
    first.advertise(&cluster);
    second.advertise(&cluster);
    // The bootstrap list has one of them only.
    let client = client(&first);
    let id = client.instance_id(PATIENCE).await.unwrap();
    let (survivor, ended) = if first.seen().gets.is_empty() { (first, second) } else { (second, first) };
    until(&ended, |seen| !seen.pushes.is_empty()).await;
    ended.stop().await;
    let seen = until(&survivor, |seen| seen.pushes.len() >= 2).await;
    assert!(seen.pushes.iter().all(|push| push.id == *id.as_bytes()));
}

#[tokio::test]
async fn advertised_addresses_that_cannot_be_reached_cost_nothing_but_an_attempt() {
    let unreachable = Broker::start().await;
    let closed = unreachable.address();
    unreachable.stop().await;
    for cluster in [
        vec![closed.clone()],
        vec!["no-such-host.invalid:9092".to_owned()],
        vec![":0".to_owned(), "x:99999".to_owned()],
    ] {
        let broker = subscribed().await;
        broker.advertise(cluster);
        let client = client(&broker);
        let seen = until(&broker, |seen| seen.pushes.len() >= 2).await;
        assert_eq!((client.status().counters.failures, seen.connections), (0, 1));
    }
    // A broker that knows no such request is used all the same.
    let broker = subscribed().await;
    broker.newest_metadata(-1);
    let _client = client(&broker);
    let seen = until(&broker, |seen| seen.pushes.len() >= 2).await;
    assert_eq!((seen.metadata, seen.connections), (0, 1));
    broker.newest_metadata(0);
    ask_once(&broker.address()).await;
    assert_eq!(broker.seen().metadata, 0, "in version 0 the question would be for all topics");
}

#[tokio::test]
async fn k16_a_client_that_was_locked_out_does_not_lock_out_the_next_one() {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::all());
    let first = client(&broker);
    let id = first.instance_id(PATIENCE).await.unwrap();
    // The subscription goes stale behind the client's back; its last push is refused, and noted all the same.
    broker.subscribe(Subscription::to(["org."]).every(FAST));
    first.shutdown(PATIENCE).await;
    let seen = broker.seen();
    assert_eq!((seen.pushes[0].code, seen.pushes[0].terminating), (117, true));

    let second = client(&broker);
    let other = second.instance_id(PATIENCE).await.unwrap();
    assert_ne!(id, other);
    let seen = until(&broker, |seen| seen.pushes.len() >= 3).await;
    assert!(seen.pushes[1..].iter().all(|push| push.code == 0 && push.id == *other.as_bytes()));
}

#[tokio::test]
async fn a_throttle_time_is_heeded() {
    let broker = subscribed().await;
    broker.script(Api::Push, [Fault::Throttle(700)]);
    let _client = client(&broker);
    let seen = until(&broker, |seen| seen.pushes.len() >= 2).await;
    assert!(seen.pushes[1].at - seen.pushes[0].at >= Duration::from_millis(700));
}

#[tokio::test]
async fn responses_that_are_none_are_survived() {
    let broker = subscribed().await;
    let mut huge = vec![0; 26];
    // A list of four billion compression types.
    huge.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    broker.script(Api::Get, [Fault::Garbage(huge), Fault::WrongCorrelation, Fault::Garbage(vec![1, 2, 3])]);
    broker.script(Api::Push, [Fault::Garbage(Vec::new()), Fault::WrongCorrelation]);
    let failed = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&failed);
    let client = builder()
        .observe(move |event: &ClientEvent| {
            if let ClientEvent::Failed(why) = event {
                told.lock().unwrap().push(why.clone());
            }
        })
        .build(transport(&broker))
        .unwrap();
    let seen = until(&broker, |seen| seen.pushes.len() >= 5).await;
    assert_eq!(client.status().stopped, None);
    // None of them is taken for a response, and a connection on which one came is used no more.
    let failed = failed.lock().unwrap();
    assert_eq!((failed.len(), seen.connections), (5, 6), "{failed:?}");
    assert!(failed[0].contains("a list is longer than the response"), "{failed:?}");
    assert!([1, 4].iter().all(|at| failed[*at].contains("it responds to request")), "{failed:?}");
}

#[tokio::test]
async fn k03_a_broker_without_telemetry_is_asked_nothing_and_stops_nothing() {
    let broker = Broker::start().await;
    broker.knows_telemetry(false);
    let failed = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&failed);
    let client = builder()
        .observe(move |event: &ClientEvent| {
            if let ClientEvent::Failed(why) = event {
                told.lock().unwrap().push(why.clone());
            }
        })
        .build(transport(&broker))
        .unwrap();
    until(&broker, |seen| seen.software.len() == 1).await;
    while failed.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(failed.lock().unwrap()[0].contains("takes no client telemetry"));
    assert_eq!((client.status().stopped, client.status().ended), (None, false));
    assert!(broker.seen().gets.is_empty());
    assert!(client.shutdown(PATIENCE).await.status.ended);
}

#[tokio::test]
async fn an_old_broker_is_spoken_to_in_its_own_version() {
    let broker = subscribed().await;
    broker.is_old(true);
    let _client = client(&broker);
    until(&broker, |seen| !seen.pushes.is_empty()).await;
}

#[tokio::test]
async fn credentials_are_proved_by_plain_and_by_scram() {
    let (user, password) = ("alice", "s3cret");
    for (login, sasl) in [
        (Login::Plain(user.into(), password.into()), Sasl::plain(user, password)),
        (Login::ScramSha256(user.into(), password.into()), Sasl::scram_sha_256(user, password)),
    ] {
        let broker = subscribed().await;
        broker.require(login);
        let transport = TcpTransport::builder().bootstrap(&broker.address()).sasl(sasl).build().unwrap();
        let _client = builder().build(transport).unwrap();
        let seen = until(&broker, |seen| !seen.pushes.is_empty()).await;
        assert_eq!(seen.logins, 1);
    }
}

#[tokio::test]
async fn credentials_are_proved_again_before_they_expire() {
    let broker = subscribed().await;
    broker.require(Login::Plain("alice".into(), "s3cret".into()));
    broker.sessions_last(400);
    let sasl = Sasl::plain("alice", "s3cret");
    let transport = TcpTransport::builder().bootstrap(&broker.address()).sasl(sasl).build().unwrap();
    let client = builder().build(transport).unwrap();
    let seen = until(&broker, |seen| seen.logins >= 3).await;
    assert!(seen.connections == seen.logins && client.status().counters.failures == 0);
}

#[tokio::test]
async fn x04_wrong_credentials_are_not_hammered_and_appear_nowhere() {
    let broker = subscribed().await;
    broker.require(Login::ScramSha256("alice".into(), "s3cret".into()));
    let sasl = Sasl::scram_sha_256("alice", "wr0ng-pass");
    let transport = TcpTransport::builder().bootstrap(&broker.address()).sasl(sasl.clone()).build().unwrap();
    let said = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&said);
    let client = builder()
        .observe(move |event: &ClientEvent| told.lock().unwrap().push_str(&format!("{event:?}\n")))
        .build(transport.clone())
        .unwrap();
    while !said.lock().unwrap().contains("authentication failed") {
        tokio::task::yield_now().await;
    }
    let words = format!("{}{sasl:?}{transport:?}{client:?}", said.lock().unwrap());
    assert!(!words.contains("wr0ng-pass") && words.contains("who are you?"));
    // Not retried at once: one connection, one attempt.
    assert_eq!(broker.seen().connections, 1);
    assert_eq!(client.status().stopped, None);
}
