use crate::{Advice, DropReason, Verdict, cause_ref};
use http::{HeaderValue, Response, StatusCode, header};
use std::{error::Error, io, time::Duration};

/// What a server says to a client whose request ended with an error: for HTTP by [`respond`], for gRPC by its [code](Self::code).
///
/// It says what the [`Verdict`] of the error says, and nothing of the error's own text: that may name hosts, or secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The [gRPC code](https://grpc.github.io/grpc/core/md_doc_statuscodes.html); never `UNKNOWN`.
    pub code: i32,
    /// What happened, in a few words.
    pub message: &'static str,
    /// When the client may try again: `None` where another attempt is not sensible.
    pub retry_after: Option<Duration>,
}

/// The response of an HTTP server to a request that ended with `error`: for `axum`'s `HandleErrorLayer`, or a plain hyper server.
///
/// | what happened | status |
/// | --- | --- |
/// | the queue has no room, or is overloaded, or the key has its share | 429, with `Retry-After` |
/// | the circuit is open, the queue is closed, retries are exhausted | 503, with `Retry-After` where a retry is sensible |
/// | the item is too large | 413 |
/// | the request was too old, its [`Deadline`](crate::Deadline) would pass before another attempt, or a timeout of `tower`, tokio or the system passed | 504 |
/// | `tower`'s load shedding refused it | 503 |
/// | the server behind this one refused the request, or failed | 502 |
/// | a panic, and every error that no layer of this family made | 500 |
///
/// The body is a problem of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) in JSON. `Retry-After` is rounded up to whole
/// seconds; where the error does not say how long, it is one second.
///
/// ```
/// use forebay_core::{Advice, DropReason, Seen, Verdict, http::respond};
///
/// let full = Verdict::new(DropReason::Full, Seen::No, Advice::Retry);
/// let response = respond::<String>(&full);
/// assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"1".parse()?));
/// assert!(response.body().contains("the queue is full"));
/// # Ok::<_, http::Error>(())
/// ```
#[must_use]
pub fn respond<B: From<String>>(error: &(dyn Error + 'static)) -> Response<B> {
    let reply = Reply::to(error);
    let Reply { status, message, .. } = reply;
    let title = status.canonical_reason().unwrap_or("Error");
    let (title, detail) = (escaped(title), escaped(message));
    let body = format!(r#"{{"title":"{title}","status":{},"detail":"{detail}"}}"#, status.as_u16());
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(after) = reply.retry_after {
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

// === impl Reply ===

impl Reply {
    /// What is said to a client whose request ended with `error`.
    #[must_use]
    pub fn to(error: &(dyn Error + 'static)) -> Self {
        /// Where an error says that a retry is sensible, and not when.
        const SOON: Duration = Duration::from_secs(1);

        let Some(verdict) = Verdict::of(error) else {
            return Self::to_foreign(error);
        };
        let (status, code, message) = of_reason(verdict.reason());
        let retry_after = match verdict.advice() {
            Advice::Never => None,
            Advice::Retry => Some(SOON),
            Advice::RetryAfter(wait) => Some(wait),
        };
        let is_waited_for = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        Self { status, code, message, retry_after: retry_after.filter(|_| is_waited_for) }
    }

    /// For an error that no layer of this family made.
    fn to_foreign(error: &(dyn Error + 'static)) -> Self {
        let (status, code, message) = if is_timeout(error) {
            (StatusCode::GATEWAY_TIMEOUT, code::DEADLINE_EXCEEDED, "the request took too long")
        } else if says(error, &["service overloaded"]) {
            (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, "the server is overloaded")
        } else {
            (StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, "the server failed")
        };
        Self { status, code, message, retry_after: None }
    }
}

/// Whether the chain of `error` has tower's or tokio's error of a timeout, or that of an operating system.
///
/// The first two are read by their words: a downcast would tie this crate to one version of each.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let is_late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    says(error, &["request timed out", "deadline has elapsed"]) || cause_ref::<io::Error>(error).is_some_and(is_late)
}

/// Whether an error of the chain says one of `words`, and nothing else.
fn says(error: &(dyn Error + 'static), words: &[&str]) -> bool {
    let mut link = Some(error);
    while let Some(error) = link {
        if words.contains(&error.to_string().as_str()) {
            return true;
        }
        link = error.source();
    }
    false
}

/// The codes of gRPC that are said here.
mod code {
    pub(super) const CANCELLED: i32 = 1;
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const INTERNAL: i32 = 13;
    pub(super) const UNAVAILABLE: i32 = 14;
}

fn of_reason(reason: DropReason) -> (StatusCode, i32, &'static str) {
    const BUSY: (StatusCode, i32) = (StatusCode::TOO_MANY_REQUESTS, code::RESOURCE_EXHAUSTED);
    const AWAY: (StatusCode, i32) = (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE);
    const LATE: (StatusCode, i32) = (StatusCode::GATEWAY_TIMEOUT, code::DEADLINE_EXCEEDED);
    const BEHIND: (StatusCode, i32) = (StatusCode::BAD_GATEWAY, code::UNAVAILABLE);
    const BROKEN: (StatusCode, i32) = (StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL);

    let ((status, code), message) = match reason {
        DropReason::SoftLimit | DropReason::Full | DropReason::Bytes | DropReason::ByteBudget => {
            (BUSY, "the queue is full")
        }
        DropReason::FairShare => (BUSY, "too many requests of one client"),
        DropReason::Shed => (BUSY, "the queue is overloaded"),
        DropReason::Evicted => (BUSY, "a newer request took the place of this one"),
        DropReason::TooLarge => ((StatusCode::PAYLOAD_TOO_LARGE, code::INVALID_ARGUMENT), "the request is too large"),
        DropReason::CircuitOpen => (AWAY, "a server that is needed for this is failing"),
        DropReason::RetriesExhausted | DropReason::Budget => (AWAY, "a server that is needed for this did not respond"),
        DropReason::Shutdown | DropReason::Disabled => (AWAY, "the server does not take requests"),
        DropReason::Expired => (LATE, "the request waited too long"),
        DropReason::Cancelled => ((StatusCode::SERVICE_UNAVAILABLE, code::CANCELLED), "the request was cancelled"),
        DropReason::Rejected | DropReason::Failed => (BEHIND, "a server that is needed for this failed"),
        DropReason::Encode | DropReason::Filtered => {
            ((StatusCode::UNPROCESSABLE_ENTITY, code::INVALID_ARGUMENT), "the request cannot be processed")
        }
        DropReason::Panicked => (BROKEN, "the server failed"),
    };
    (status, code, message)
}

/// The texts are constants; were one of them ever to hold a character that JSON escapes, it would be left out.
fn escaped(text: &str) -> String {
    text.chars().filter(|char| !char.is_control() && !['"', '\\'].contains(char)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Seen};

    fn of(reason: DropReason, advice: Advice) -> Response<String> {
        respond(&Verdict::new(reason, Seen::No, advice))
    }

    #[test]
    fn every_reason_has_a_status_that_its_client_can_act_on() {
        for reason in DropReason::ALL {
            let response = of(reason, Advice::Retry);
            let status = response.status();
            assert!(status.is_client_error() || status.is_server_error(), "{reason}: {status}");
            let waits = status == 429 || status == 503;
            assert_eq!(response.headers().contains_key("retry-after"), waits, "{reason}: {status}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let reply = Reply::to(&Verdict::new(reason, Seen::No, Advice::Never));
            assert_eq!(reply.retry_after, None, "{reason}: another attempt is not sensible");
            assert!(reply.code != 0 && reply.code != 2, "{reason}: neither OK nor UNKNOWN");
        }
    }

    #[test]
    fn a_hint_is_rounded_up_to_whole_seconds() {
        let open = of(DropReason::CircuitOpen, Advice::RetryAfter(Duration::from_millis(2_001)));
        assert_eq!(
            (open.status(), &open.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from(3))
        );
        let forever = of(DropReason::Full, Advice::RetryAfter(Duration::MAX));
        assert_eq!(forever.headers()["retry-after"], u64::MAX.to_string().as_str());
    }

    #[test]
    fn the_text_of_an_error_does_not_reach_the_client() {
        let secret: BoxError = "postgres://admin:hunter2@db".into();
        let error = Verdict::new(DropReason::Failed, Seen::Maybe, Advice::Never).caused_by(secret);
        let response: Response<String> = respond(&error);
        assert_eq!(response.status(), 502);
        assert_eq!(
            response.body(),
            r#"{"title":"Bad Gateway","status":502,"detail":"a server that is needed for this failed"}"#
        );
        let foreign: BoxError = "postgres://admin:hunter2@db".into();
        let response: Response<String> = respond(&*foreign);
        assert!(response.status() == 500 && !response.body().contains("hunter2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_of_another_library_is_a_504() {
        let (pending, second) = (std::future::pending::<()>(), Duration::from_secs(1));
        let elapsed = tokio::time::timeout(second, pending).await.unwrap_err();
        assert_eq!(Reply::to(&elapsed).status, 504);
        assert_eq!(Reply::to(&io::Error::from(io::ErrorKind::TimedOut)).status, 504);
        let late: BoxError = Box::new(tower::timeout::error::Elapsed::new());
        assert_eq!(Reply::to(&*late).status, 504);
        let shed: BoxError = Box::new(tower::load_shed::error::Overloaded::new());
        assert_eq!(Reply::to(&*shed).status, 503);
    }
}
