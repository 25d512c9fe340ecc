//! What a log record costs the thread that emits it.

use crate::{
    bound::Bound,
    e2e::record::{self, Order, orders},
    runner::{Session, Table},
    work::{Sample, Work},
};
use bytes::Bytes;
use forebay_batch::Batching;
use forebay_export::{Exporter, ExporterBuilder};
use forebay_otlp::sdk::ForebayLogProcessor;
use forebay_queue::Limits;
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry::{
    InstrumentationScope,
    logs::{Logger as _, LoggerProvider as _},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    logs::{
        BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter, LogProcessor, SdkLogRecord, SdkLogger,
        SdkLoggerProvider,
    },
};
use std::{convert::Infallible, hint::black_box, sync::Mutex, time::Duration};
use tokio::sync::Semaphore;
use tower::{Service, service_fn};

const BATCH_PROCESSOR: &str = "build, and emit to BatchLogProcessor";

/// Let requests through.
static AT_ONCE: Semaphore = Semaphore::const_new(0);
static TAKEN: Semaphore = Semaphore::const_new(0);

/// So many records wait until they are sent, outside of what is measured.
const ROOM: usize = 1 << 17;

/// Runs the table.
pub(super) fn tables(session: &mut Session<'_>) {
    session.run(
        Table::new("otel", "one log record, on the thread that emits it; nothing is sent, and nothing dropped")
            .at_most(ROOM as u64)
            .floor("build a record and drop it", {
                let logger = SdkLoggerProvider::builder().build().logger(record::SCOPE);
                move |work: Work| {
                    work.measure_thread(|| {
                        for order in take(work) {
                            let mut record = logger.create_log_record();
                            order.fill(&mut record);
                            black_box(&record);
                        }
                    })
                }
            })
            .reference("build, and emit to a processor that does nothing", emitted(Nothing, |_| ()))
            .reference("build, and push by value under a lock", {
                let logger = SdkLoggerProvider::builder().build().logger(record::SCOPE);
                let pushed = Mutex::new(Vec::<SdkLogRecord>::with_capacity(ROOM));
                move |work: Work| {
                    pushed.lock().expect("no panic").clear();
                    work.measure_thread(|| {
                        for order in take(work) {
                            let mut record = logger.create_log_record();
                            order.fill(&mut record);
                            pushed.lock().expect("no panic").push(record);
                        }
                    })
                }
            })
            .rival(BATCH_PROCESSOR, {
                let config = BatchConfigBuilder::default()
                    .with_max_queue_size(2 * ROOM)
                    .with_max_export_batch_size(2 * ROOM)
                    .with_scheduled_delay(Duration::from_secs(3600))
                    .build();
                let processor = BatchLogProcessor::builder(Nowhere).with_batch_config(config).build();
                emitted(processor, |provider| provider.force_flush().expect("it flushes"))
            })
            .forebay(
                "build, and emit: encoded at once",
                &[Bound::of(BATCH_PROCESSOR, 0.75), Bound::allocations(0.01)],
                ours(ForebayLogProcessor::builder(exporter(&AT_ONCE)).build().expect("a processor"), &AT_ONCE),
            )
            .forebay(
                "build, and emit: taken",
                &[Bound::of(BATCH_PROCESSOR, 0.75), Bound::allocations(0.01)],
                ours(ForebayLogProcessor::taking(exporter(&TAKEN)).build().expect("a processor"), &TAKEN),
            ),
    );
}

/// An exporter whose requests wait at `gate`.
fn exporter<T>(
    gate: &'static Semaphore,
) -> ExporterBuilder<
    T,
    (),
    impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static,
> {
    let client = service_fn(move |_: Request<Full<Bytes>>| async move {
        gate.acquire().await.expect("it is never closed").forget();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    Exporter::builder()
        .endpoint("http://127.0.0.1/v1/logs")
        .client(client)
        .limits(Limits::new().items(ROOM).bytes(1 << 30).soft_limit(1.0))
        .attempt_timeout(Duration::from_secs(3600))
        .batching(Batching::new().max_age(Duration::from_secs(3600)))
}

fn ours(processor: impl LogProcessor + 'static, gate: &'static Semaphore) -> impl FnMut(Work) -> Sample {
    emitted(processor, move |provider| {
        gate.add_permits(ROOM);
        provider.force_flush().expect("nothing was dropped");
        gate.forget_permits(ROOM);
    })
}

/// As many orders as are asked for, and not more than there is room for.
fn take(work: Work) -> impl Iterator<Item = Order> {
    assert!(work.ops <= ROOM as u64, "there is no room for {} records", work.ops);
    orders().take(usize::try_from(work.ops).expect("a count"))
}

/// Emits records to `processor`, and lets it send them when the time has been taken.
fn emitted(processor: impl LogProcessor + 'static, send: impl Fn(&SdkLoggerProvider)) -> impl FnMut(Work) -> Sample {
    let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
    let logger: SdkLogger = provider.logger(record::SCOPE);
    move |work: Work| {
        let sample = work.measure_thread(|| take(work).for_each(|order| order.emit(&logger)));
        send(&provider);
        sample
    }
}

#[derive(Debug)]
struct Nothing;

impl LogProcessor for Nothing {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        black_box(record);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Takes records without sending them anywhere.
#[derive(Debug)]
struct Nowhere;

impl LogExporter for Nowhere {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        black_box(&batch);
        Ok(())
    }
}
