//! What is known of a request for which there never was a connection.

use crate::support::{http1, over, record, soon};
use forebay::{
    core::{Seen, Verdict},
    otlp::Protocol,
    retry::{Backoff, RetryBuilder},
};
use http::Request;
use std::time::Duration;
use tower::{Layer, ServiceExt};

/// A URL of this machine at which nothing listens.
async fn refused() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

/// F16, by a client alone, below one retry layer, and in the whole stack.
#[tokio::test]
async fn f16_a_refused_connection_has_shown_nothing_to_the_server() {
    let url = refused().await;
    let request = || Request::get(url.as_str()).body(http_body_util::Full::default()).unwrap();
    let error = http1().oneshot(request()).await.unwrap_err();
    assert_eq!(Seen::of(&error), Seen::No, "{error:?}");

    let backoff = Backoff::constant(Duration::from_millis(1));
    let retry = RetryBuilder::http().max_retries(1).backoff(backoff).build().unwrap();
    let error = retry.layer(http1()).oneshot(request()).await.unwrap_err();
    assert_eq!(Verdict::of(&*error).unwrap().seen(), Seen::No, "{error:?}");

    let exporter = over(&url, Protocol::HttpProtobuf, http1()).max_age(Duration::ZERO).build().unwrap();
    exporter.emit(record("one"));
    soon(exporter.flush()).await;
    let error = exporter.last_error().unwrap();
    assert_eq!(Verdict::of(&error).unwrap().seen(), Seen::No, "{error:?}");
}
