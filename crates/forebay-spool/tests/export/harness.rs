//! A spool whose calls end at once, a server that can be away, and the exporter between the two.

use crate::support::{NOW, SimDisk, at, builder};
use bytes::{Bytes, BytesMut};
use forebay_export::{Backoff, BoxError, Encode, Exporter, ExporterBuilder, Skipped};
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
use tokio::time::{Instant, sleep};
use tower::util::BoxCloneSyncService;

pub(crate) const S: Duration = Duration::from_secs(1);

// === A spool whose calls end at once ===

#[derive(Clone, Debug)]
pub(crate) struct Now(pub(crate) Arc<Mutex<Engine>>);

impl Now {
    pub(crate) fn open(disk: &SimDisk) -> Self {
        Self::of(builder(disk))
    }

    pub(crate) fn of(builder: forebay_spool::SpoolBuilder) -> Self {
        Self(Arc::new(Mutex::new(builder.open_engine(at(NOW)).unwrap())))
    }

    pub(crate) fn pending(&self) -> u64 {
        self.0.lock().unwrap().stats().destinations[0].pending
    }

    pub(crate) fn dead(&self) -> Vec<(String, Bytes)> {
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

pub(crate) struct Text;

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

pub(crate) struct Lines;

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
pub(crate) enum Mode {
    There,
    /// It says 503.
    Away,
    /// It does not respond.
    Hangs,
    /// It is there, and refuses each request with an item that begins with `bad`.
    Picky,
}

#[derive(Clone)]
pub(crate) struct Server(pub(crate) Arc<(Mutex<Mode>, Mutex<Taken>, AtomicUsize)>);

/// Lines, and when each was taken.
type Taken = Vec<(String, Instant)>;

pub(crate) type Client = BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, BoxError>;

impl Server {
    pub(crate) fn new(mode: Mode) -> Self {
        Self(Arc::new((Mutex::new(mode), Mutex::default(), AtomicUsize::new(0))))
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.0.0.lock().unwrap() = mode;
    }

    pub(crate) fn requests(&self) -> usize {
        self.0.2.load(Relaxed)
    }

    /// What it took, in its order.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.0.1.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    pub(crate) fn client(&self) -> Client {
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

pub(crate) fn exporter(server: &Server) -> ExporterBuilder<String, Lines, Client> {
    Exporter::builder()
        .endpoint("http://127.0.0.1/")
        .encoder(Lines)
        .client(server.client())
        .retry(|retry| retry.max_retries(1).backoff(Backoff::constant(Duration::from_millis(1))).without_budget())
        .breaker(|breaker| breaker.open_for(5 * S))
        .attempt_timeout(S)
        .batching(forebay_export::Batching::new().max_items(16).max_delay(Duration::from_millis(10)))
}

pub(crate) fn spool(spool: &Now) -> ExporterSpool<Text> {
    ExporterSpool::new(spool.clone(), "main", Text).policy(ReplayPolicy::default().ramp(S)).unwrap()
}

pub(crate) fn emit(exporter: &Exporter<String>, name: &str, count: usize) -> Vec<String> {
    let lines: Vec<_> = (0..count).map(|number| format!("{name} {number}")).collect();
    lines.iter().for_each(|line| exporter.emit(line.clone()));
    lines
}

pub(crate) fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Waits until `done`, in virtual time, a limited number of it.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if done() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}
