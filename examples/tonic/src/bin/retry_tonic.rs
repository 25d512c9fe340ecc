//! A retry below a generated client of tonic, against a server of tonic: failures in the head and in the trailers, and request
//! bodies that are streams.
//!
//! ```text
//! cargo run -p forebay-example-tonic --bin retry_tonic
//! ```

use bytes::{Buf, BufMut, Bytes};
use forebay::{
    core::BoxError,
    retry::{
        Backoff, RetryBuilder, RetryEvent, StopReason,
        grpc::TrailersLayer,
        http::{ReplayBody, ReplayLayer},
    },
};
use forebay_example_support::server::say;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
    logs::v1::ResourceLogs,
};
use std::{
    convert::Infallible,
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::net::TcpListener;
use tonic::{
    Code, Response, Status, Streaming,
    body::Body,
    client,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::tokio_stream,
    server,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tower::{ServiceBuilder, service_fn};

/// How an attempt ends, in the order of the attempts.
#[derive(Clone, Copy)]
enum Fate {
    /// A status in the head, before the request is read: so does a server that is not ready.
    RefusesAtOnce,
    /// A status in the head, which is how tonic refuses a call.
    FailsInTheHead,
    /// A head without a status, and a status in the trailers: the server had begun to respond.
    FailsInTheTrailers,
    Succeeds,
}

/// What the server has seen of one attempt.
#[derive(Debug, PartialEq, Eq)]
struct Attempt {
    /// `grpc-previous-rpc-attempts`
    previous: Option<u32>,
    messages: usize,
    bytes: usize,
}

/// What the server does next, and what it has seen.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<(Vec<Fate>, Vec<Attempt>)>>);

/// Messages of bytes; a generated client and server bring their own codec.
#[derive(Clone, Copy, Default)]
struct Plain;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let script = Script::default();
    let address = serve(script.clone()).await?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let stopped = Arc::new(Mutex::new(None));

    let note = Arc::clone(&stopped);
    let retry = RetryBuilder::grpc()
        .backoff(Backoff::exponential(Duration::from_millis(5)))
        // The bodies of a client of tonic are streams: what was read of one is kept, and sent again.
        .replay_body()
        .observe(move |event: &RetryEvent| {
            if let RetryEvent::GaveUp(gave_up) = event {
                *lock(&note) = Some(gave_up.stop_reason());
            }
        })
        .build()?;
    let service = ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(retry)
        .layer(TrailersLayer::new())
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel);

    // A generated client.
    let mut logs = LogsServiceClient::new(service.clone());
    script.play([Fate::FailsInTheHead, Fate::FailsInTheTrailers, Fate::Succeeds]);
    let request = ExportLogsServiceRequest { resource_logs: vec![ResourceLogs::default(); 3] };
    logs.export(request).await?;
    let seen = script.seen();
    say(format_args!("unary:  delivered by attempt {}: one failed in the head, one in the trailers", seen.len()))?;
    let attempt = |previous| Attempt { previous, messages: 1, bytes: 6 };
    assert_eq!(seen, [attempt(None), attempt(Some(1)), attempt(Some(2))], "each attempt has the same bytes");

    // A stream of requests that fits into what is kept.
    let mut uploads = client::Grpc::new(service);
    script.play([Fate::FailsInTheTrailers, Fate::Succeeds]);
    upload(&mut uploads, 3).await?;
    let seen = script.seen();
    say(format_args!("30 KiB: delivered by attempt {}, each of {} messages", seen.len(), seen[0].messages))?;
    let attempt = |previous| Attempt { previous, messages: 3, bytes: 30 << 10 };
    assert_eq!(seen, [attempt(None), attempt(Some(1))]);
    assert_eq!(*lock(&stopped), None);

    // A longer one: beyond the cap nothing is kept, and the attempt is the last.
    script.play([Fate::FailsInTheTrailers, Fate::Succeeds]);
    let status = upload(&mut uploads, 10).await.err().ok_or("the attempt should be the last")?;
    let (seen, why) = (script.seen(), lock(&stopped).take());
    say(format_args!("100 KiB: {:?} after {} attempt, for {} KiB are kept", status.code(), seen.len(), kept() >> 10))?;
    assert_eq!((status.code(), why), (Code::Unavailable, Some(StopReason::BodyNotReplayable)));
    assert_eq!(seen, [Attempt { previous: None, messages: 10, bytes: 100 << 10 }]);

    // A server that refuses before it has read anything: what it has read by then is kept, so the attempt is not the last.
    script.play([Fate::RefusesAtOnce, Fate::Succeeds]);
    upload(&mut uploads, 6).await?;
    let seen = script.seen();
    say(format_args!("60 KiB: delivered by attempt {}, for the first was refused unread", seen.len()))?;
    assert_eq!(seen.last(), Some(&Attempt { previous: Some(1), messages: 6, bytes: 60 << 10 }));
    assert_eq!(seen.len(), 2);
    Ok(())
}

fn kept() -> usize {
    ReplayLayer::DEFAULT_MAX_BYTES
}

/// Sends so many messages of 10 KiB in one call.
async fn upload<S>(client: &mut client::Grpc<S>, messages: usize) -> Result<(), Status>
where
    S: client::GrpcService<Body>,
    S::ResponseBody: http_body::Body + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let messages = tokio_stream::iter(vec![Bytes::from_static(&[7; 10 << 10]); messages]);
    let path = PathAndQuery::from_static("/shop.Files/Put");
    client.client_streaming(tonic::Request::new(messages), path, Plain).await.map(drop)
}

/// A server of tonic that does what the script says; a generated one is added with `add_service`.
async fn serve(script: Script) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = service_fn(move |request: http::Request<Body>| {
        let script = script.clone();
        async move {
            let handler = service_fn(move |request| script.clone().respond(request));
            Ok::<_, Infallible>(server::Grpc::new(Plain).streaming(handler, request).await)
        }
    });
    tokio::spawn(Server::builder().serve_with_incoming(service, TcpIncoming::from(listener)));
    Ok(address)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Script ===

type Responses = tokio_stream::Once<Result<Bytes, Status>>;

impl Script {
    /// Forgets what was seen, and ends the next attempts like this.
    fn play<const N: usize>(&self, fates: [Fate; N]) {
        *lock(&self.0) = (fates.into_iter().rev().collect(), Vec::new());
    }

    /// The attempts so far.
    fn seen(&self) -> Vec<Attempt> {
        mem::take(&mut lock(&self.0).1)
    }

    async fn respond(self, request: tonic::Request<Streaming<Bytes>>) -> Result<Response<Responses>, Status> {
        let fate = lock(&self.0).0.pop().unwrap_or(Fate::Succeeds);
        let previous = request.metadata().get("grpc-previous-rpc-attempts").and_then(|value| value.to_str().ok());
        let mut attempt = Attempt { previous: previous.and_then(|n| n.parse().ok()), messages: 0, bytes: 0 };
        let failed = || Status::unavailable("the database is restarting");
        if let Fate::RefusesAtOnce = fate {
            lock(&self.0).1.push(attempt);
            return Err(failed());
        }
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            attempt.messages += 1;
            attempt.bytes += message.len();
        }
        lock(&self.0).1.push(attempt);
        match fate {
            Fate::RefusesAtOnce | Fate::FailsInTheHead => Err(failed()),
            Fate::FailsInTheTrailers => Ok(Response::new(tokio_stream::once(Err(failed())))),
            Fate::Succeeds => Ok(Response::new(tokio_stream::once(Ok(Bytes::new())))),
        }
    }
}

// === impl Plain ===

impl Codec for Plain {
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

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
