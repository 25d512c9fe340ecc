//! Many exporters whose server was away for longer than they keep an item: what reaches it when it returns.

use bytes::{Bytes, BytesMut};
use forebay_batch::Batching;
use forebay_core::{BoxError, chance::SplitMix64, time::saturating_mul};
use forebay_export::{Backoff, Encode, Exporter, Jitter, Skipped};
use forebay_testkit::Histogram;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tower::service_fn;

const CLIENTS: u64 = 400;
const SECOND: Duration = Duration::from_secs(1);
/// The mean time between two items of one client.
const EVERY: Duration = Duration::from_secs(2);
const BEFORE: Duration = Duration::from_secs(30);
const OUTAGE: Duration = Duration::from_secs(10 * 60);
const AFTER: Duration = Duration::from_secs(120);
/// How long an exporter keeps what it could not send.
const AGE: Duration = Duration::from_secs(300);
/// The longest time between two probes of one client: the backoff, and attempts that time out.
const PROBE: Duration = Duration::from_secs(180);
const BIN: Duration = Duration::from_millis(100);

/// What the server does while it is away.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// It refuses connections.
    Refuses,
    /// It never responds, and resets the connections that are open when it returns.
    Hangs,
}

struct Nothing;

impl Encode<()> for Nothing {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, _: &[()], _: &mut BytesMut) -> Result<Skipped, BoxError> {
        Ok(Skipped::NONE)
    }
}

/// The requests that reached the server, in bins of a tenth of a second.
async fn bins(away: Away) -> Vec<u32> {
    let start = Instant::now();
    let (goes, returns) = (start + BEFORE, start + BEFORE + OUTAGE);
    let bins = Arc::new(Mutex::new(vec![0_u32; bin(BEFORE + OUTAGE + AFTER) + 1]));
    let (mut exporters, mut tasks) = (Vec::new(), JoinSet::new());
    for seed in 0..CLIENTS {
        let seen = Arc::clone(&bins);
        let client = service_fn(move |_: Request<Full<Bytes>>| {
            let now = Instant::now();
            seen.lock().unwrap()[bin(now - start)] += 1;
            async move {
                if now < goes || now >= returns {
                    sleep(BIN / 2).await;
                    return Ok::<_, BoxError>(Response::new(Full::new(Bytes::new())));
                }
                Err(match away {
                    Away::Refuses => io::Error::from(io::ErrorKind::ConnectionRefused).into(),
                    Away::Hangs => {
                        sleep_until(returns).await;
                        io::Error::from(io::ErrorKind::ConnectionReset).into()
                    }
                })
            }
        });
        // The defaults, with a seed.
        let attempts = Backoff::exponential(BIN).cap(10 * SECOND).jitter(Jitter::Full).seed(seed);
        let parked = Backoff::exponential(SECOND).cap(30 * SECOND).jitter(Jitter::Equal).seed(seed);
        let exporter = Exporter::builder()
            .endpoint("https://far.example/")
            .encoder(Nothing)
            .client(client)
            .retry(|retry| retry.backoff(attempts))
            .breaker(|breaker| breaker.seed(seed))
            .park_backoff(parked)
            .quiet()
            .build()
            .unwrap();
        exporters.push(exporter.clone());
        tasks.spawn(async move {
            let mut chance = SplitMix64::new(seed);
            loop {
                sleep(saturating_mul(EVERY, 2.0 * chance.unit())).await;
                exporter.emit(());
            }
        });
    }
    sleep_until(returns + AFTER).await;
    for exporter in exporters {
        let totals = exporter.totals();
        assert!(totals.balance(), "{totals}");
        // Of the items of the outage those are lost that grew too old in it, or while their client waited for its next probe.
        // Twice the mean is more than chance gives any client in that time.
        let lost = 2 * (OUTAGE.saturating_sub(AGE) + PROBE).as_secs() / EVERY.as_secs();
        assert!(totals.dropped.total() <= lost, "{totals}");
    }
    let bins = bins.lock().unwrap();
    bins.clone()
}

fn bin(time: Duration) -> usize {
    (time.as_millis() / BIN.as_millis()) as usize
}

fn mean(bins: &[u32]) -> f64 {
    f64::from(bins.iter().sum::<u32>()) / bins.len() as f64
}

/// E05: the clients return spread over time, and what has piled up leaves in few requests.
#[tokio::test(start_paused = true)]
async fn e05_clients_that_return_after_an_outage_are_no_storm() {
    for away in [Away::Refuses, Away::Hangs] {
        let bins = bins(away).await;
        let normal = mean(&bins[bin(BEFORE / 3)..bin(BEFORE)]);
        let outage = mean(&bins[bin(BEFORE)..bin(BEFORE + OUTAGE)]);
        let recovery = &bins[bin(BEFORE + OUTAGE)..];
        // Not all clients have returned at the beginning of these two minutes, so the mean before the outage is the measure.
        let (load, highest) = (mean(recovery) / normal, f64::from(*recovery.iter().max().unwrap()) / normal);
        println!("{away:?}: {:.2} in the outage, {load:.2} in the recovery, highest bin {highest:.2}", outage / normal);
        assert!(load <= 1.1, "{away:?}: {load} of the normal load");
        assert!(highest <= 3.0, "{away:?}: the highest bin has {highest} of the normal mean");
        assert!(outage < normal, "{away:?}: {outage} of {normal} requests in a bin of the outage");
    }
}

/// Requests that a server held, and all of whose connections it resets at once, come back over as long a time.
#[tokio::test(start_paused = true)]
async fn e05_requests_that_fail_at_one_instant_return_spread() {
    const HELD: Duration = Duration::from_secs(9);
    let (start, again) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let mut exporters = Vec::new();
    for _ in 0..2000 {
        let again = Arc::clone(&again);
        let client = service_fn(move |_: Request<Full<Bytes>>| {
            let is_held = start.elapsed() < HELD;
            if !is_held {
                again.lock().unwrap().push(start.elapsed().saturating_sub(HELD));
            }
            async move {
                if is_held {
                    sleep_until(start + HELD).await;
                    return Err(BoxError::from(io::Error::from(io::ErrorKind::ConnectionReset)));
                }
                Ok(Response::new(Full::new(Bytes::new())))
            }
        });
        let exporter = Exporter::builder().endpoint("https://far.example/").encoder(Nothing).client(client).quiet();
        let exporter = exporter.batching(Batching::new().max_items(1)).build().unwrap();
        exporter.emit(());
        exporters.push(exporter);
    }
    for exporter in exporters {
        exporter.flush().await;
        assert_eq!(exporter.totals().delivered, 1);
    }
    let again = again.lock().unwrap();
    let most = Histogram::new(BIN, again.iter().copied());
    assert!(again.len() == 2000 && most.peak_to_mean() <= 3.0, "{:?}", most.bins());
    assert!(most.span() >= 6 * SECOND, "{:?}", most.span());
}
