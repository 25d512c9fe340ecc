//! The addresses of one name as endpoints, by a scripted lookup in virtual time.

use bytes::{Bytes, BytesMut};
use forebay_core::BoxError;
use forebay_export::{
    Addresses, Balance, Destination, DnsEndpoints, Encode, EndpointGuard, Exporter, HostPort, Skipped, SystemLookup,
};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::TokioExecutor,
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);
const URL: &str = "http://otel.example.com/v1/logs";

struct Nothing;

impl Encode<u32> for Nothing {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, _: &[u32], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        body.extend_from_slice(b"items");
        Ok(Skipped::NONE)
    }
}

fn exporter() -> Exporter<u32> {
    let client =
        service_fn(|_: Request<Full<Bytes>>| async { Ok::<_, BoxError>(Response::new(Full::new(Bytes::new()))) });
    Exporter::builder().endpoints(Balance::new([URL])).encoder(Nothing).client(client).quiet().build().unwrap()
}

fn addresses(exporter: &Exporter<u32>) -> Vec<String> {
    exporter.handle().endpoints().iter().filter_map(|one| one.address).map(|one| one.to_string()).collect()
}

/// What the lookup says from each moment on.
#[derive(Clone)]
struct Script {
    says: Arc<Mutex<Result<Addresses, &'static str>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Script {
    fn new() -> Self {
        Self { says: Arc::new(Mutex::new(Err("away"))), asked: Arc::default() }
    }

    fn says(&self, addresses: &[&str], valid_for: Option<Duration>) {
        let addresses = addresses.iter().map(|one| SocketAddr::new(one.parse().unwrap(), 80)).collect();
        *self.says.lock().unwrap() = Ok(Addresses { addresses, valid_for });
    }

    fn keep(&self, exporter: &Exporter<u32>, endpoints: DnsEndpoints) {
        let (script, handle) = (self.clone(), exporter.handle());
        let lookup = service_fn(move |name: HostPort| {
            assert_eq!((&*name.host, name.port), ("otel.example.com", 80));
            script.asked.lock().unwrap().push(Instant::now());
            let says = script.says.lock().unwrap().clone();
            async move { says.map_err(BoxError::from) }
        });
        drop(tokio::spawn(endpoints.run(handle, lookup, Balance::new)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_addresses_of_a_name_are_the_endpoints_within_their_time_to_live() {
    let (exporter, script) = (exporter(), Script::new());
    script.says(&["192.0.2.2", "192.0.2.1", "192.0.2.2"], Some(60 * SECOND));
    script.keep(&exporter, DnsEndpoints::new(URL));
    sleep(SECOND).await;
    assert_eq!(addresses(&exporter), ["192.0.2.1:80", "192.0.2.2:80"]);
    assert!(exporter.handle().endpoints().iter().all(|one| one.endpoint.to_string() == URL));
    script.says(&["192.0.2.3"], Some(60 * SECOND));
    sleep(60 * SECOND).await;
    assert_eq!(addresses(&exporter), ["192.0.2.3:80"]);
    // A shorter time to live than the least is not followed.
    script.says(&["192.0.2.4"], Some(Duration::ZERO));
    sleep(60 * SECOND).await;
    let before = script.asked.lock().unwrap().len();
    sleep(60 * SECOND).await;
    assert!(script.asked.lock().unwrap().len() - before <= 12);
}

#[tokio::test(start_paused = true)]
async fn a_failed_lookup_keeps_the_addresses_of_before() {
    let (exporter, script) = (exporter(), Script::new());
    script.says(&["192.0.2.1"], Some(10 * SECOND));
    script.keep(&exporter, DnsEndpoints::new(URL).refresh_between(SECOND, 100 * SECOND));
    sleep(SECOND).await;
    *script.says.lock().unwrap() = Err("away");
    sleep(1000 * SECOND).await;
    assert_eq!(addresses(&exporter), ["192.0.2.1:80"]);
    assert!(script.asked.lock().unwrap().len() < 30, "it asks less and less often");
    script.says(&["192.0.2.9"], Some(10 * SECOND));
    sleep(100 * SECOND).await;
    assert_eq!(addresses(&exporter), ["192.0.2.9:80"]);
    script.says(&[], Some(10 * SECOND));
    sleep(100 * SECOND).await;
    assert_eq!(addresses(&exporter), ["192.0.2.9:80"], "no address is no change");
}

#[tokio::test(start_paused = true)]
async fn addresses_that_the_guard_refuses_are_never_used_and_counted() {
    let (exporter, script) = (exporter(), Script::new());
    script.says(&["169.254.169.254", "93.184.216.34", "127.0.0.1"], None);
    let endpoints = DnsEndpoints::new(Destination::new(URL)).guard(EndpointGuard::new());
    let refused = endpoints.refused();
    script.keep(&exporter, endpoints);
    sleep(SECOND).await;
    assert_eq!(addresses(&exporter), ["93.184.216.34:80"]);
    assert_eq!(refused.load(Relaxed), 2);
}

/// A server on one address of the loopback network. It says what `Host` it was asked for.
async fn server(address: SocketAddr, hosts: Arc<Mutex<Vec<String>>>) -> (SocketAddr, tokio::task::AbortHandle) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serves = tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"items") && connection.read(&mut byte).await.unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
            hosts.lock().unwrap().push(host.to_owned());
            let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            connection.write_all(response).await.unwrap();
        }
    });
    (address, serves.abort_handle())
}

/// Two servers of one name, of which one dies: the connection goes to the address, and the request keeps the name.
#[tokio::test]
async fn of_two_addresses_of_a_name_one_dies_and_the_other_goes_on() {
    let (first, second) = (Arc::default(), Arc::default());
    let (one, dies) = server("127.0.0.1:0".parse().unwrap(), Arc::clone(&first)).await;
    let (two, _serves) = server(SocketAddr::new("127.0.0.2".parse().unwrap(), one.port()), Arc::clone(&second)).await;
    let url = format!("http://otel.example.com:{}/v1/logs", one.port());
    let exporter = Exporter::builder()
        .endpoints(Balance::new([url.clone()]))
        .encoder(Nothing)
        .client_for(|destination| {
            // Before the first lookup there is no address, and no connection.
            let address = destination.pinned_address();
            let resolver = service_fn(move |_: Name| async move { Ok::<_, BoxError>(address.into_iter()) });
            Client::builder(TokioExecutor::new()).build(HttpConnector::new_with_resolver(resolver))
        })
        .quiet()
        .build()
        .unwrap();
    let lookup = service_fn(move |_: HostPort| async move {
        Ok::<_, BoxError>(Addresses { addresses: vec![one, two], valid_for: None })
    });
    let keeps = tokio::spawn(DnsEndpoints::new(url).run(exporter.handle(), lookup, Balance::new));
    while exporter.handle().endpoints().len() < 2 {
        tokio::task::yield_now().await;
    }
    for item in 0..10 {
        exporter.emit(item);
        exporter.flush().await;
    }
    assert_eq!(exporter.totals().delivered, 10);
    dies.abort();
    let before = second.lock().unwrap().len();
    for item in 0..20 {
        exporter.emit(item);
        exporter.flush().await;
    }
    assert_eq!(exporter.totals().delivered, 30, "{}", exporter.totals());
    assert!(second.lock().unwrap().len() > before);
    let host = format!("otel.example.com:{}", one.port());
    assert!(first.lock().unwrap().iter().chain(second.lock().unwrap().iter()).all(|asked: &String| *asked == host));
    keeps.abort();
}

#[tokio::test]
async fn the_resolver_of_the_system_knows_the_addresses_of_a_literal() {
    use tower::ServiceExt;

    let name = HostPort { host: "127.0.0.1".into(), port: 4318 };
    let found = SystemLookup.oneshot(name).await.unwrap();
    assert_eq!((found.addresses, found.valid_for), (vec!["127.0.0.1:4318".parse().unwrap()], None));
}
