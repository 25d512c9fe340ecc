//! What the receiver refuses by its own rules.

use crate::support::{JSON, PROTOBUF, call, client, logs, request, to};
use bytes::Bytes;
use forebay_testkit::receiver::{
    Disposition, Fault, Receiver, Signal, proto::collector::logs::v1::ExportLogsServiceResponse,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use prost::Message;
use std::io::Write;

/// `google.rpc.Status`, as a client would decode it.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn response(receiver: &Receiver, change: impl FnOnce(&mut Request<Full<Bytes>>)) -> Response<Bytes> {
    let mut request = request(receiver, ["x"]);
    change(&mut request);
    call(&client(), request).await.unwrap()
}

#[tokio::test]
async fn wrong_requests_get_their_own_status() {
    let receiver = Receiver::builder().start().await.unwrap();
    let header = |name, value| move |request: &mut Request<_>| _ = request.headers_mut().insert(name, value);
    let fixed = HeaderValue::from_static;
    let status = async |change: &dyn Fn(&mut Request<Full<Bytes>>)| response(&receiver, change).await;

    let elsewhere = status(&|request| *request.uri_mut() = (receiver.endpoint() + "/v1/log").parse().unwrap()).await;
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
    let get = status(&|request| *request.method_mut() = Method::GET).await;
    assert_eq!((get.status(), &get.headers()[header::ALLOW]), (StatusCode::METHOD_NOT_ALLOWED, &fixed("POST")));

    let html = response(&receiver, header(header::CONTENT_TYPE, fixed("text/html"))).await;
    assert_eq!(html.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let untyped = status(&|request| _ = request.headers_mut().remove(header::CONTENT_TYPE)).await;
    assert_eq!(untyped.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let brotli = response(&receiver, header(header::CONTENT_ENCODING, fixed("br"))).await;
    assert_eq!(brotli.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(brotli.headers()[header::ACCEPT_ENCODING].to_str().unwrap().contains("gzip"));

    let plain = response(&receiver, header(header::CONTENT_ENCODING, fixed("gzip"))).await;
    assert_eq!(plain.status(), StatusCode::BAD_REQUEST, "not gzip");
    let json = response(&receiver, header(header::CONTENT_TYPE, fixed(JSON))).await;
    assert_eq!(json.status(), StatusCode::BAD_REQUEST, "not JSON");
    let torn = status(&|request| *request.body_mut() = logs(["x"]).encode_to_vec()[1..].to_vec().into()).await;
    assert_eq!(torn.status(), StatusCode::BAD_REQUEST, "not protobuf");

    assert_eq!((receiver.totals().accepted, receiver.totals().requests), (0, 8));
    assert!(receiver.requests().iter().all(|request| request.disposition == Disposition::Unprocessed));
}

#[tokio::test]
async fn a_refusal_explains_itself_in_the_encoding_of_the_request() {
    let receiver = Receiver::builder().start().await.unwrap();
    let torn = response(&receiver, |request| *request.body_mut() = Bytes::from_static(b"\x0a\xff").into()).await;
    assert_eq!(torn.headers()[header::CONTENT_TYPE], PROTOBUF);
    let status = Status::decode(torn.into_body()).unwrap();
    assert!(status.code == 3 && !status.message.is_empty(), "{status:?}");

    let torn = response(&receiver, |request| {
        *request.body_mut() = r#"{"resourceLogs":[{"scopeLogs":7}]}"#.into();
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    })
    .await;
    assert_eq!(
        (torn.status(), &torn.headers()[header::CONTENT_TYPE]),
        (StatusCode::BAD_REQUEST, &HeaderValue::from_static(JSON))
    );
    let status: serde_json::Value = serde_json::from_slice(torn.body()).unwrap();
    assert_eq!(status["code"], 3);
    assert!(status["message"].as_str().unwrap().contains("`scopeLogs`"), "{status}");
}

#[tokio::test]
async fn bodies_beyond_a_limit_are_too_large() {
    let receiver = Receiver::builder().max_bytes(10_000).max_records(3).start().await.unwrap();
    let status = async |request| call(&client(), request).await.unwrap().status();
    let body = |length: usize| "x".repeat(length);
    assert_eq!(status(request(&receiver, [body(9_000).as_str()])).await, StatusCode::OK);
    assert_eq!(status(request(&receiver, [body(10_000).as_str()])).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(status(request(&receiver, [body(5_000_000).as_str()])).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(status(request(&receiver, ["a", "b", "c"])).await, StatusCode::OK);
    assert_eq!(status(request(&receiver, ["a", "b", "c", "d"])).await, StatusCode::PAYLOAD_TOO_LARGE);

    // A bomb: 10 MB in 10 kB.
    let bomb = gzip(&logs([body(10_000_000).as_str()]).encode_to_vec());
    assert!(bomb.len() < 15_000);
    let bomb = to(&receiver, Signal::Logs).header("content-encoding", "gzip").body(bomb.into()).unwrap();
    assert_eq!(status(bomb).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(receiver.requests()[2].wire_length > 5_000_000, "it was read to its end");
    assert_eq!(receiver.totals().accepted, 4);
}

#[tokio::test]
async fn a_rejected_record_costs_only_itself() {
    let receiver = Receiver::builder().reject_if(|body| body.contains("poison")).start().await.unwrap();
    let response = call(&client(), request(&receiver, ["a", "poison 1", "b", "poison 2"])).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let success = ExportLogsServiceResponse::decode(response.into_body()).unwrap().partial_success.unwrap();
    assert_eq!(success.rejected_log_records, 2);
    assert!(!success.error_message.is_empty());
    let bodies: Vec<_> = receiver.logs().into_iter().map(|log| log.body).collect();
    assert_eq!(bodies, ["a", "b"]);

    let clean = call(&client(), request(&receiver, ["c"])).await.unwrap();
    assert!(clean.body().is_empty(), "nothing to say");
}

#[tokio::test]
async fn a_poison_record_costs_the_whole_request() {
    let receiver = Receiver::builder().refuse_if(|body| body == "poison").start().await.unwrap();
    let status = async |bodies: [&str; 2]| call(&client(), request(&receiver, bodies)).await.unwrap().status();
    assert_eq!(status(["a", "poison"]).await, StatusCode::BAD_REQUEST);
    assert_eq!(status(["a", "b"]).await, StatusCode::OK);
    assert_eq!((receiver.count("a").accepted, receiver.count("poison").accepted), (1, 0));
}

#[tokio::test]
async fn without_the_right_authorization_nothing_is_taken_in() {
    let secret = HeaderValue::from_static("Bearer canary-7391");
    let receiver = Receiver::builder().require_authorization(secret.clone()).start().await.unwrap();
    let missing = response(&receiver, |_| {}).await;
    assert_eq!(missing.status(), StatusCode::UNAUTHORIZED);
    assert!(missing.headers().contains_key(header::WWW_AUTHENTICATE));
    let wrong = HeaderValue::from_static("Bearer canary-0000");
    let set = |value| move |request: &mut Request<_>| _ = request.headers_mut().insert(header::AUTHORIZATION, value);
    assert_eq!(response(&receiver, set(wrong)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response(&receiver, set(secret.clone())).await.status(), StatusCode::OK);
    assert_eq!(receiver.count("x").accepted, 1);
    assert_eq!(receiver.requests()[2].headers[header::AUTHORIZATION], secret);
    assert!(!format!("{:?} {receiver:?}", receiver.requests()).contains("canary"), "a secret is not printed");
}

#[tokio::test]
async fn other_paths_have_handlers_of_their_own() {
    let receiver = Receiver::builder()
        .route("/telemetry-ext", |request| {
            let status = if request.body().is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::CREATED };
            Response::builder()
                .status(status)
                .header("x-method", request.method().as_str())
                .body(request.body().clone())
                .unwrap()
        })
        .script([Fault::None, Fault::None, Fault::status(StatusCode::SERVICE_UNAVAILABLE), Fault::Truncated])
        .start()
        .await
        .unwrap();
    let http = client();
    let send = async |body: Vec<u8>| {
        let uri = receiver.endpoint() + "/telemetry-ext?v=1";
        http.request(Request::put(uri).header("content-encoding", "gzip").body(body.into()).unwrap()).await
    };
    let zipped = gzip(br#"{"protoLogs":[]}"#);
    let echoed = send(zipped.clone()).await.unwrap();
    assert_eq!(
        (echoed.status(), &echoed.headers()["x-method"]),
        (StatusCode::CREATED, &HeaderValue::from_static("PUT"))
    );
    assert_eq!(send(gzip(b"")).await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(send(zipped.clone()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(send(zipped.clone()).await);

    let requests = receiver.requests();
    assert_eq!(requests[0].body, zipped, "as it came");
    assert_eq!((requests[0].path(), requests[0].uri.query()), ("/telemetry-ext", Some("v=1")));
    assert_eq!(requests[0].decoded_length, Some(16));
    assert_eq!(requests[0].header("content-encoding"), Some("gzip"));
    let dispositions: Vec<_> = requests.iter().map(|request| request.disposition).collect();
    assert_eq!(
        dispositions,
        [Disposition::Accepted, Disposition::Unprocessed, Disposition::Unprocessed, Disposition::Ambiguous]
    );
}

#[tokio::test]
async fn a_response_without_room_for_a_body_is_an_response() {
    let receiver = Receiver::builder()
        .route("/head", |_| Response::new(Bytes::from_static(b"not for HEAD")))
        .route("/empty", |_| Response::builder().status(204).body(Bytes::from_static(b"not for 204")).unwrap())
        .start()
        .await
        .unwrap();
    let http = client();
    let send = async |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(receiver.endpoint() + path).body(Full::default()).unwrap();
        call(&http, request).await.unwrap()
    };
    assert!(send(Method::HEAD, "/head").await.body().is_empty());
    assert_eq!(send(Method::GET, "/head").await.body(), "not for HEAD");
    assert!(send(Method::GET, "/empty").await.body().is_empty());
    receiver.shutdown().await;
    assert!(receiver.requests().iter().all(|request| request.disposition == Disposition::Accepted));
}
