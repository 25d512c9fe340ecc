//! Against a real socket, and what may go wrong with one.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_core::DropReason;
use forebay_databricks::{BearerToken, Connect, Connection, DriverTelemetry, Settings};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The connection ends before the request is read.
    Reset,
    /// The request is taken, and the connection ends without an answer.
    NoAnswer,
    Garbage,
    Hang,
    Status(u16),
    None,
}

type Taken = Arc<Mutex<Vec<String>>>;

struct Service {
    address: SocketAddr,
    taken: Taken,
}

impl Service {
    /// One fault for each connection, and none when they are used up.
    async fn start(faults: impl IntoIterator<Item = Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, taken) = (listener.local_addr().unwrap(), Taken::default());
        let (mut faults, into) = (faults.into_iter().collect::<VecDeque<_>>(), Arc::clone(&taken));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, faults.pop_front().unwrap_or(Fault::None), Arc::clone(&into)));
            }
        });
        Self { address, taken }
    }

    async fn connect(&self, settings: Settings) -> Connection {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let telemetry =
            DriverTelemetry::builder(client).settings(settings).kill_switch(None).allow_inside().build().unwrap();
        let connect = Connect::new(format!("http://{}", self.address));
        telemetry.connect(connect.credentials(BearerToken::new("t").unwrap())).await
    }

    fn ids(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

async fn serve(mut socket: TcpStream, fault: Fault, taken: Taken) {
    match fault {
        Fault::Reset => {
            // Unread bytes make it a reset.
            socket.readable().await.unwrap();
            return;
        }
        Fault::Garbage => {
            socket.readable().await.unwrap();
            socket.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").await.unwrap();
            return;
        }
        Fault::Hang => {
            let _held = socket;
            return std::future::pending().await;
        }
        Fault::NoAnswer | Fault::Status(_) | Fault::None => {}
    }
    let answer = service_fn(move |request: Request<Incoming>| {
        let taken = Arc::clone(&taken);
        async move {
            let authorized = request.headers().get("authorization").is_some_and(|token| token == "Bearer t");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            if let Fault::Status(status) = fault {
                return Ok(Response::builder()
                    .status(status)
                    .header("connection", "close")
                    .body(Full::default())
                    .unwrap());
            }
            let envelope: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let logs = envelope["protoLogs"].as_array().unwrap();
            let id = |log: &serde_json::Value| {
                let log: serde_json::Value = serde_json::from_str(log.as_str().unwrap()).unwrap();
                log["frontend_log_event_id"].to_string()
            };
            assert!(authorized);
            taken.lock().unwrap().extend(logs.iter().map(id));
            if fault == Fault::NoAnswer {
                return Err("the connection ends");
            }
            let body = format!(r#"{{"errors":[],"numSuccess":0,"numProtoSuccess":{}}}"#, logs.len());
            Ok(Response::new(Full::new(Bytes::from(body))))
        }
    });
    // However it ends, it is over.
    drop(http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await);
}

/// Short times, for these are real ones.
fn quick() -> Settings {
    let (attempt_timeout, backoff_base) = (Duration::from_millis(300), Duration::from_millis(5));
    Settings { attempt_timeout, backoff_base, backoff_jitter: backoff_base, ..Settings::node() }
}

#[tokio::test]
async fn faults_of_a_connection_are_outlived() {
    for fault in [Fault::Reset, Fault::Garbage, Fault::Hang, Fault::Status(503)] {
        let service = Service::start([fault, fault]).await;
        let connection = service.connect(quick()).await;
        (0..10).for_each(|_| connection.operation("x", Duration::ZERO));
        connection.flush().await;
        let report = connection.report().unwrap();
        assert_eq!((report.logs.delivered, report.counters.requests), (10, 3), "{fault:?}: {}", report.logs);
        assert_eq!(service.ids().len(), 10, "{fault:?}");
    }
}

#[tokio::test]
async fn r10_what_was_taken_without_an_answer_comes_again_under_the_same_ids() {
    let service = Service::start([Fault::NoAnswer]).await;
    let connection = service.connect(quick()).await;
    (0..10).for_each(|_| connection.operation("x", Duration::ZERO));
    connection.flush().await;
    let ids = service.ids();
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (20, 10), "so that the service can tell");
    assert_eq!(connection.report().unwrap().logs.delivered, 10);
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = Service { address: listener.local_addr().unwrap(), taken: Taken::default() };
    drop(listener);
    let connection = service.connect(quick()).await;
    connection.operation("x", Duration::ZERO);
    connection.flush().await;
    let report = connection.report().unwrap();
    assert_eq!((report.counters.requests, report.logs.dropped.total()), (4, 1), "refused connections are tried again");
    assert_eq!(report.logs.dropped.get(DropReason::CircuitOpen), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g01_many_connections_of_one_host_share_and_lose_nothing() {
    let service = Service::start([]).await;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let settings = Settings { max_pending: 10_000, ..Settings::node() };
    let builder = DriverTelemetry::builder(client).settings(settings).kill_switch(None).allow_inside();
    let telemetry = builder.build().unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let (telemetry, host) = (telemetry.clone(), format!("http://{}", service.address));
            tokio::spawn(async move {
                let connect = Connect::new(host).credentials(BearerToken::new("t").unwrap());
                let connection = telemetry.connect(connect).await;
                for id in 0..20 {
                    let statement = connection.statement(&format!("{n}-{id}"));
                    statement.started(None, None, false);
                    statement.completed(Duration::ZERO);
                }
                connection.close().await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(telemetry.shutdown(Duration::from_secs(10)).await.is_clean());
    let ids = service.ids();
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (1_000, 1_000));
}
