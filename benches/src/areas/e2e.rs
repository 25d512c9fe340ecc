//! From the program to the wire; and what the stack adds to one request.

use crate::{
    bound::Bound,
    e2e,
    runner::{Session, Table},
    work::Work,
};
use bytes::{Bytes, BytesMut};
use forebay_batch::Batching;
use forebay_core::BoxError;
use forebay_export::{Encode, Exporter, Skipped};
use forebay_queue::Limits;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use std::convert::Infallible;
use tokio::runtime::Builder;
use tower::{Service, ServiceExt, service_fn};

/// Runs the tables.
pub(super) fn tables(session: &mut Session<'_>) {
    for (title, gzip) in [("102,400 log records in batches of 512", false), ("the same with gzip, level 1", true)] {
        let names: Vec<_> =
            e2e::ALL.iter().map(|contender| contender.name).filter(|name| name.ends_with(", gzip") == gzip).collect();
        session.run_with(title, |rounds| e2e::table(title, &names, rounds));
    }
    session.run(stack());
}

/// Says what is in the item, which is little: that is not what is measured.
struct Plain;

impl Encode<u64> for Plain {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/x-protobuf")
    }

    fn encode(&self, items: &[u64], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        items.iter().for_each(|item| body.extend_from_slice(&item.to_le_bytes()));
        Ok(Skipped::NONE)
    }
}

/// What queue, batch, encoding, breaker, retry and timeout together cost where the client costs nothing: one request per
/// item.
fn stack() -> Table<'static> {
    let runtime = || Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = || {
        service_fn(|request: Request<Full<Bytes>>| {
            drop(std::hint::black_box(request));
            async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) }
        })
    };
    Table::new("e2e", "the whole stack, per request, over a client that costs nothing")
        .floor("the client alone", {
            let (runtime, mut client) = (runtime(), client());
            move |work: Work| {
                work.measure(|| {
                    runtime.block_on(async {
                        for number in 0..work.ops {
                            let body = Bytes::copy_from_slice(&number.to_le_bytes());
                            let request = Request::post("http://127.0.0.1/v1/logs")
                                .header("content-type", "application/x-protobuf")
                                .body(Full::new(body))
                                .expect("a request");
                            let ready = client.ready().await.expect("it is always ready");
                            drop(ready.call(request).await);
                        }
                    });
                })
            }
        })
        .forebay("an exporter", &[Bound::over_floor(1_000.0)], {
            let runtime = runtime();
            let exporter = Exporter::builder()
                .endpoint("http://127.0.0.1/v1/logs")
                .encoder(Plain)
                .client(client())
                .batching(Batching::new().max_items(1))
                .limits(Limits::new().items(1 << 20))
                .runtime(runtime.handle().clone())
                .build();
            let exporter = exporter.expect("an exporter");
            move |work: Work| {
                work.measure(|| {
                    runtime.block_on(async {
                        (0..work.ops).for_each(|number| exporter.emit(number));
                        exporter.flush().await;
                    });
                })
            }
        })
}
