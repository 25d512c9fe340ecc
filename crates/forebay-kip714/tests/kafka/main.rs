//! The client against a real Kafka broker; `.ci/interop-kafka` runs it.
//!
//! One broker serves all checks, one after the other, so they are one test. What is printed is the record of the run.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "test code")]

mod inbox;
mod node;

use self::{
    inbox::Inbox,
    node::{MAX_BYTES, Node, java},
};
use bytes::Bytes;
use forebay_core::DropReason;
use forebay_kip714::{
    Change, ClientBuilder, ClientEvent, ClientLabels, Codec, ErrorCode, GetTelemetrySubscriptionsRequest,
    GetTelemetrySubscriptionsResponse, InstanceId, Kip714Client, PushTelemetryRequest, State, Stopped,
    TelemetryRequest, TelemetryResponse,
    names::{self, producer},
    tcp::{OAuthToken, Sasl, TcpTransport},
};
use forebay_otlp::{Metric, MetricData, NumberPoint, Temporality};
use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tower::{Service, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
const TOTAL: &str = "org.apache.kafka.producer.record.send.total";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka's jars: .ci/interop-kafka"]
async fn a_real_broker() {
    let begun = Instant::now();
    let mut node = Node::start();
    node.up().await;
    let inbox = Inbox::new(node.inbox());
    let said = |what: &str| println!("{:>5.1} s  {what}", begun.elapsed().as_secs_f64());
    said("the broker is up");

    what_the_broker_says_by_itself(&node).await;
    said("K04 K16 K17: the broker's rules are as the fake broker has them");
    metrics_arrive(&node, &inbox).await;
    said("K08: metrics arrive and decode, two clients have two ids, interval and temporality are obeyed");
    the_subscription_changes(&node, &inbox).await;
    said("K04 K10 K11: what arrives follows the subscription; without one pushes stop and the broker is asked");
    each_compression(&node, &inbox).await;
    said("K12: zstd, lz4, gzip, snappy and none are read by the broker");
    more_than_the_broker_takes(&node, &inbox).await;
    said("K17: 2,000 series through 32 KiB, every push taken");
    credentials(&node, &inbox).await;
    said("PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, and TLS");
    the_brokers_are_discovered(&node, &inbox).await;
    said("Metadata: the address that the broker advertises is found from another one");
    the_java_client(&node, &inbox).await;
    said("beside the Java client: the same names, kinds and counts of the broker");
    a_process_is_terminated(&node, &inbox).await;
    said("K13: SIGTERM sends the terminating push");
    the_broker_is_killed(&mut node, &inbox).await;
    said("K14: killed and restarted under its client, nothing stops and no delta is there twice");
    the_receiver_throws(&node, &inbox).await;
    said("K02: a receiver that throws stops the client, once");
}

// === the broker by itself ===

async fn get(transport: &mut TcpTransport, id: InstanceId) -> GetTelemetrySubscriptionsResponse {
    let request = TelemetryRequest::GetSubscriptions(GetTelemetrySubscriptionsRequest { client_instance_id: id });
    match transport.ready().await.unwrap().call(request).await.unwrap() {
        TelemetryResponse::GetSubscriptions(response) => response,
        other => panic!("{other:?}"),
    }
}

async fn push(transport: &mut TcpTransport, push: PushTelemetryRequest) -> ErrorCode {
    match transport.ready().await.unwrap().call(TelemetryRequest::Push(push)).await.unwrap() {
        TelemetryResponse::Push(response) => response.error_code,
        other => panic!("{other:?}"),
    }
}

/// The facts that the client is built around, of this very release.
async fn what_the_broker_says_by_itself(node: &Node) {
    node.subscribe("*", SECOND * 60);
    let connect = || TcpTransport::builder().bootstrap(&node.address()).client_id("raw").build().unwrap();
    let mut transport = connect();
    // The subscription spreads through the broker's own log.
    let subscribed = loop {
        let response = get(&mut connect(), InstanceId::NIL).await;
        if !response.requested_metrics.is_empty() {
            break response;
        }
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(subscribed.accepted_compression_types, [4, 3, 1, 2]);
    assert_eq!((subscribed.push_interval_ms, subscribed.telemetry_max_bytes), (60_000, 32_768));
    assert_eq!(
        (subscribed.delta_temporality, subscribed.requested_metrics.as_slice()),
        (true, ["*".to_owned()].as_slice())
    );

    let first = get(&mut transport, InstanceId::NIL).await;
    let id = first.client_instance_id;
    let plain = |terminating, subscription_id, codec: Codec, metrics: &Bytes| PushTelemetryRequest {
        client_instance_id: id,
        subscription_id,
        terminating,
        compression_type: codec.id(),
        metrics: codec.compress(metrics).unwrap(),
    };
    let subscription = first.subscription_id;
    // An unknown subscription is to be asked for again at once. Older releases throttle that question all the same.
    let wrong = plain(false, subscription ^ 1, Codec::None, &Bytes::new());
    assert_eq!(push(&mut transport, wrong).await, ErrorCode::UNKNOWN_SUBSCRIPTION_ID);
    let again = get(&mut transport, id).await.error_code;
    println!("         a question right after UNKNOWN_SUBSCRIPTION_ID: the response is {again}");
    assert_eq!(again, ErrorCode::NONE);
    // Any other is early.
    assert_eq!(get(&mut transport, id).await.error_code, ErrorCode::THROTTLING_QUOTA_EXCEEDED);

    // One that compresses well and is larger than allowed before that, by another client each.
    let metrics: Vec<u8> = std::iter::repeat_n(b"\x0a\x00".as_slice(), MAX_BYTES).flatten().copied().collect();
    let metrics = Bytes::from(metrics);
    for (codec, expected) in [(Codec::None, ErrorCode::TELEMETRY_TOO_LARGE), (Codec::Gzip, ErrorCode::INVALID_RECORD)] {
        let mut transport = connect();
        let own = get(&mut transport, InstanceId::NIL).await;
        let mut large = plain(false, own.subscription_id, codec, &metrics);
        large.client_instance_id = own.client_instance_id;
        let (bytes, code) = (large.metrics.len(), push(&mut transport, large).await);
        println!("         {} bytes in {bytes} by {codec}: the response is {code}", metrics.len());
        assert_eq!(code, expected);
    }

    // A terminating push with a stale subscription is refused; is its client locked out all the same?
    let mut transport = connect();
    let own = get(&mut transport, InstanceId::NIL).await;
    let mut last = plain(true, own.subscription_id ^ 1, Codec::None, &Bytes::new());
    last.client_instance_id = own.client_instance_id;
    assert_eq!(push(&mut transport, last.clone()).await, ErrorCode::UNKNOWN_SUBSCRIPTION_ID);
    last.subscription_id = own.subscription_id;
    let code = push(&mut transport, last).await;
    println!("         a good push after a terminating one that was refused: the response is {code}");
}

// === clients ===

/// Waits for what the other process makes true in real time.
async fn wait(enough: impl Fn() -> bool) {
    let waiting = async {
        while !enough() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it comes true in time");
}

/// Another process, gone with its check.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Told(Arc<Mutex<Vec<ClientEvent>>>);

impl Told {
    fn changes(&self, wanted: Change) -> usize {
        let is = |event: &&ClientEvent| matches!(event, ClientEvent::Changed { change, .. } if *change == wanted);
        self.0.lock().unwrap().iter().filter(is).count()
    }

    fn empty_pushes(&self) -> usize {
        let is = |event: &&ClientEvent| matches!(event, ClientEvent::Pushing(push) if push.bytes == 0);
        self.0.lock().unwrap().iter().filter(is).count()
    }

    fn stops(&self) -> usize {
        let is = |event: &&ClientEvent| matches!(event, ClientEvent::Changed { change: Change::Stopped(_), .. });
        self.0.lock().unwrap().iter().filter(is).count()
    }
}

/// A client that has the standard metrics of a producer, and one counter that goes up by one with each push.
fn producer_metrics(told: Option<&Told>) -> (ClientBuilder, Arc<AtomicI64>) {
    let count = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&count);
    let builder = Kip714Client::builder().labels(ClientLabels::new().client_rack("rack-1")).metrics(move |out| {
        for name in producer::ALL {
            out.push(if name == producer::CONNECTION_CREATION_TOTAL {
                total(name, 1)
            } else {
                Metric::new(name, MetricData::Gauge(vec![NumberPoint::new(0, 1.5)]))
            });
        }
        out.push(total(TOTAL, counted.fetch_add(1, Relaxed) + 1));
    });
    let builder = match told {
        Some(Told(events)) => {
            let events = Arc::clone(events);
            builder.observe(move |event: &ClientEvent| events.lock().unwrap().push(event.clone()))
        }
        None => builder,
    };
    (builder, count)
}

fn told() -> Told {
    Told(Arc::default())
}

fn total(name: &'static str, value: i64) -> Metric {
    let points = vec![NumberPoint::new(0, value)];
    Metric::new(name, MetricData::Sum { points, temporality: Temporality::Cumulative, monotonic: true })
}

fn connect(node: &Node, client_id: &str) -> TcpTransport {
    TcpTransport::builder().bootstrap(&node.address()).client_id(client_id).build().unwrap()
}

async fn metrics_arrive(node: &Node, inbox: &Inbox) {
    node.subscribe("*", SECOND);
    let (builder, count) = producer_metrics(None);
    let a = builder.build(connect(node, "a")).unwrap();
    let b = producer_metrics(None).0.build(connect(node, "b")).unwrap();
    let (id_a, id_b) = (a.instance_id(PATIENCE).await.unwrap(), b.instance_id(PATIENCE).await.unwrap());
    assert_ne!(id_a, id_b);
    // Asked while the broker still had the longer interval, it may take that; the change reaches it either way.
    let of_a = inbox.until("a", |deliveries| deliveries.len() >= 6).await;
    inbox.until("b", |deliveries| deliveries.len() >= 2).await;
    let expected: BTreeSet<String> =
        producer::ALL.iter().map(|name| (*name).to_owned()).chain([TOTAL.to_owned()]).collect();
    for delivery in &of_a {
        assert_eq!((delivery.names(), delivery.instance.as_str()), (expected.clone(), id_a.to_string().as_str()));
        assert_eq!(delivery.labels(), ["client_rack".to_owned()].into());
    }
    for pair in of_a[1..].windows(2) {
        let apart = pair[1].millis - pair[0].millis;
        assert!((950..1_600).contains(&apart), "{apart} ms between two pushes");
    }
    // The broker asks for deltas: they touch, and add up to the counter.
    let sums: Vec<_> = of_a.iter().map(|delivery| delivery.sum(TOTAL).unwrap()).collect();
    assert!(sums.iter().all(|sum| sum.3) && sums.windows(2).all(|pair| pair[1].0 == pair[0].1));
    let report = a.shutdown(PATIENCE).await;
    let all = inbox.until("a", |deliveries| deliveries.last().is_some_and(|last| last.terminating)).await;
    let sum: i64 = all.iter().map(|delivery| delivery.sum(TOTAL).unwrap().2).sum();
    assert_eq!(sum, count.load(Relaxed));
    assert_eq!(all.iter().filter(|delivery| delivery.terminating).count(), 1);
    assert_eq!(report.totals.delivered, all.len() as u64 * 9, "what the ledger calls delivered has arrived");
    assert!(report.totals.balance() && report.status.state == State::Terminated);
    b.shutdown(PATIENCE).await;
}

async fn the_subscription_changes(node: &Node, inbox: &Inbox) {
    let told = told();
    let client = producer_metrics(Some(&told)).0.build(connect(node, "changing")).unwrap();
    inbox.until("changing", |deliveries| !deliveries.is_empty()).await;
    // Prefixes that overlap: each metric once.
    node.subscribe("org.apache.kafka.producer.node.,org.apache.kafka.producer.node.request.latency.avg", SECOND);
    let expected: BTreeSet<String> =
        [producer::NODE_REQUEST_LATENCY_AVG, producer::NODE_REQUEST_LATENCY_MAX].map(str::to_owned).into();
    let seen = inbox.until("changing", |all| all.last().is_some_and(|last| last.names() == expected)).await;
    assert_eq!(seen.last().unwrap().metrics().count(), 2);
    assert!(told.changes(Change::Refused(ErrorCode::UNKNOWN_SUBSCRIPTION_ID)) >= 1);
    node.subscribe("no.such.metric", SECOND);
    // The broker takes an empty payload and has nothing to show its receiver.
    wait(|| told.empty_pushes() >= 2).await;
    node.unsubscribe();
    wait(|| told.changes(Change::NothingWanted) > 0).await;
    let pushed = inbox.of("changing").len();
    sleep(SECOND * 3).await;
    assert_eq!(inbox.of("changing").len(), pushed, "pushes have stopped");
    let report = client.shutdown(PATIENCE).await;
    assert_eq!((report.status.counters.terminating_pushes, report.status.stopped), (0, None));
}

async fn each_compression(node: &Node, inbox: &Inbox) {
    node.subscribe("*", SECOND);
    let clients = Codec::ALL.map(|codec| {
        let name = format!("by-{codec}");
        let told = told();
        let builder = producer_metrics(Some(&told)).0.codecs([codec]);
        (name.clone(), codec, told, builder.build(connect(node, &name)).unwrap())
    });
    for (name, codec, told, client) in clients {
        let delivered = inbox.until(&name, |deliveries| deliveries.len() >= 2).await;
        assert_eq!(delivered[0].names().len(), 9);
        let used = |event: &ClientEvent| matches!(event, ClientEvent::Pushing(push) if push.codec == codec);
        assert!(told.0.lock().unwrap().iter().any(used), "{codec} was used");
        assert_eq!(client.shutdown(PATIENCE).await.status.counters.refusals, 0, "{codec}");
    }
}

async fn more_than_the_broker_takes(node: &Node, inbox: &Inbox) {
    let client = producer_metrics(None).0;
    let client = client.metrics(|out| {
        out.extend((0..2_000).map(|n| {
            let point = NumberPoint::new(0, f64::from(n)).attribute("topic", format!("topic-{n:05}"));
            Metric::new(names::metric("producer-topic-metrics", "record-send-rate"), MetricData::Gauge(vec![point]))
        }));
    });
    let client = client.build(connect(node, "large")).unwrap();
    let deliveries = inbox.until("large", |deliveries| deliveries.len() >= 4).await;
    for delivery in &deliveries {
        assert!(delivery.bytes <= MAX_BYTES && delivery.bytes > MAX_BYTES / 2, "{}", delivery.bytes);
        // The KIP's own metrics are the last to be left out.
        assert!(producer::ALL.iter().all(|name| delivery.names().contains(*name)));
    }
    let report = client.shutdown(PATIENCE).await;
    assert_eq!((report.status.counters.refusals, report.status.stopped), (0, None));
    assert!(report.totals.dropped.get(DropReason::TooLarge) > 1_000 && report.totals.balance(), "{}", report.totals);
    println!("         {}", report.totals);
}

/// An unsecured token, such as a broker without an issuer takes: a header, claims, and no signature.
#[expect(clippy::disallowed_methods, reason = "the edge: a token is issued by the wall clock")]
fn unsecured_token(seconds: u64) -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = format!(r#"{{"sub":"alice","iat":{now},"exp":{}}}"#, now + seconds);
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims))
}

async fn credentials(node: &Node, inbox: &Inbox) {
    let by_token = Sasl::oauth_bearer(|| async {
        let token = OAuthToken::new(&unsecured_token(60))?;
        Ok::<_, forebay_core::ConfigError>(token.valid_for(SECOND * 60))
    });
    let ways = [
        ("oauth", by_token),
        ("plain", Sasl::plain("alice", "s3cret")),
        ("scram-256", Sasl::scram_sha_256("alice", "s3cret")),
        ("scram-512", Sasl::scram_sha_512("alice", "s3cret")),
    ];
    let clients = ways.map(|(name, sasl)| {
        let transport =
            TcpTransport::builder().bootstrap(&node.sasl_address()).client_id(name).sasl(sasl).build().unwrap();
        (name, producer_metrics(None).0.build(transport).unwrap())
    });
    for (name, client) in clients {
        inbox.until(name, |deliveries| !deliveries.is_empty()).await;
        client.shutdown(PATIENCE).await;
    }
    let encrypted = |certificate: Option<Vec<u8>>| {
        let mut trusted = RootCertStore::empty();
        certificate.into_iter().for_each(|der| trusted.add(der.into()).unwrap());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_root_certificates(trusted).with_no_client_auth());
        TcpTransport::builder().bootstrap(&node.tls_address()).client_id("tls").tls(config).build().unwrap()
    };
    let client = producer_metrics(None).0.build(encrypted(Some(node.certificate()))).unwrap();
    inbox.until("tls", |deliveries| !deliveries.is_empty()).await;
    client.shutdown(PATIENCE).await;
    let request = || TelemetryRequest::GetSubscriptions(GetTelemetrySubscriptionsRequest::default());
    let refused = encrypted(None).oneshot(request()).await.unwrap_err();
    assert!(
        refused.to_string().starts_with("cannot connect"),
        "a broker that no known authority vouches for: {refused}"
    );

    let forged = Sasl::oauth_bearer(|| std::future::ready(OAuthToken::new("not.a.token")));
    let transport = TcpTransport::builder().bootstrap(&node.sasl_address()).client_id("forged").sasl(forged).build();
    let refused = transport.unwrap().oneshot(request()).await.unwrap_err();
    println!("         a forged token is refused: {refused}");
    assert!(refused.to_string().starts_with("authentication failed"), "{refused}");

    let wrong = Sasl::scram_sha_512("alice", "wrong");
    let transport =
        TcpTransport::builder().bootstrap(&node.sasl_address()).client_id("wrong").sasl(wrong).build().unwrap();
    let refused = transport.oneshot(request()).await.unwrap_err();
    assert!(refused.to_string().starts_with("authentication failed"), "{refused}");
}

/// The bootstrap list has another name of the broker than the one that it advertises.
async fn the_brokers_are_discovered(node: &Node, inbox: &Inbox) {
    let (proxy, used) = Proxy::start(node.address()).await;
    let transport = TcpTransport::builder().bootstrap(&proxy).client_id("discovered").build().unwrap();
    let client = producer_metrics(None).0.build(transport).unwrap();
    inbox.until("discovered", |deliveries| deliveries.len() >= 2).await;
    // The one connection through the proxy has asked for the brokers, and has ended.
    assert_eq!(used.load(Relaxed), 1);
    assert_eq!(client.shutdown(PATIENCE).await.status.counters.failures, 0);
}

/// Forwards connections to another address, and counts them.
struct Proxy;

impl Proxy {
    async fn start(to: String) -> (String, Arc<AtomicI64>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, used) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicI64::new(0)));
        let count = Arc::clone(&used);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                let to = to.clone();
                tokio::spawn(async move {
                    let mut to = tokio::net::TcpStream::connect(to).await.unwrap();
                    // However it ends, it has ended.
                    drop(tokio::io::copy_bidirectional(&mut from, &mut to).await);
                });
            }
        });
        (address, used)
    }
}

/// Both clients at once, on the same broker, through the same changes.
async fn the_java_client(node: &Node, inbox: &Inbox) {
    let mut java = Other(
        java("Producer").args([&node.address(), "java"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap(),
    );
    let told = told();
    let ours = producer_metrics(Some(&told)).0.build(connect(node, "ours")).unwrap();
    let mut id = String::new();
    BufReader::new(java.0.stdout.take().unwrap()).read_line(&mut id).unwrap();
    let (java_id, our_id) = (id.trim().to_owned(), ours.instance_id(PATIENCE).await.unwrap().to_string());
    let of_java = inbox.until("java", |all| all.len() >= 2).await;
    let of_ours = inbox.until("ours", |all| all.len() >= 2).await;
    assert_eq!((&of_java[0].instance, &of_ours[0].instance), (&java_id, &our_id));

    // The names and kinds of the standard metrics are the same. A node's latency exists in Java once it is measured.
    let (theirs, mine) = (of_java.last().unwrap(), of_ours.last().unwrap());
    for name in producer::ALL {
        assert_eq!(mine.kind(name), theirs.kind(name), "{name}");
    }
    println!(
        "         both have the {} standard metrics; Java has {} names in all",
        producer::ALL.len(),
        theirs.names().len()
    );
    assert_eq!(theirs.labels(), BTreeSet::new(), "and no label without a reason");

    // Two changes of the subscription, the first of which matches nothing.
    node.subscribe("no.such.metric", SECOND);
    wait(|| told.empty_pushes() >= 2).await;
    sleep(SECOND * 2).await;
    node.subscribe("org.apache.kafka.producer.connection.creation.", SECOND);
    for client in ["java", "ours"] {
        inbox.until(client, |all| all.last().is_some_and(|last| last.names().len() == 2)).await;
    }
    sleep(SECOND).await;
    let (of_java, of_ours) = (node.counts(&java_id), node.counts(&our_id));
    println!("         the broker counts of Java's: {of_java:?}");
    println!("         and of ours:                 {of_ours:?}");
    // Whether a question is throttled depends on the jitter before it, for both.
    let kinds = |counts: &[(String, f64)]| -> Vec<(String, bool)> {
        let counts = counts.iter().filter(|(name, _)| !name.starts_with("throttle"));
        counts.map(|(name, count)| (name.clone(), *count > 0.0)).collect()
    };
    assert!(!of_ours.is_empty());
    assert_eq!(kinds(&of_java), kinds(&of_ours), "the same things happened to both");

    java.0.stdin.take().unwrap().write_all(b"\n").unwrap();
    ours.shutdown(PATIENCE).await;
    assert!(java.0.wait().unwrap().success());
    let all = inbox.until("ours", |all| all.last().is_some_and(|last| last.terminating)).await;
    assert_eq!(all.iter().filter(|delivery| delivery.terminating).count(), 1);
    let terminating = inbox.of("java").iter().filter(|delivery| delivery.terminating).count();
    println!("         terminating pushes that reached the receiver: 1 of ours, {terminating} of Java's");
    assert_eq!(told.stops(), 0);
    node.subscribe("*", SECOND);
}

async fn a_process_is_terminated(node: &Node, inbox: &Inbox) {
    let program = env::var("KAFKA_CLIENT").expect(".ci/interop-kafka sets it");
    let mut process = Other(
        Command::new(program)
            .args(["--bootstrap", &node.address(), "--client-id", "process"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    inbox.until("process", |all| !all.is_empty()).await;
    let killed = Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status().unwrap();
    assert!(killed.success() && process.0.wait().unwrap().success());
    let all = inbox.until("process", |all| all.last().is_some_and(|last| last.terminating)).await;
    assert_eq!(all.iter().filter(|delivery| delivery.terminating).count(), 1);
}

async fn the_broker_is_killed(node: &mut Node, inbox: &Inbox) {
    let told = told();
    let (builder, count) = producer_metrics(Some(&told));
    let client = builder.request_timeout(SECOND * 5).build(connect(node, "survivor")).unwrap();
    let id = client.instance_id(PATIENCE).await.unwrap().to_string();
    inbox.until("survivor", |all| all.len() >= 2).await;
    // In mid-push: the moment one begins.
    let pushing = || told.0.lock().unwrap().iter().filter(|event| matches!(event, ClientEvent::Pushing(_))).count();
    let before = pushing();
    while pushing() == before {
        tokio::task::yield_now().await;
    }
    node.kill();
    let delivered = inbox.of("survivor").len();
    sleep(SECOND * 3).await;
    assert_eq!(client.status().stopped, None);
    node.start_again();
    node.up().await;
    let all = inbox.until("survivor", |all| all.len() >= delivered + 3).await;
    assert!(all.iter().all(|delivery| delivery.instance == id), "the id is kept for life");
    let report = client.shutdown(PATIENCE).await;
    let all = inbox.until("survivor", |all| all.last().is_some_and(|last| last.terminating)).await;
    let sum: i64 = all.iter().map(|delivery| delivery.sum(TOTAL).unwrap().2).sum();
    let count = count.load(Relaxed);
    println!("         counted {count}, arrived {sum}; {}", report.totals);
    assert!(sum <= count && report.totals.balance());
    assert!(told.changes(Change::Lost) >= 1 && told.stops() == 0);
}

async fn the_receiver_throws(node: &Node, inbox: &Inbox) {
    let told = told();
    let client = producer_metrics(Some(&told)).0.build(connect(node, "unlucky")).unwrap();
    inbox.until("unlucky", |all| !all.is_empty()).await;
    inbox.fail(true);
    wait(|| client.status().ended).await;
    inbox.fail(false);
    assert_eq!((client.status().stopped, told.stops()), (Some(Stopped::InvalidRecord), 1));
    sleep(SECOND * 2).await;
    assert_eq!(told.stops(), 1);
    assert!(client.shutdown(PATIENCE).await.totals.balance());
}
