use super::{grpc, http};
use crate::{intake::Intake, ledgers::SIGNALS, metrics};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::IntoResponse,
    routing::{get, post},
};
use std::sync::Arc;
use tokio::time::timeout;
use tower::limit::GlobalConcurrencyLimitLayer;

/// Everything that is served, on both ports.
pub(crate) fn router(intake: Arc<Intake>) -> Router {
    let mut export = Router::new();
    for signal in SIGNALS {
        export = export
            .route(
                signal.path(),
                post(move |State(intake): State<Arc<Intake>>, headers: HeaderMap, body: Body| async move {
                    http::export(&intake, signal, headers, body).await
                }),
            )
            .route(
                grpc::path(signal),
                post(move |State(intake): State<Arc<Intake>>, request: Request| grpc::export(intake, signal, request)),
            );
    }
    let export = export
        .layer(from_fn_with_state(Arc::clone(&intake), in_time))
        // Outside of the time limit: a request that waits here has not been read yet. What is read at a time is bounded by it.
        .layer(GlobalConcurrencyLimitLayer::new(intake.config.max_receiving.get()));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .merge(export)
        .with_state(intake)
}

/// No sender keeps a place for ever by sending slowly.
async fn in_time(State(intake): State<Arc<Intake>>, request: Request, next: Next) -> Response<Body> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    match timeout(intake.config.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) if is_grpc => tonic::Status::deadline_exceeded("the request took too long").into_http(),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

async fn ready(State(intake): State<Arc<Intake>>) -> (StatusCode, String) {
    if let Some(why) = intake.unwritable().await {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: the spool cannot be written to: {why}\n"));
    }
    if intake.is_ready() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
    }
}

async fn scrape(State(intake): State<Arc<Intake>>) -> Response<Body> {
    let mut response = Response::new(Body::from(metrics::render(&intake)));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
