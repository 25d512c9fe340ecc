//! A retry around hyper-util's client: a server that is busy twice, and one that stays so.
//!
//! ```text
//! cargo run -p forebay-example-hyper --bin retry_hyper
//! ```

use bytes::Bytes;
use forebay_core::BoxError;
use forebay_example_support::{
    client::http_client,
    server::{http1, say},
};
use forebay_retry::{Backoff, GaveUp, RetryBuilder, RetryEvent};
use http::{HeaderName, Request};
use http_body_util::Full;
use std::time::Duration;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let retry = RetryBuilder::http()
        .max_retries(3)
        .backoff(Backoff::exponential(Duration::from_millis(20)).cap(Duration::from_secs(1)))
        .attempt_header(HeaderName::from_static("x-previous-attempts"))
        .observe(|event: &RetryEvent| drop(say(format_args!("  {event:?}"))))
        .build()?;
    let mut client = retry.layer(http_client());

    let (busy, seen) =
        http1(|request| if request <= 2 { "503 Service Unavailable\r\nretry-after: 1" } else { "200 OK" }).await?;
    say("a server that is busy twice, and asks for a second each time:")?;
    let begin = Instant::now();
    let request = Request::post(format!("http://{busy}/")).body(Full::new(Bytes::from_static(b"hello")))?;
    let response = client.ready().await?.call(request).await?;
    say(format_args!("{} after {} requests and {:.1?}", response.status(), seen.count(), begin.elapsed()))?;
    if !response.status().is_success() || seen.count() != 3 || begin.elapsed() < Duration::from_secs(2) {
        return Err("two retries, and no sooner than asked for".into());
    }

    let (down, seen) = http1(|_| "502 Bad Gateway").await?;
    say("a server that stays down:")?;
    let request = Request::get(format!("http://{down}/")).body(Full::default())?;
    let response = client.ready().await?.call(request).await?;
    let why = response.extensions().get::<GaveUp>().ok_or("a response that was given up on says so")?;
    say(format_args!("{} after {} requests: {why}", response.status(), seen.count()))?;
    if seen.count() != 1 + 3 {
        return Err("three retries, and then the response of the server itself".into());
    }
    Ok(())
}
