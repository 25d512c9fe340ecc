//! Servers that do as a test says, told apart by the host of the URL.

use bytes::{Bytes, BytesMut};
use forebay_core::BoxError;
use forebay_export::{AllNormal, Batching, ByFootprint, Encode, Endpoints, Exporter, ExporterBuilder, Skipped};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use std::{
    collections::HashMap,
    future::{Future, pending},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::Service;

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// It takes it.
    Up,
    /// No connection can be made.
    Refuses,
    /// There is never a response.
    Hangs,
    Status(u16),
    /// 429, with so many seconds in `Retry-After`.
    Throttles(u64),
    /// It takes it, and the connection breaks before the response.
    Breaks,
    /// It works on so many requests at a time, and responds with 429 to one more.
    Works(usize),
    /// It takes a body of so many bytes at most, and responds with 413 to a larger one.
    Takes(usize),
}

pub(crate) struct Server {
    pub(crate) mode: Mode,
    pub(crate) latency: Duration,
    running: usize,
    /// The most requests that were under way at a time.
    pub(crate) most: usize,
    /// When requests came.
    pub(crate) came: Vec<Instant>,
    /// The items that were taken, and when; one that was taken twice is here twice.
    pub(crate) taken: Vec<(u32, Instant)>,
    /// How many items it has taken without being able to say so.
    pub(crate) unsaid: usize,
    /// The bytes of each body that was taken.
    pub(crate) bodies: Vec<usize>,
    /// The headers of the first requests.
    pub(crate) headers: Vec<HeaderMap>,
}

#[derive(Clone, Default)]
pub(crate) struct Servers(Arc<Mutex<HashMap<String, Server>>>);

/// A client of all of them.
#[derive(Clone)]
pub(crate) struct Client(Servers);

/// A request that is under way.
struct Running(Servers, String);

/// Four bytes for each item.
pub(crate) struct Numbers;

pub(crate) type Builder<C> = ExporterBuilder<u32, Numbers, C, ByFootprint, AllNormal>;

pub(crate) const A: &str = "https://a.example/v1";
pub(crate) const B: &str = "https://b.example/v1";
pub(crate) const C: &str = "https://c.example/v1";

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An exporter of batches of ten items, of which several are in flight.
pub(crate) fn exporter(endpoints: impl Into<Endpoints>, client: Client) -> Exporter<u32> {
    builder(endpoints).client(client).build().unwrap()
}

pub(crate) fn builder(endpoints: impl Into<Endpoints>) -> Builder<()> {
    let batching = Batching::new().max_items(10).max_delay(ms(5)).max_in_flight(32);
    Exporter::builder().encoder(Numbers).endpoints(endpoints).batching(batching)
}

/// Ten items in each of so many batches.
pub(crate) fn emit(exporter: &Exporter<u32>, batches: std::ops::Range<u32>) {
    (batches.start * 10..batches.end * 10).for_each(|item| exporter.emit(item));
}

// === impl Servers ===

impl Servers {
    pub(crate) fn client(&self) -> Client {
        Client(self.clone())
    }

    /// Reads or changes the server of a URL.
    pub(crate) fn at<R>(&self, url: &str, look: impl FnOnce(&mut Server) -> R) -> R {
        let host = url.trim_start_matches("https://").split('/').next().unwrap();
        let mut servers = self.0.lock().unwrap();
        look(servers.entry(host.to_owned()).or_insert_with(|| Server {
            mode: Mode::Up,
            latency: ms(1),
            running: 0,
            most: 0,
            came: Vec::new(),
            taken: Vec::new(),
            unsaid: 0,
            bodies: Vec::new(),
            headers: Vec::new(),
        }))
    }

    pub(crate) fn turn(&self, url: &str, mode: Mode) {
        self.at(url, |server| server.mode = mode);
    }

    /// How many requests came to a server.
    pub(crate) fn requests(&self, url: &str) -> usize {
        self.at(url, |server| server.came.len())
    }

    /// The items that a server has taken.
    pub(crate) fn taken(&self, url: &str) -> Vec<u32> {
        let mut taken: Vec<u32> = self.at(url, |server| server.taken.iter().map(|(item, _)| *item).collect());
        taken.sort_unstable();
        taken
    }

    /// Forgets what came so far.
    pub(crate) fn clear(&self, url: &str) {
        self.at(url, |server| {
            (server.most, server.came, server.taken) = (server.running, Vec::new(), Vec::new());
            (server.bodies, server.headers) = (Vec::new(), Vec::new());
        });
    }

    async fn respond(self, request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, BoxError> {
        let url = request.uri().to_string();
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (mode, latency, running) = self.at(&url, |server| {
            server.came.push(Instant::now());
            if server.headers.len() < 64 {
                server.headers.push(head.headers);
            }
            server.running += 1;
            server.most = server.most.max(server.running);
            (server.mode, server.latency, server.running)
        });
        let _running = Running(self.clone(), url.clone());
        let response = |status: u16| Response::builder().status(status).body(Full::new(Bytes::new())).unwrap();
        match mode {
            Mode::Refuses => return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            Mode::Hangs => pending().await,
            Mode::Status(status) => {
                sleep(latency).await;
                return Ok(response(status));
            }
            Mode::Throttles(seconds) => {
                let mut response = response(429);
                response.headers_mut().insert("retry-after", HeaderValue::from(seconds));
                return Ok(response);
            }
            Mode::Works(most) if running > most => return Ok(response(429)),
            Mode::Takes(most) if body.len() > most => return Ok(response(413)),
            Mode::Up | Mode::Breaks | Mode::Takes(_) | Mode::Works(_) => {}
        }
        sleep(latency).await;
        let now = Instant::now();
        self.at(&url, |server| {
            let items = body.chunks_exact(4).map(|item| u32::from_be_bytes(item.try_into().unwrap()));
            server.taken.extend(items.map(|item| (item, now)));
            server.bodies.push(body.len());
            server.unsaid += if mode == Mode::Breaks { body.len() / 4 } else { 0 };
        });
        if mode == Mode::Breaks {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        }
        Ok(response(200))
    }
}

impl Service<Request<Full<Bytes>>> for Client {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        Box::pin(self.0.clone().respond(request))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.at(&self.1, |server| server.running -= 1);
    }
}

impl Encode<u32> for Numbers {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, items: &[u32], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        items.iter().for_each(|item| body.extend_from_slice(&item.to_be_bytes()));
        Ok(Skipped::NONE)
    }
}
