//! The preset for HTTP over reqwest's own requests and responses.

use forebay_breaker::{BreakerLayer, CircuitOpen, State};
use forebay_core::{BoxError, cause_ref};
use reqwest::{Client, Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};

/// Responds with the status that the path names.
async fn server(request: Request) -> Result<Response, BoxError> {
    let status: u16 = request.url().path().trim_start_matches('/').parse()?;
    Ok(http::Response::builder().status(status).body("")?.into())
}

#[tokio::test(start_paused = true)]
async fn d01_the_statuses_of_reqwest_count_per_host_and_the_user_is_no_part_of_the_key() {
    let layer = BreakerLayer::http().build().unwrap();
    let mut service = layer.layer(service_fn(server));
    let mut get = async |url: &str| {
        let request = Client::new().get(url).build().unwrap();
        service.ready().await?.call(request).await.map(|response| response.status().as_u16())
    };
    for _ in 0..9 {
        assert_eq!(get("http://user:secret@api.example:8080/404").await.unwrap(), 404);
    }
    for _ in 0..5 {
        assert_eq!(get("http://user:secret@api.example:8080/503").await.unwrap(), 503);
    }
    let error = get("http://api.example:8080/200").await.unwrap_err();
    assert_eq!(cause_ref::<CircuitOpen>(&*error).unwrap().key(), "api.example:8080");
    assert_eq!(get("http://api.example/200").await.unwrap(), 200, "another port is another server");
    assert_eq!(layer.handle().state("api.example:8080"), State::Open);
}
