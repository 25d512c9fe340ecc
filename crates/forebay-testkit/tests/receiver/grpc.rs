//! gRPC on the same port.

use crate::support::{call, http2_client, logs};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use forebay_testkit::receiver::{Disposition, Fault, Receiver, Signal};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use prost::Message;
use std::io::Write;

fn frame(flag: u8, message: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(flag);
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.put_slice(message);
    body.freeze()
}

fn request(receiver: &Receiver, body: Bytes) -> Request<Full<Bytes>> {
    let uri = receiver.endpoint() + Signal::Logs.grpc_path();
    let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    request.header("grpc-encoding", "gzip").body(body.into()).unwrap()
}

#[tokio::test]
async fn a_call_is_taken_in_and_its_status_follows_the_response() {
    let receiver = Receiver::builder().start().await.unwrap();
    let message = logs(["one", "two"]).encode_to_vec();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&message).unwrap();
    for body in [frame(0, &message), frame(1, &packed.finish().unwrap())] {
        let response = http2_client().request(request(&receiver, body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), [0; 5][..]);
    }
    assert_eq!(receiver.count("one").accepted, 2);
    let requests = receiver.requests();
    assert_eq!((requests[1].grpc_status, requests[1].disposition), (Some(0), Disposition::Accepted));
    assert_eq!(requests[1].decoded_length, Some(message.len() as u64));
}

#[tokio::test]
async fn what_is_no_call_is_refused_in_the_head() {
    let receiver = Receiver::builder().max_bytes(64).start().await.unwrap();
    let long = logs(["x".repeat(100).as_str()]).encode_to_vec();
    for (body, code) in [
        (Bytes::from_static(b"\0\0"), "3"),
        (frame(0, b"\xff"), "3"),
        (frame(2, b""), "3"),
        (frame(1, b"no gzip"), "3"),
        (frame(0, &long), "8"),
    ] {
        let response = call(&http2_client(), request(&receiver, body)).await.unwrap();
        assert_eq!((response.status(), response.headers()["grpc-status"].to_str().unwrap()), (StatusCode::OK, code));
    }
    let elsewhere = Request::post(receiver.endpoint() + "/no.Service/Call").header("content-type", "application/grpc");
    let response = call(&http2_client(), elsewhere.body(frame(0, b"").into()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "12");
    assert_eq!(receiver.totals().accepted, 0);
}

#[tokio::test]
async fn a_status_of_http_becomes_one_of_grpc_with_the_wait_in_its_details() {
    let script = [Fault::status(StatusCode::SERVICE_UNAVAILABLE), Fault::retry_after(StatusCode::TOO_MANY_REQUESTS, 7)];
    let receiver = Receiver::builder().script(script).start().await.unwrap();
    let message = logs(["one"]).encode_to_vec();
    let response = call(&http2_client(), request(&receiver, frame(0, &message))).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    assert!(!response.headers().contains_key("retry-after"));
    let response = call(&http2_client(), request(&receiver, frame(0, &message))).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "8");
    let details = STANDARD_NO_PAD.decode(&response.headers()["grpc-status-details-bin"]).unwrap();
    // The wait of 7 seconds, as `google.protobuf.Duration` in `google.rpc.RetryInfo`.
    assert!(details.ends_with(&[0x12, 4, 0x0a, 2, 0x08, 7]), "{details:?}");
    assert_eq!(receiver.requests().iter().map(|request| request.grpc_status).collect::<Vec<_>>(), [Some(14), Some(8)]);
}
