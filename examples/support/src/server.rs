//! Small servers for the examples, on this machine and for as long as the program runs.

use bytes::Bytes;
use forebay_core::BoxError;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// How many requests a server has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<AtomicU32>);

// === impl Seen ===

impl Seen {
    /// So many requests, each of which got a response.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// One more; the number of the request, from 1.
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Relaxed) + 1
    }
}

/// Responds to the `n`-th request over HTTP/1.1 with `respond(n)`: a status, and header lines if it has any.
///
/// # Errors
///
/// When there is no port to listen on.
pub async fn http1(respond: impl Fn(u32) -> &'static str + Clone + Send + 'static) -> io::Result<(SocketAddr, Seen)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, seen) = (listener.local_addr()?, Seen::default());
    let all = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (respond, seen) = (respond.clone(), all.clone());
            tokio::spawn(async move {
                // The requests of the examples fit into one read.
                let mut request = [0; 4096];
                while stream.read(&mut request).await? > 0 {
                    let response = format!("HTTP/1.1 {}\r\ncontent-length: 0\r\n\r\n", respond(seen.next()));
                    stream.write_all(response.as_bytes()).await?;
                }
                io::Result::Ok(())
            });
        }
    });
    Ok((address, seen))
}

/// Responds to each request over HTTP/1.1 with what `respond` makes of it and its whole body, which may have 1 MiB.
///
/// # Errors
///
/// When there is no port to listen on.
pub async fn http1_with<F, Fut>(respond: F) -> io::Result<SocketAddr>
where
    F: Fn(Request<Bytes>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let respond = respond.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let respond = respond.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = Limited::new(body, 1 << 20).collect().await?.to_bytes();
                    Ok::<_, BoxError>(respond(Request::from_parts(head, body)).await)
                }
            });
            // A connection that fails is its client's trouble.
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

/// Responds to the `n`-th call over gRPC with the status `respond(n)`, and, if that is 0, with an empty message.
///
/// # Errors
///
/// When there is no port to listen on.
pub async fn grpc(respond: impl Fn(u32) -> u16 + Clone + Send + 'static) -> io::Result<(SocketAddr, Seen)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, seen) = (listener.local_addr()?, Seen::default());
    let all = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (respond, seen) = (respond.clone(), all.clone());
            let service = hyper::service::service_fn(move |_: Request<Incoming>| {
                let status = respond(seen.next());
                async move { Ok::<_, Infallible>(grpc_response(status)) }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok((address, seen))
}

type Frames = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// The status of a failure stands in the headers, as gRPC's servers write it where there is no message; that of a success
/// follows the message.
fn grpc_response(status: u16) -> Response<Frames> {
    let (mut head, mut trailers) = (HeaderMap::new(), HeaderMap::new());
    head.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let status_of = if status == 0 { &mut trailers } else { &mut head };
    status_of.insert("grpc-status", status.into());
    let frames = if status == 0 {
        // Not compressed, and 0 bytes long.
        vec![Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))]
    } else {
        Vec::new()
    };
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    *response.headers_mut() = head;
    response
}

/// Prints one line on standard output.
///
/// # Errors
///
/// When standard output cannot be written to.
pub fn say(line: impl std::fmt::Display) -> Result<(), BoxError> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
