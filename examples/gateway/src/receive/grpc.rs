//! OTLP/gRPC: the three `Export` methods, with bodies that stay bytes.

use super::{body::exact, status, tenant};
use crate::{
    clock::unix_nanos,
    inspect::{self, NotLooked},
    intake::{Admission, Intake},
};
use axum::{body::Body, extract::Request, http::Response};
use bytes::{Buf, BufMut, Bytes};
use forebay::{core::DropReason, otlp::Signal, queue::Rejected};
use futures_util::{FutureExt, future::BoxFuture};
use std::sync::Arc;
use tonic::{
    Status,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
};

/// Where the methods are.
pub(super) const fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

/// Messages as their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct AsBytes;

/// One method.
struct Export {
    intake: Arc<Intake>,
    signal: Signal,
}

/// Responds to one call.
pub(super) async fn export(intake: Arc<Intake>, signal: Signal, request: Request) -> Response<Body> {
    let mut grpc = Grpc::new(AsBytes)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(intake.config.max_body);
    grpc.unary(Export { intake, signal }, request).await.map(Body::new)
}

// === impl Export ===

impl Export {
    async fn take(self, request: tonic::Request<Bytes>) -> Result<Bytes, Status> {
        let Self { intake, signal } = self;
        let received = unix_nanos();
        let (metadata, _, body) = request.into_parts();
        let wrong = |message: String| {
            intake.meters.malformed();
            Status::invalid_argument(message)
        };
        let tenant = tenant(&intake, &metadata.into_headers()).map_err(|why| wrong(why.to_owned()))?;
        let facts = inspect::protobuf(signal, &body, intake.look()).map_err(|error| match error {
            NotLooked::Malformed(why) => wrong(format!("not an export request: {why}")),
            NotLooked::TooLarge => wrong("the request is too large once it is decoded".to_owned()),
        })?;
        match intake.take(signal, tenant, body, facts, received).await {
            Admission::Accepted => Ok(Bytes::new()),
            Admission::Partial { rejected, why } => Ok(status::export_response(rejected, &why).into()),
            Admission::Refused(refused) => Err(refuse(&intake, &refused)),
            // As in HTTP.
            Admission::NotStored(_) => Err(refuse(&intake, &Rejected::new((), DropReason::Disabled))),
        }
    }
}

/// The status of a refusal, with the `RetryInfo` without which a sender must not come back.
fn refuse(intake: &Intake, refused: &Rejected<()>) -> Status {
    let response: Response<()> = refused.grpc_response(intake.config.retry_after);
    if response.headers().contains_key("grpc-status-details-bin") {
        intake.meters.throttled("grpc");
    }
    Status::from_header_map(response.headers()).unwrap_or_else(|| Status::unavailable(refused.to_string()))
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let export = Self { intake: Arc::clone(&self.intake), signal: self.signal };
        export.take(request).map(|admission| admission.map(tonic::Response::new)).boxed()
    }
}

// === impl AsBytes ===

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let message = from.copy_to_bytes(from.remaining());
        Ok(Some(exact(&message)))
    }
}
