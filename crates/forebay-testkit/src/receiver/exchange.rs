use super::{
    body::{Content, ResponseBody},
    bomb::Bomb,
    connection::{Connection, RawSocket},
    fault::{Fault, ResetWhen, RetryAfter},
    grpc,
    received::Received,
    response::{Format, OtlpResponse},
    rules::{Arrived, Rules, Ruling, TakenIn},
    store::Store,
    ticket::Ticket,
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER},
    request::Parts,
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::{
    error::Error,
    fmt,
    future::pending,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

/// What every request of a receiver shares.
pub(super) struct Endpoint {
    pub(super) store: Arc<Store>,
    pub(super) rules: Rules,
}

/// The connection ends here: a fault cut it, or the client did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut;

/// How many bytes more a truncated response promises than it sends.
const MISSING: usize = 64;
/// Neither HTTP/1 nor an HTTP/2 frame.
const GARBAGE: &[u8] = b"\x16\x03\x01 this is not the protocol you are looking for\r\n\r\n\0\0\xFF\xFF";

// === impl Endpoint ===

impl Endpoint {
    /// Serves one request, from its head to its response.
    pub(super) async fn exchange(
        self: Arc<Self>,
        connection: Arc<Connection>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Cut> {
        connection.responses_were_read();
        let (head, body) = request.into_parts();
        let (number, fault) = self.store.arrived(Received::new(&head, peer));
        match fault {
            Fault::Deaf => {
                let _open = connection.take();
                return pending().await;
            }
            Fault::Reset { when: ResetWhen::Unread } => return reset(&connection),
            _ => {}
        }
        let body = self.read(number, body).await?;
        let (response, ticket) =
            if fault.processes() { self.process(number, &head, &body, &fault) } else { (refused(&head, &fault), None) };
        let grpc_status = grpc::status(&response);
        let response = play(fault, response, ticket, &connection, &head).await?;
        self.store.note(number, |received| {
            received.status = Some(response.status());
            received.grpc_status = grpc_status;
        });
        Ok(response)
    }

    /// Reads all of the body, and remembers as much of it as is allowed.
    ///
    /// A body that is too long is read all the same: a client that is still sending may not see the response otherwise.
    async fn read(&self, number: usize, mut body: Incoming) -> Result<Arrived, Cut> {
        let mut bytes = BytesMut::new();
        let (mut length, mut too_long) = (0, false);
        let mut complete = Ok(());
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                complete = Err(Cut);
                break;
            };
            let Ok(data) = frame.into_data() else { continue };
            length += data.len() as u64;
            too_long |= bytes.len() + data.len() > self.rules.most_bytes;
            if !too_long {
                bytes.extend_from_slice(&data);
            }
        }
        let bytes = bytes.freeze();
        self.store.read(length);
        self.store.note(number, |received| {
            received.wire_length = length;
            if self.store.keeps_bodies() {
                received.body = bytes.clone();
            }
        });
        complete.map(|()| Arrived { bytes, too_long })
    }

    /// Takes the records in, if the rules allow.
    fn process(&self, number: usize, head: &Parts, body: &Arrived, fault: &Fault) -> (OtlpResponse, Option<Ticket>) {
        let partial = match fault {
            Fault::Partial { rejected, message } => Some((*rejected, message.clone())),
            _ => None,
        };
        let ruling = self.rules.rule(head, body, partial);
        let TakenIn { response, decoded_length, decoded, accepted, rejected } = match ruling {
            Ruling::Refused(response) => return (response, None),
            Ruling::TakenIn(taken) => *taken,
        };
        let decoded_length = decoded_length as u64;
        self.store.decoded(decoded_length);
        self.store.note(number, |received| {
            received.decoded_length = Some(decoded_length);
            received.decoded = decoded.filter(|_| self.store.keeps_bodies());
        });
        (response, Some(self.store.accept(number, accepted, rejected)))
    }
}

/// The response of a fault that processes nothing, as far as it has one.
fn refused(head: &Parts, fault: &Fault) -> OtlpResponse {
    let status = match fault {
        Fault::Status { status, .. } | Fault::Redirect { status, .. } => *status,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    const WHY: &str = "refused on demand";
    if Format::of(&head.headers) == Some(Format::Grpc)
        && let Fault::Status { retry_after, .. } = fault
    {
        return grpc::refusal(status, WHY, retry_after);
    }
    let mut response = OtlpResponse::failure(status, Format::of(&head.headers), WHY);
    if let Fault::Redirect { location, .. } = fault {
        response.headers.insert(LOCATION, location.clone());
    }
    response
}

/// Applies the fault to the response.
async fn play(
    fault: Fault,
    mut response: OtlpResponse,
    ticket: Option<Ticket>,
    connection: &Arc<Connection>,
    head: &Parts,
) -> Result<Response<ResponseBody>, Cut> {
    let mut content = Content::Whole(response.body);
    match fault {
        Fault::None | Fault::Deaf | Fault::Redirect { .. } | Fault::Partial { .. } => {}
        Fault::Status { status, retry_after } => {
            if ticket.is_some() {
                response.status = status;
            }
            // Over gRPC the wait is in the details of the status.
            if Format::of(&head.headers) != Some(Format::Grpc) {
                retry_after.iter().for_each(|value| _ = response.headers.append(RETRY_AFTER, value.to_header()));
            }
        }
        Fault::Slow { by } => sleep(by).await,
        Fault::BlackHole { .. } => {
            drop(ticket);
            return pending().await;
        }
        Fault::Reset { .. } => {
            drop(ticket);
            return reset(connection);
        }
        Fault::HalfClose { .. } => {
            drop(ticket);
            return half_close(connection.take().ok_or(Cut)?).await;
        }
        Fault::Garbage { .. } => {
            drop(ticket);
            return garbage(connection.take().ok_or(Cut)?).await;
        }
        Fault::Truncated => {
            let Content::Whole(body) = content else { return Err(Cut) };
            response.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len() + MISSING));
            content = Content::CutAfter(body);
            drop(ticket);
            return Ok(respond(response.status, response.headers, ResponseBody::new(content, None)));
        }
        Fault::Trickle { every } => {
            connection.pace(every);
            if head.version < Version::HTTP_2 {
                response.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        Fault::Oversized { bytes } => content = Content::Blank(bytes),
        Fault::GzipBomb { bytes } => {
            response.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            content = Content::Bomb(Bomb::new(bytes));
        }
        Fault::ManyHeaders { count } => add_headers(&mut response.headers, count),
        Fault::WrongContentType { content_type } => _ = response.headers.insert(CONTENT_TYPE, content_type),
    }
    if head.method == Method::HEAD || matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // HTTP has no room for a body here. The server would drop one unsent, as it does when a client is lost.
        content = Content::Whole(Bytes::new());
    }
    let ticket = ticket.map(|ticket| (ticket, Arc::clone(connection)));
    Ok(respond(response.status, response.headers, ResponseBody::new(content, ticket).with_trailer(response.trailer)))
}

fn respond(status: StatusCode, headers: HeaderMap, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn reset<T>(connection: &Arc<Connection>) -> Result<T, Cut> {
    if let Some(raw) = connection.take() {
        // Where the option cannot be set the connection is closed all the same, with a FIN.
        let _fin_instead = raw.stream.set_zero_linger();
    }
    Err(Cut)
}

async fn half_close<T>(mut raw: RawSocket) -> Result<T, Cut> {
    let mut unread = [0; 4096];
    if raw.stream.shutdown().await.is_ok() {
        while raw.stream.read(&mut unread).await.is_ok_and(|read| read > 0) {}
    }
    Err(Cut)
}

async fn garbage<T>(mut raw: RawSocket) -> Result<T, Cut> {
    if raw.stream.write_all(GARBAGE).await.is_ok() {
        let _closed_already = raw.stream.shutdown().await;
    }
    Err(Cut)
}

fn add_headers(headers: &mut HeaderMap, count: usize) {
    let value = HeaderValue::from_static("one of many");
    for number in 0..count.min(Fault::MOST_HEADERS) {
        if let Ok(name) = HeaderName::try_from(format!("x-forebay-{number}")) {
            headers.insert(name, value.clone());
        }
    }
}

// === impl RetryAfter ===

impl RetryAfter {
    fn to_header(&self) -> HeaderValue {
        match self {
            Self::Seconds(seconds) => HeaderValue::from(*seconds),
            Self::Date(offset) => date(*offset),
            Self::Raw(value) => value.clone(),
        }
    }
}

/// The HTTP date `offset` seconds from now, within the years that one can name: 1970 to 9999.
#[expect(clippy::disallowed_methods, clippy::expect_used, reason = "the edge: HTTP dates are wall-clock time")]
fn date(offset: i64) -> HeaderValue {
    const LAST: u64 = 253_402_300_799;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let then = now.saturating_add_signed(offset).min(LAST);
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(then));
    HeaderValue::try_from(text).expect("an HTTP date is ASCII")
}

// === impl Cut ===

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was cut")
    }
}

impl Error for Cut {}
