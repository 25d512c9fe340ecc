//! A circuit breaker in front of a tonic channel: a service that is unavailable, and comes back.
//!
//! ```text
//! cargo run -p forebay-example-tonic --bin breaker_tonic
//! ```

use forebay_breaker::{BreakerEvent, BreakerLayer, CircuitOpen, OpenFor, State};
use forebay_core::{BoxError, Outcome, cause_ref};
use forebay_example_support::server::{grpc, say};
use forebay_example_tonic::Empty;
use http::{Response, uri::PathAndQuery};
use std::time::Duration;
use tonic::{
    Code, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tower::ServiceBuilder;

/// 14 of [gRPC's codes](https://grpc.io/docs/guides/status-codes/).
const UNAVAILABLE: u16 = Code::Unavailable as u16;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (address, seen) = grpc(|call| if call <= 5 { UNAVAILABLE } else { 0 }).await?;
    let channel: Channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();

    let breaker = BreakerLayer::driver()
        .name("the collector")
        .open_for(OpenFor::new(Duration::from_millis(300)))
        .close_after(1)
        // To HTTP every response of gRPC is a 200; what it means stands in `grpc-status`.
        .classify(|result: &Result<Response<tonic::body::Body>, tonic::transport::Error>| match result {
            Ok(response) => match Status::from_header_map(response.headers()).map(|status| status.code()) {
                None | Some(Code::Ok) => Outcome::Success,
                Some(Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded) => Outcome::RETRYABLE,
                // The server has responded, and is healthy.
                Some(_) => Outcome::Ignored,
            },
            Err(_) => Outcome::RETRYABLE,
        })
        .observe(|event: &BreakerEvent| {
            if let BreakerEvent::Changed { key, from, to, reason, .. } = event {
                drop(say(format_args!("  {key}: {from:?} to {to:?}, {reason:?}")));
            }
        })
        .build()?;
    let handle = breaker.handle();
    // A generated client takes such a service as well: `CollectorClient::new(service)`.
    let mut client = Grpc::new(ServiceBuilder::new().layer(breaker).service(channel));

    for call in 1..=5 {
        let status = export(&mut client).await.err().ok_or("it is not available")?;
        say(format_args!("call {call}: {:?}", status.code()))?;
    }
    let status = export(&mut client).await.err().ok_or("the circuit should be open")?;
    let open = cause_ref::<CircuitOpen>(&status).ok_or("another error than expected")?;
    let (wait, reached) = (open.retry_in(), seen.count());
    say(format_args!("call 6: {open}, for {wait:.1?} more; the server has seen {reached} calls"))?;

    tokio::time::sleep(wait).await;
    export(&mut client).await?;
    say("call 7: the service is back")?;
    if reached != 5 || handle.state(&()) != State::Closed {
        return Err("five calls, none while it was open, and one to close it".into());
    }
    Ok(())
}

async fn export<S>(client: &mut Grpc<S>) -> Result<(), Status>
where
    S: tonic::client::GrpcService<tonic::body::Body>,
    S::ResponseBody: http_body::Body + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/collector.Collector/Export");
    client.unary(tonic::Request::new(()), path, Empty).await.map(drop)
}
