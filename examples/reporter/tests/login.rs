//! A token by client credentials, over TLS: for the configuration and for the exports.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use bytes::Bytes;
use forebay_collect::Recorder;
use forebay_example_support::{stop::Interrupts, tls::Identity};
use forebay_reporter::{Options, Summary, Task, parse, run};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;

/// A request that was received: its path, its headers, and its body.
type Received = (String, HeaderMap, Bytes);

/// A token endpoint, a configuration and a receiver behind one TLS listener.
#[derive(Clone, Default)]
struct Service {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    /// After so many requests with the first token it is not taken any more.
    takes_first: usize,
    /// How long a token is valid, in seconds.
    expires_in: u64,
    /// The endpoint that the configuration names; `None` for this one.
    endpoint: Option<&'static str>,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../support/tls").join(name)
}

impl Service {
    async fn start(takes_first: usize, expires_in: u64) -> Self {
        Self::start_with(takes_first, expires_in, None).await
    }

    async fn start_with(takes_first: usize, expires_in: u64, endpoint: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = Self { port, takes_first, expires_in, endpoint, ..Self::default() };
        let (serving, identity) =
            (service.clone(), Identity::read(&file("server.pem"), &file("server-key.pem")).unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, identity) = (serving.clone(), identity.clone());
                tokio::spawn(async move {
                    let Ok(stream) = identity.accept(stream).await else { return };
                    let respond = service_fn(|request| serving.respond(request));
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), respond).await);
                });
            }
        });
        service
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path().to_owned();
        self.received.lock().unwrap().push((path.clone(), head.headers.clone(), body));
        let bearer = head.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let with = |token: &str| {
            let shown = Some(format!("Bearer {token}"));
            self.received
                .lock()
                .unwrap()
                .iter()
                .filter(|(_, headers, _)| {
                    headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()) == shown
                })
                .count()
        };
        let issued = self.of("/oauth2/token").len();
        let is_valid = match bearer.as_deref() {
            Some("Bearer token-1") => with("token-1") <= self.takes_first,
            Some(other) => other.starts_with("Bearer token-"),
            None => false,
        };
        let (status, body) = match &*path {
            "/oauth2/token" => {
                let token = format!("token-{issued}");
                let body = json!({"access_token": token, "token_type": "bearer", "expires_in": self.expires_in});
                (StatusCode::OK, body.to_string())
            }
            _ if !is_valid => (StatusCode::UNAUTHORIZED, String::new()),
            "/config" => {
                let base = self.endpoint.map_or_else(|| format!("localhost:{}", self.port), str::to_owned);
                (StatusCode::OK, json!({"endpoint": base, "refresh": "1s"}).to_string())
            }
            "/v1/metrics" => (StatusCode::OK, String::new()),
            _ => (StatusCode::NOT_FOUND, String::new()),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        Ok(response)
    }

    fn of(&self, path: &str) -> Vec<(HeaderMap, Bytes)> {
        let received = self.received.lock().unwrap();
        received
            .iter()
            .filter(|(of, ..)| of == path)
            .map(|(_, headers, body)| (headers.clone(), body.clone()))
            .collect()
    }

    /// Runs a reporter against it for `seconds`.
    async fn reports(&self, seconds: u32, ca: &str) -> (Summary, Vec<String>) {
        let url = |path: &str| format!("https://localhost:{}{path}", self.port);
        let arguments = [
            format!("--config={}", url("/config")),
            format!("--token-url={}", url("/oauth2/token")),
            "--audience=https://api.example".to_owned(),
            format!("--ca={}", file(ca).display()),
            "--resource-id=organization/1/project/2".to_owned(),
            "--allow-private".to_owned(),
            format!("--for={seconds}s"),
            "--gather-interval=100ms".to_owned(),
            "--export-interval=300ms".to_owned(),
        ];
        let notices = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&notices);
        let tell = move |text| into.lock().unwrap().push(text);
        let summary = run(options(&arguments).unwrap(), Recorder::new(), &Interrupts::by_hand().1, tell).await.unwrap();
        let notices = notices.lock().unwrap().clone();
        (summary, notices)
    }
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let environment = |name: &str| match name {
        "HCP_CLIENT_ID" => Some("agent:7".to_owned()),
        "HCP_CLIENT_SECRET" => Some("hunter2".to_owned()),
        _ => None,
    };
    match parse(arguments.iter().map(Into::into), environment) {
        Ok(Task::Run(options)) => Ok(*options),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn one_token_is_fetched_for_the_configuration_and_the_exports() {
    let service = Service::start(usize::MAX, 3600).await;
    let (summary, notices) = service.reports(2, "ca.pem").await;
    assert!(summary.is_complete() && summary.totals.delivered > 0, "{summary} {notices:?}");
    let tokens = service.of("/oauth2/token");
    assert_eq!(tokens.len(), 1);
    let (headers, body) = &tokens[0];
    // `agent%3A7:hunter2`: both are encoded before they are joined (RFC 6749, 2.3.1).
    assert_eq!(headers[header::AUTHORIZATION], "Basic YWdlbnQlM0E3Omh1bnRlcjI=");
    assert_eq!(body, "grant_type=client_credentials&audience=https%3A%2F%2Fapi%2Eexample");
    for path in ["/config", "/v1/metrics"] {
        let requests = service.of(path);
        assert!(requests.len() >= 2, "{path}: {}", requests.len());
        for (headers, _) in requests {
            assert_eq!(headers[header::AUTHORIZATION], "Bearer token-1", "{path}");
            assert_eq!(headers["x-hcp-resource-id"], "organization/1/project/2", "{path}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once_for_both_and_nothing_is_lost() {
    let service = Service::start(1, 3600).await;
    let (summary, notices) = service.reports(3, "ca.pem").await;
    assert!(summary.is_complete() && summary.totals.delivered > 0, "{summary} {notices:?}");
    assert_eq!(service.of("/oauth2/token").len(), 2, "a second one when the first was refused");
    let last = |path: &str| service.of(path).last().unwrap().0[header::AUTHORIZATION].clone();
    assert_eq!(
        (last("/config"), last("/v1/metrics")),
        ("Bearer token-2".parse().unwrap(), "Bearer token-2".parse().unwrap())
    );
}

#[tokio::test]
async fn a_token_is_renewed_before_it_runs_out() {
    let service = Service::start(usize::MAX, 2).await;
    let (summary, notices) = service.reports(4, "ca.pem").await;
    assert!(summary.is_complete() && summary.totals.delivered > 0, "{summary} {notices:?}");
    let tokens = service.of("/oauth2/token").len();
    assert!((2..=5).contains(&tokens), "{tokens} tokens of two seconds in four");
}

#[tokio::test]
async fn a_server_of_another_authority_gets_neither_secret_nor_token() {
    let service = Service::start(usize::MAX, 3600).await;
    let (summary, notices) = service.reports(1, "other-ca.pem").await;
    assert_eq!((summary.totals.offered, service.received.lock().unwrap().len()), (0, 0));
    assert!(!notices.is_empty() && notices.iter().all(|text| !text.contains("hunter2")), "{notices:?}");
}

#[tokio::test]
async fn an_endpoint_without_tls_is_refused_where_a_token_is_shown() {
    let service = Service::start_with(usize::MAX, 3600, Some("http://127.0.0.1:9")).await;
    let (summary, notices) = service.reports(1, "ca.pem").await;
    assert_eq!((summary.totals.offered, summary.fetches.1), (0, summary.fetches.0));
    assert!(notices.iter().any(|text| text.contains("an https URL")), "{notices:?}");
}

#[test]
fn a_login_that_would_show_a_secret_or_has_none_is_refused() {
    let given = |arguments: &[&str]| options(&arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    for (arguments, words) in [
        (&["--token-url=http://auth.example/token", "--config=https://h/c"][..], "--token-url"),
        (&["--token-url=https://auth.example/token", "--config=http://h.example/c"], "--config"),
        (&["--token-url=https://auth.example/token"], "--config"),
        (&["--resource-id=a\nb"], "--resource-id"),
        (&["--ca=none.pem"], "none.pem"),
    ] {
        let error = given(arguments).unwrap_err();
        assert!(error.contains(words) && error.lines().count() == 1, "{arguments:?}: {error}");
    }
    let alone = parse(["--token-url=https://auth.example/token".into()], |_| None);
    assert!(alone.unwrap_err().to_string().contains("HCP_CLIENT_ID"));
}
