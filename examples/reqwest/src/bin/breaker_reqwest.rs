//! A circuit breaker around reqwest's client: a host that goes down and comes back, beside one that is well.
//!
//! ```text
//! cargo run -p forebay-example-reqwest --bin breaker_reqwest
//! ```

use forebay_breaker::{BreakerEvent, BreakerLayer, CircuitOpen, OpenFor, State};
use forebay_core::{BoxError, cause_ref};
use forebay_example_support::server::{http1, say};
use reqwest::{Client, Method, Request};
use std::time::Duration;
use tower::{Layer, Service, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Five requests fail; then it is well again.
    let (sick, seen) = http1(|request| if request <= 5 { "503 Service Unavailable" } else { "200 OK" }).await?;
    let (well, _) = http1(|_| "200 OK").await?;
    let sick = format!("http://{sick}/").parse::<reqwest::Url>()?;
    let well = format!("http://{well}/").parse::<reqwest::Url>()?;

    // The preset opens after five failures in a row, per host. reqwest hands out a 503 as a response: a breaker that looked at
    // errors alone would never open.
    let breaker = BreakerLayer::http()
        .open_for(OpenFor::new(Duration::from_millis(300)).growth(2.0).cap(Duration::from_secs(60)))
        .close_after(1)
        .observe(|event: &BreakerEvent| {
            if let BreakerEvent::Changed { key, from, to, reason, .. } = event {
                drop(say(format_args!("  {key}: {from:?} to {to:?}, {reason:?}")));
            }
        })
        .build()?;
    let handle = breaker.handle();
    let mut client = breaker.layer(Client::new());

    for _ in 0..5 {
        let response = client.ready().await?.call(Request::new(Method::GET, sick.clone())).await?;
        say(format_args!("{sick}: {}", response.status()))?;
    }

    let refused = client.ready().await?.call(Request::new(Method::GET, sick.clone())).await;
    let error = refused.err().ok_or("the circuit should be open")?;
    let open = cause_ref::<CircuitOpen>(&*error).ok_or("another error than expected")?;
    let (wait, reached) = (open.retry_in(), seen.count());
    say(format_args!("{sick}: {error}, for {wait:.1?} more; the server has seen {reached} requests"))?;

    let response = client.ready().await?.call(Request::new(Method::GET, well.clone())).await?;
    say(format_args!("{well}: {}, for another host is not to blame", response.status()))?;

    tokio::time::sleep(wait).await;
    let response = client.ready().await?.call(Request::new(Method::GET, sick.clone())).await?;
    say(format_args!("{sick}: {}", response.status()))?;
    if reached != 5 || handle.state(sick.authority()) != State::Closed {
        return Err("five requests, none while it was open, and one to close it".into());
    }
    Ok(())
}
