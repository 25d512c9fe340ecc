//! HTTP: responses that mean failure although they are `Ok`, and one state per authority.

use crate::far::{secs, wait};
use forebay_breaker::{BreakerLayer, CircuitOpen, Deadline, OpenFor, RunError, State, Trip};
use forebay_core::{Advice, BoxError, Verdict, cause_ref};
use http::{Request, Response, header::RETRY_AFTER};
use std::io;
use tower::{Layer, Service, ServiceExt, service_fn};

/// Responds with the status that the path names, and a `Retry-After` if there is a query.
async fn server(request: Request<()>) -> Result<Response<()>, BoxError> {
    let status: u16 = request.uri().path().trim_start_matches('/').parse()?;
    let mut response = Response::builder().status(status);
    if let Some(seconds) = request.uri().query() {
        response = response.header(RETRY_AFTER, seconds);
    }
    Ok(response.body(())?)
}

async fn get<S: Service<Request<()>, Response = Response<()>, Error = BoxError>>(
    service: &mut S,
    uri: &str,
) -> Result<u16, BoxError> {
    let response = service.ready().await?.call(Request::get(uri).body(()).unwrap()).await?;
    Ok(response.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn b10_a_429_and_a_503_are_failures_although_they_are_responses() {
    for status in [429, 500, 502, 503, 504] {
        let layer = BreakerLayer::http().build().unwrap();
        let mut service = layer.layer(service_fn(server));
        let uri = format!("http://collector.example:4318/{status}");
        for _ in 0..5 {
            assert_eq!(get(&mut service, &uri).await.unwrap(), status);
        }
        let error = get(&mut service, &uri).await.unwrap_err();
        assert_eq!(cause_ref::<CircuitOpen>(&*error).unwrap().key(), "collector.example:4318");
        assert_eq!(layer.handle().state("collector.example:4318"), State::Open);
        assert_eq!(get(&mut service, "http://other.example/200").await.unwrap(), 200, "the other host is not to blame");
    }
}

#[tokio::test(start_paused = true)]
async fn d01_what_a_healthy_server_responds_never_opens_a_circuit() {
    for status in [301, 304, 400, 401, 403, 404, 408, 409, 410, 422, 501, 505] {
        let layer = BreakerLayer::http().trip(Trip::consecutive(1)).build().unwrap();
        let mut service = layer.layer(service_fn(server));
        for _ in 0..100 {
            assert_eq!(get(&mut service, &format!("http://api.example/{status}")).await.unwrap(), status);
        }
        assert_eq!(layer.handle().state("api.example"), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn d01_errors_open_it_and_a_request_that_cannot_be_built_does_not() {
    let errors: [(fn() -> BoxError, State); 3] = [
        (|| http::Error::from("http://[".parse::<http::Uri>().unwrap_err()).into(), State::Closed),
        (|| io::Error::from(io::ErrorKind::ConnectionRefused).into(), State::Open),
        (|| io::Error::from(io::ErrorKind::TimedOut).into(), State::Open),
    ];
    for (error, expected) in errors {
        let layer = BreakerLayer::http().build().unwrap();
        let mut service = layer.layer(service_fn(move |_| async move { Err::<Response<()>, BoxError>(error()) }));
        for _ in 0..5 {
            assert!(get(&mut service, "http://api.example/").await.is_err());
        }
        assert_eq!(layer.handle().state("api.example"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn for_telemetry_every_response_but_2xx_is_a_failure() {
    for status in [301, 304, 400, 401, 404, 409, 422] {
        let layer = BreakerLayer::http_telemetry().build().unwrap();
        let mut service = layer.layer(service_fn(server));
        for _ in 0..5 {
            get(&mut service, &format!("http://collector.example/{status}")).await.unwrap();
        }
        assert_eq!(layer.handle().state("collector.example"), State::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn b10_by_errors_alone_they_would_be_successes() {
    let layer = BreakerLayer::builder().by_authority().build().unwrap();
    let mut service = layer.layer(service_fn(server));
    for _ in 0..100 {
        get(&mut service, "http://collector.example/503").await.unwrap();
    }
    assert_eq!(layer.handle().state("collector.example"), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_retry_after_of_the_response_that_opens_it_is_obeyed() {
    let layer = BreakerLayer::http().open_for(OpenFor::new(secs(60)).jitter(0.0).max_hint(secs(300))).build().unwrap();
    let mut service = layer.layer(service_fn(server));
    for _ in 0..5 {
        get(&mut service, "http://collector.example/429?240").await.unwrap();
    }
    wait(secs(239)).await;
    let error = get(&mut service, "http://collector.example/200").await.unwrap_err();
    assert_eq!(cause_ref::<CircuitOpen>(&*error).unwrap().retry_in(), secs(1));
    wait(secs(1)).await;
    assert_eq!(get(&mut service, "http://collector.example/200").await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_for_good_can_be_left_out() {
    for (uri, expected) in [("http://a/404", State::Closed), ("http://a/503", State::Open)] {
        let layer = BreakerLayer::http_telemetry().excluding_terminal().build().unwrap();
        let mut service = layer.layer(service_fn(server));
        for _ in 0..5 {
            get(&mut service, uri).await.unwrap();
        }
        assert_eq!(layer.handle().state("a"), expected, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn d06_a_refusal_beyond_the_deadline_in_the_extensions_is_final() {
    let open_for = OpenFor::new(secs(60)).jitter(0.0);
    let layer = BreakerLayer::http().trip(Trip::consecutive(1)).open_for(open_for).build().unwrap();
    let mut service = layer.layer(service_fn(server));
    get(&mut service, "http://api.example/503").await.unwrap();
    for (deadline, advice) in
        [(None, Advice::RetryAfter(secs(60))), (Some(61), Advice::RetryAfter(secs(60))), (Some(60), Advice::Never)]
    {
        let mut request = Request::get("http://api.example/200").body(()).unwrap();
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(Deadline::after(secs(deadline)));
        }
        let error = service.ready().await.unwrap().call(request).await.unwrap_err();
        assert_eq!(cause_ref::<CircuitOpen>(&*error).unwrap().retry_in(), secs(60));
        assert_eq!(Verdict::of(&*error).unwrap().advice(), advice, "{deadline:?}");
        let response: Response<String> = forebay_core::http::respond(&*error);
        let waits = response.headers().contains_key("retry-after");
        assert_eq!((response.status().as_u16(), waits), (503, advice != Advice::Never));
    }
    // `run_for` is there as well, and has no request to ask.
    let error = layer.run_for("api.example", || async { Ok::<_, BoxError>(Response::new(())) }).await.unwrap_err();
    assert!(matches!(error, RunError::Open(open) if !open.is_beyond_deadline()));
}
