//! An exporter with a spool: how many items a second are durable, and what an `emit` costs.

use bytes::{Bytes, BytesMut};
use forebay_export::{Batching, BoxError, Encode, Exporter, ExporterBuilder, Limits, Skipped};
use forebay_spool::{Codec, DiskSpool, Durability, ExporterSpool, replay::ReplayPolicy};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use std::{
    fs,
    future::{Ready, ready},
    path::Path,
    time::{Duration, Instant},
};
use tower::util::{ServiceFn, service_fn};

type Client = ServiceFn<Serve>;

type Serve = fn(Request<Full<Bytes>>) -> Served;

type Served = Ready<Result<Response<Full<Bytes>>, BoxError>>;

/// A number, in 100 bytes.
struct Small;

impl Codec<u64> for Small {
    fn encode(&self, number: &u64, payload: &mut Vec<u8>) -> Result<(), BoxError> {
        payload.extend(number.to_le_bytes());
        payload.resize(100, 7);
        Ok(())
    }

    fn decode(&self, payload: &[u8]) -> Result<u64, BoxError> {
        Ok(u64::from_le_bytes(*payload.first_chunk().ok_or("too short")?))
    }
}

impl Encode<u64> for Small {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, numbers: &[u64], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        numbers.iter().for_each(|number| body.extend_from_slice(&number.to_le_bytes()));
        Ok(Skipped::NONE)
    }
}

fn exporter(serve: Serve) -> ExporterBuilder<u64, Small, Client> {
    Exporter::builder().endpoint("http://127.0.0.1/").encoder(Small).client(service_fn(serve)).quiet()
}

fn there(_: Request<Full<Bytes>>) -> Served {
    ready(Ok(Response::new(Full::default())))
}

fn away(_: Request<Full<Bytes>>) -> Served {
    ready(Err("away".into()))
}

fn spool(dir: &Path, durability: Durability) -> DiskSpool {
    DiskSpool::builder(dir).destination("main", "bench").max_bytes(8 << 30).durability(durability).open().unwrap()
}

/// Items a second that are durable, with the server away, and that are delivered out of the spool, with the server there.
pub(crate) fn write_ahead(dir: &Path, name: &str, durability: Durability, items: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let run = |server: Serve, is_done: fn(&Exporter<u64>) -> u64| {
        let path = dir.join("ahead");
        let disk = spool(&path, durability);
        let ahead = ExporterSpool::new(disk.clone(), "main", Small).policy(ReplayPolicy::write_ahead()).unwrap();
        let exporter = exporter(server)
            .limits(Limits::new().items(64 * 1024))
            .write_ahead(ahead)
            .batching(Batching::new().max_items(4096).max_delay(Duration::from_millis(5)).max_in_flight(4))
            .build()
            .unwrap();
        let start = Instant::now();
        runtime.block_on(async {
            for number in 0..items {
                exporter.emit_or_wait(number).await.unwrap();
            }
        });
        while is_done(&exporter) < items {
            assert!(start.elapsed() < Duration::from_secs(60), "{}", exporter.totals());
            std::thread::sleep(Duration::from_micros(200));
        }
        let rate = items as f64 / start.elapsed().as_secs_f64();
        runtime.block_on(async {
            exporter.shutdown(Duration::ZERO).await;
            drop(exporter);
            disk.close().await.unwrap();
        });
        fs::remove_dir_all(&path).unwrap();
        rate
    };
    let (mut durable, mut delivered) = (0.0_f64, 0.0_f64);
    for _ in 0..3 {
        durable = durable.max(run(away, |exporter| exporter.totals().spooled));
        delivered = delivered.max(run(there, |exporter| exporter.totals().delivered));
    }
    println!(
        "exporter, written ahead, {name}: {durable:.0} items/s durable, {delivered:.0} items/s delivered out of the spool"
    );
}

/// Nanoseconds of an `emit`, without and with a spool for what cannot be delivered.
pub(crate) fn emit(dir: &Path) {
    const BURST: u64 = 512;
    const BURSTS: u64 = 400;
    let run = |with_spool: bool| {
        let path = dir.join("overflow");
        let mut builder = exporter(there).limits(Limits::new().items(64 * 1024));
        let disk = with_spool.then(|| spool(&path, Durability::DISK));
        if let Some(disk) = &disk {
            builder = builder.overflow_to(ExporterSpool::new(disk.clone(), "main", Small));
        }
        let exporter = builder.build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut best = Duration::MAX;
        for burst in 0..BURSTS {
            let start = Instant::now();
            for number in 0..BURST {
                exporter.emit(burst * BURST + number);
            }
            best = best.min(start.elapsed());
            runtime.block_on(async { exporter.flush().await });
        }
        runtime.block_on(async { exporter.shutdown(Duration::from_secs(1)).await });
        drop((exporter, disk));
        if with_spool {
            fs::remove_dir_all(&path).unwrap();
        }
        best.as_secs_f64() * 1e9 / BURST as f64
    };
    let (mut without, mut with) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        without = without.min(run(false));
        with = with.min(run(true));
    }
    println!(
        "exporter, emit in bursts of {BURST}: {without:.1} ns without a spool, {with:.1} ns with one for what cannot be delivered"
    );
}
