//! Faults that an HTTP client sees as a broken connection.

use crate::support::{client, head, raw, request, rest, scripted, send, until};
use forebay_testkit::receiver::{Disposition, Fault, Receiver, ResetWhen};
use http::StatusCode;
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_test::{assert_pending, task};

fn only_request(receiver: &Receiver) -> (Fault, Option<StatusCode>, Disposition, u64) {
    let [request] = receiver.requests().try_into().unwrap();
    (request.fault, request.status, request.disposition, request.wire_length)
}

#[tokio::test]
async fn a_reset_before_reading() {
    let fault = Fault::Reset { when: ResetWhen::Unread };
    let receiver = scripted([fault.clone()]).await;
    let mut stream = raw(&receiver, &["lost"]).await;
    let (response, end) = rest(&mut stream).await;
    assert_eq!((response.len(), end.unwrap_err().kind()), (0, ErrorKind::ConnectionReset));
    assert_eq!(only_request(&receiver), (fault, None, Disposition::Unprocessed, 0));
    assert_eq!(receiver.count("lost").accepted, 0);
}

#[tokio::test]
async fn a_reset_after_reading_leaves_the_records_out() {
    let fault = Fault::Reset { when: ResetWhen::Unprocessed };
    let receiver = scripted([fault.clone()]).await;
    let mut stream = raw(&receiver, &["lost"]).await;
    assert_eq!(rest(&mut stream).await.1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (played, status, disposition, length) = only_request(&receiver);
    assert_eq!((played, status, disposition), (fault, None, Disposition::Unprocessed));
    assert!(length > 0);
    assert_eq!(receiver.count("lost").accepted, 0);
}

#[tokio::test]
async fn a_reset_after_processing_is_ambiguous() {
    let receiver = scripted([Fault::Reset { when: ResetWhen::Processed }]).await;
    let mut stream = raw(&receiver, &["twice", "twice", "once"]).await;
    assert_eq!(rest(&mut stream).await.1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(only_request(&receiver).2, Disposition::Ambiguous);
    assert_eq!((receiver.count("twice").accepted, receiver.count("twice").ambiguous), (2, 2));
    let totals = receiver.totals();
    assert_eq!((totals.accepted, totals.ambiguous, totals.faults, totals.requests), (3, 3, 1, 1));
}

#[tokio::test]
async fn an_http_client_is_told_of_a_reset() {
    let receiver = scripted([Fault::Reset { when: ResetWhen::Processed }]).await;
    let error = client().request(request(&receiver, ["x"])).await.unwrap_err();
    assert!(!error.is_connect(), "{error:?}");
    assert_eq!(send(&receiver, ["x"]).await, StatusCode::OK, "the next one is served");
    assert_eq!((receiver.count("x").accepted, receiver.count("x").ambiguous), (2, 1));
}

#[tokio::test]
async fn a_black_hole_reads_and_never_responds() {
    for processed in [true, false] {
        let receiver = scripted([Fault::BlackHole { processed }]).await;
        let http = client();
        let mut response = Box::pin(http.request(request(&receiver, ["a", "b"])));
        let swallowed = until(&receiver, |totals| totals.wire_bytes > 0 && totals.accepted == 2 * u64::from(processed));
        tokio::select! {
            _ = &mut response => panic!("a black hole responded"),
            _swallowed = swallowed => {}
        }
        assert_pending!(task::spawn(&mut response).poll());
        drop(response);
        receiver.shutdown().await;
        let (_, status, disposition, length) = only_request(&receiver);
        assert_eq!(status, None);
        assert!(length > 0);
        assert_eq!(disposition, if processed { Disposition::Ambiguous } else { Disposition::Unprocessed });
        assert_eq!(receiver.totals().ambiguous, 2 * u64::from(processed));
    }
}

#[tokio::test]
async fn a_deaf_receiver_does_not_read_the_body() {
    let receiver = scripted([Fault::Deaf]).await;
    let mut stream = raw(&receiver, &["unheard"]).await;
    until(&receiver, |totals| totals.requests == 1).await;
    // More than all buffers between the two hold: the client is stuck with it.
    let endless = vec![0; 64 << 20];
    assert_pending!(task::spawn(stream.write_all(&endless)).poll());
    receiver.shutdown().await;
    assert!(rest(&mut stream).await.0.is_empty());
    assert_eq!(only_request(&receiver), (Fault::Deaf, None, Disposition::Unprocessed, 0));
}

#[tokio::test]
async fn a_half_closed_connection_can_still_be_written_to() {
    for processed in [true, false] {
        let receiver = scripted([Fault::HalfClose { processed }]).await;
        let mut stream = raw(&receiver, &["half"]).await;
        let (response, end) = rest(&mut stream).await;
        assert_eq!((response.len(), end.is_ok()), (0, true), "a FIN, and no reset");
        for _ in 0..3 {
            stream.write_all(&[b'x'; 1000]).await.unwrap();
        }
        assert_eq!(receiver.count("half").ambiguous, u32::from(processed));
    }
}

#[tokio::test]
async fn garbage_is_no_http() {
    let receiver = scripted([Fault::Garbage { processed: true }, Fault::Garbage { processed: false }]).await;
    let (response, end) = rest(&mut raw(&receiver, &["x"]).await).await;
    assert!(end.is_ok());
    assert!(!response.is_empty() && !response.starts_with(b"HTTP/"));
    assert!(client().request(request(&receiver, ["x"])).await.is_err());
    assert_eq!((receiver.count("x").accepted, receiver.count("x").ambiguous), (1, 1));
}

#[tokio::test]
async fn a_truncated_response_promises_more_than_it_sends() {
    let reject = |body: &str| body == "poison";
    let receiver = Receiver::builder().script([Fault::Truncated]).reject_if(reject).start().await.unwrap();
    let (response, end) = rest(&mut raw(&receiver, &["good", "poison"]).await).await;
    assert!(end.is_ok(), "a FIN, and no reset");
    let head = head(&response);
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let promised = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let sent = response.len() - head.len() - 4;
    assert!(sent > 0, "the body is cut in the middle, not before it");
    assert_eq!(promised.parse::<usize>().unwrap(), sent + 64);
    assert_eq!(only_request(&receiver).2, Disposition::Ambiguous);
    assert_eq!(receiver.totals().ambiguous, 1);
}

#[tokio::test]
async fn a_trickled_response_is_sent_byte_by_byte() {
    let every = std::time::Duration::from_millis(1);
    let receiver = scripted([Fault::Trickle { every }]).await;
    let start = tokio::time::Instant::now();
    let (response, end) = rest(&mut raw(&receiver, &["slow"]).await).await;
    assert!(end.is_ok(), "the connection is closed after it");
    assert!(head(&response).contains("connection: close"));
    assert!(start.elapsed() >= every * u32::try_from(response.len() - 1).unwrap());
    receiver.shutdown().await;
    assert_eq!(only_request(&receiver).2, Disposition::Accepted, "the client has all of it");
}

#[tokio::test]
async fn who_hangs_up_on_a_trickle_cannot_know() {
    let receiver = scripted([Fault::Trickle { every: std::time::Duration::from_millis(1) }]).await;
    let mut stream = raw(&receiver, &["slow"]).await;
    stream.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!(receiver.count("slow").ambiguous, 0);
    drop(stream);
    until(&receiver, |totals| totals.ambiguous == 1).await;
}
