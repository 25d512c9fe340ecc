//! The laws of `tower::Service`, for the whole stack: over a client that is as strict as the contract allows, and for the
//! exporter as a service.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::{Bytes, BytesMut};
use forebay_batch::Batching;
use forebay_core::BoxError;
use forebay_export::{
    AddressRefused, BodyTooLarge, Credential, EmitOrWait, Encode, EndpointGuard, ExportError, Exporter, ExporterHandle,
    GrpcError, NoCredential, ResponseFuture, Skipped, TransportError,
};
use forebay_intake::{Limits, Overflow};
use forebay_retry::Backoff;
use forebay_testkit::{Probe, laws};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

type Client = Probe<Request<Full<Bytes>>, Response<Full<Bytes>>>;

struct Lines;

impl Encode<u32> for Lines {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/plain")
    }

    fn encode(&self, items: &[u32], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        items.iter().for_each(|item| body.extend_from_slice(item.to_string().as_bytes()));
        Ok(Skipped::NONE)
    }
}

/// A client with this many slots, which responds with these statuses in turn, and then with 200.
fn client(slots: usize, statuses: &'static [u16]) -> Client {
    let calls = Arc::<AtomicUsize>::default();
    Probe::with_slots(slots, move |_| {
        let status = statuses.get(calls.fetch_add(1, SeqCst)).copied().unwrap_or(200);
        async move {
            let mut response = Response::new(Full::new(Bytes::from_static(b"said")));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok(response)
        }
    })
}

fn over(client: Client) -> forebay_export::ExporterBuilder<u32, Lines, Client> {
    Exporter::builder()
        .endpoint("https://far.example/")
        .encoder(Lines)
        .client(client)
        .batching(Batching::new().max_items(2).max_delay(Duration::from_millis(1)))
        .retry(|retry| retry.backoff(Backoff::constant(Duration::from_millis(1))))
}

/// R17: on every attempt, with a credential and its renewal, and after the retries are over.
#[tokio::test(start_paused = true)]
async fn r17_the_readied_instance_of_the_client_is_called_on_every_attempt() {
    for with_credential in [false, true] {
        let probe = client(1, &[503, 401, 429, 500, 502, 504, 503, 200, 413, 400]);
        let watch = probe.watch();
        let mut builder = over(probe);
        if with_credential {
            builder = builder.auth(|| std::future::ready(Credential::bearer("token")));
        }
        let exporter = builder.build().unwrap();
        (0..40).for_each(|item| exporter.emit(item));
        tokio::time::timeout(Duration::from_secs(300), exporter.flush()).await.unwrap();
        assert!(watch.calls() > 20, "{}", watch.calls());
        assert_eq!((watch.violations(), watch.running()), (0, 0));
        assert!(exporter.totals().balance() && exporter.totals().pending == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_is_stable() {
    for overflow in [Overflow::Refuse, Overflow::DropOldest, Overflow::Wait] {
        laws::readiness_is_stable(over(client(1, &[])).overflow(overflow).build().unwrap()).await;
    }
}

/// Q18: an exporter holds room for items only, not for clones that are ready.
#[tokio::test(start_paused = true)]
async fn q18_a_thousand_ready_clones_hold_nothing() {
    let exporter = over(client(1, &[])).limits(Limits::new().items(10).soft_limit(1.0)).build().unwrap();
    let mut clones: Vec<_> = (0..1_000).map(|_| exporter.clone()).collect();
    for clone in &mut clones {
        assert!(laws::poll_once(clone).await.is_ready());
    }
    (0..10).for_each(|item| exporter.emit(item));
    exporter.flush().await;
    assert_eq!(exporter.totals().delivered, 10);
}

#[tokio::test(start_paused = true)]
async fn every_waiter_for_room_wakes_on_close() {
    let exporter = over(Probe::hanging()).limits(Limits::new().items(1).soft_limit(1.0)).overflow(Overflow::Wait);
    let exporter = exporter.build().unwrap();
    exporter.emit(0);
    let waiters: Vec<_> = (0..10).map(|_| exporter.clone()).collect();
    laws::every_waiter_wakes_on_close(waiters, || exporter.handle().close()).await;
}

#[tokio::test(start_paused = true)]
async fn every_error_says_each_thing_once() {
    let errors = Arc::<Mutex<Vec<ExportError>>>::default();
    let kept = Arc::clone(&errors);
    let statuses = &[404, 503, 503, 503, 503, 413];
    let builder =
        over(client(1, statuses)).observe(move |error: &ExportError| kept.lock().unwrap().push(error.clone()));
    let exporter = builder.max_age(Duration::ZERO).build().unwrap();
    for item in 0..3 {
        exporter.emit(item);
        exporter.flush().await;
    }
    let away = over(Probe::new(|_| async { Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()) }));
    let away = away.max_age(Duration::ZERO).build().unwrap();
    away.emit(0);
    away.flush().await;
    errors.lock().unwrap().push(away.last_error().unwrap());
    let errors = errors.lock().unwrap();
    assert_eq!(errors.len(), 4);
    for error in &*errors {
        laws::error_chain_has_one_link_per_sentence(error);
        assert!(!error.report().to_string().is_empty());
    }
}

#[test]
fn what_is_shared_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Exporter<u32>>();
    shared::<ExporterHandle<u32>>();
    shared::<ResponseFuture<u32>>();
    shared::<EmitOrWait<'static, u32>>();
    shared::<ExportError>();
    shared::<GrpcError>();
    shared::<TransportError>();
    shared::<NoCredential>();
    shared::<BodyTooLarge>();
    shared::<AddressRefused>();
    shared::<Credential>();
    shared::<EndpointGuard>();
}
