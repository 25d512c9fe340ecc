//! When a client can know, and when it cannot.

use crate::support::{call, client, http2_client, raw, request, rest, scripted, until};
use forebay_testkit::receiver::{Audit, Disposition, Fault, Receiver, ResetWhen};
use http::StatusCode;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::io::AsyncReadExt;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_client_that_gives_up_on_a_late_response_cannot_know() {
    for http in [client(), http2_client()] {
        let receiver = scripted([Fault::Slow { by: HOUR }]).await;
        let response = tokio::spawn(http.request(request(&receiver, ["late"])));
        until(&receiver, |totals| totals.accepted == 1).await;
        assert_eq!(receiver.totals().ambiguous, 0, "it still waits");
        response.abort();
        until(&receiver, |totals| totals.ambiguous == 1).await;
        assert_eq!(receiver.requests()[0].disposition, Disposition::Ambiguous);
        assert_eq!(receiver.requests()[0].status, None);
    }
}

#[tokio::test]
async fn a_response_that_was_not_read_is_not_known() {
    let receiver = scripted([]).await;
    let stream = raw(&receiver, &["unread"]).await;
    stream.readable().await.unwrap();
    // The response is in the client's buffer, and lost with it: the system sends a reset.
    drop(stream);
    until(&receiver, |totals| totals.ambiguous == 1).await;
}

#[tokio::test]
async fn a_response_to_a_client_that_has_left_is_not_known() {
    let receiver = scripted([]).await;
    // Nothing runs between the last byte of the request and the end of its connection: the response is too late.
    drop(raw(&receiver, &["left"]).await);
    until(&receiver, |totals| totals.ambiguous == 1).await;
}

#[tokio::test]
async fn a_response_that_was_read_is_known() {
    let receiver = scripted([]).await;
    let http = client();
    for _ in 0..3 {
        assert_eq!(call(&http, request(&receiver, ["a"])).await.unwrap().status(), StatusCode::OK);
    }
    let mut stream = raw(&receiver, &["a"]).await;
    stream.read_exact(&mut [0; 12]).await.unwrap();
    receiver.shutdown().await;
    let (response, _) = rest(&mut stream).await;
    assert!(!response.is_empty(), "a closing receiver takes no response back");
    assert_eq!((receiver.count("a").accepted, receiver.count("a").ambiguous), (4, 0));
}

#[tokio::test]
async fn a_cut_leaves_everything_in_flight_ambiguous() {
    for http in [client(), http2_client()] {
        let receiver = scripted([Fault::None, Fault::Slow { by: HOUR }, Fault::Slow { by: HOUR }]).await;
        call(&http, request(&receiver, ["before"])).await.unwrap();
        let waiting = [(); 2].map(|()| tokio::spawn(http.request(request(&receiver, ["in flight"]))));
        until(&receiver, |totals| totals.accepted == 3).await;
        receiver.pause().await.unwrap();
        // Not a moment later: the pause waits for the accounts.
        assert_eq!((receiver.count("in flight").accepted, receiver.count("in flight").ambiguous), (2, 2));
        assert_eq!(receiver.count("before").ambiguous, 0);
        for response in waiting {
            assert!(response.await.unwrap().is_err());
        }
    }
}

#[tokio::test]
async fn a_sender_that_repeats_is_judged_by_what_it_could_know() {
    let script = [
        Fault::Reset { when: ResetWhen::Processed },
        Fault::Reset { when: ResetWhen::Unprocessed },
        Fault::None,
        Fault::None,
        Fault::None,
    ];
    let receiver = scripted(script).await;
    let http = client();
    let mut lines = vec!["one", "two", "two"];
    while call_for(&http, &receiver, &lines).await.is_none() {}
    let audit = receiver.audit(&lines);
    assert!(audit.is_sound(), "{audit:?}");
    assert_eq!((audit.expected, audit.repeated, audit.ambiguous), (3, 3, 3));

    call_for(&http, &receiver, &["two"]).await.unwrap();
    assert_eq!(receiver.audit(&lines).duplicated, 1, "it had the response");
    call_for(&http, &receiver, &["stray"]).await.unwrap();
    lines.push("missing");
    let Audit { missing, foreign, .. } = receiver.audit(&lines);
    assert_eq!((missing, foreign), (1, 1));
}

async fn call_for(
    http: &crate::support::Http,
    receiver: &Receiver,
    lines: &[&str],
) -> Option<http::Response<bytes::Bytes>> {
    call(http, request(receiver, lines.iter().copied())).await.ok()
}

#[tokio::test]
async fn the_callback_sees_what_counts() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let receiver = Receiver::builder()
        .keep(forebay_testkit::receiver::Keep::Counts)
        .script([Fault::None, Fault::status(StatusCode::BAD_GATEWAY), Fault::Truncated])
        .reject_if(|body| body == "poison")
        .on_logs(move |request, disposition| {
            let records = request.resource_logs[0].scope_logs[0].log_records.len();
            log.lock().unwrap().push((records, disposition));
        })
        .start()
        .await
        .unwrap();
    let http = client();
    call(&http, request(&receiver, ["a", "poison", "b"])).await.unwrap();
    call(&http, request(&receiver, ["c"])).await.unwrap();
    rest(&mut raw(&receiver, &["d"]).await).await.1.unwrap();
    let expected = [(2, Disposition::Accepted), (1, Disposition::Accepted), (1, Disposition::Ambiguous)];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert!(receiver.requests().is_empty(), "nothing but counts is kept");
    assert_eq!((receiver.count("a").accepted, receiver.count("d").ambiguous), (1, 1));
}
