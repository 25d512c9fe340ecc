//! Faults that are HTTP responses.

use crate::support::{call, client, head, http2_client, logs, raw, request, rest, scripted, send, to};
use flate2::read::GzDecoder;
use forebay_testkit::receiver::{
    Disposition, Fault, Faults, Receiver, RetryAfter, Signal, proto::collector::logs::v1::ExportLogsServiceResponse,
};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use prost::Message;
use std::{
    io::Read,
    time::{Duration, SystemTime},
};

#[tokio::test]
async fn any_status_with_any_retry_after() {
    let retry_after = vec![
        RetryAfter::Seconds(7),
        RetryAfter::Raw(HeaderValue::from_bytes("in a \u{fc}bel while".as_bytes()).unwrap()),
    ];
    let receiver = scripted([
        Fault::status(StatusCode::SERVICE_UNAVAILABLE),
        Fault::Status { status: StatusCode::TOO_MANY_REQUESTS, retry_after },
        Fault::status(StatusCode::from_u16(599).unwrap()),
        Fault::status(StatusCode::ACCEPTED),
    ])
    .await;
    let http = client();
    let mut responses = Vec::new();
    for _ in 0..4 {
        responses.push(call(&http, request(&receiver, ["x"])).await.unwrap());
    }
    let statuses: Vec<_> = responses.iter().map(|response| response.status().as_u16()).collect();
    assert_eq!(statuses, [503, 429, 599, 202]);
    let headers: Vec<_> = responses[1].headers().get_all("retry-after").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(headers, [&b"7"[..], "in a \u{fc}bel while".as_bytes()]);
    assert!(responses[0].headers().get("retry-after").is_none());
    assert_eq!(receiver.count("x").accepted, 1, "a 2xx is processed, and nothing else");
    let recorded: Vec<_> = receiver.requests().iter().map(|request| request.status.unwrap().as_u16()).collect();
    assert_eq!(recorded, statuses);
}

#[tokio::test]
async fn a_retry_after_date_lies_ahead_or_behind_or_at_the_ends_of_time() {
    let dates = [3600, -3600, i64::MAX, i64::MIN];
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let script = dates.map(|offset| Fault::Status { status, retry_after: vec![RetryAfter::Date(offset)] });
    let receiver = scripted(script).await;
    let http = client();
    let mut ahead = Vec::new();
    for _ in dates {
        let response = call(&http, request(&receiver, ["x"])).await.unwrap();
        let date = |name| httpdate::parse_http_date(response.headers()[name].to_str().unwrap()).unwrap();
        ahead.push(date("retry-after").duration_since(date("date")).map_err(|behind| behind.duration()));
    }
    let hour = Duration::from_secs(3600);
    let near = |time: Duration| time.abs_diff(hour) <= Duration::from_secs(10);
    assert!(ahead[0].is_ok_and(near) && ahead[1].is_err_and(near), "{ahead:?}");
    assert!(ahead[2].is_ok_and(|time| SystemTime::UNIX_EPOCH + time > SystemTime::UNIX_EPOCH + hour));
    assert!(ahead[3].is_err_and(|time| time > 24 * hour));
}

#[tokio::test]
async fn a_slow_response_is_late_and_known() {
    let by = Duration::from_millis(20);
    let receiver = scripted([Fault::Slow { by }]).await;
    let start = tokio::time::Instant::now();
    assert_eq!(send(&receiver, ["late"]).await, StatusCode::OK);
    assert!(start.elapsed() >= by);
    receiver.shutdown().await;
    assert_eq!(receiver.requests()[0].disposition, Disposition::Accepted);
}

#[tokio::test]
async fn an_oversized_response_is_as_long_as_it_says() {
    let receiver = scripted([Fault::Oversized { bytes: 300_001 }, Fault::Oversized { bytes: 300_001 }]).await;
    let response = call(&client(), request(&receiver, ["x"])).await.unwrap();
    assert_eq!(response.headers()["content-length"], "300001");
    assert_eq!(response.body().len(), 300_001);

    let response = client().request(request(&receiver, ["x"])).await.unwrap();
    assert!(Limited::new(response.into_body(), 65_536).collect().await.is_err());
}

#[tokio::test]
async fn a_gzip_bomb_decodes_to_zeros() {
    // Whole blocks, a rest, both, and nothing.
    for bytes in [0, 1000, 3 << 20, (2 << 20) + 12_345] {
        let receiver = scripted([Fault::GzipBomb { bytes }]).await;
        let response = call(&client(), request(&receiver, ["x"])).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let mut zeros = Vec::new();
        GzDecoder::new(&**response.body()).read_to_end(&mut zeros).unwrap();
        assert_eq!(zeros.len() as u64, bytes);
        assert!(zeros.iter().all(|byte| *byte == 0));
        assert!(bytes < 1 << 20 || response.body().len() * 500 < zeros.len(), "{}", response.body().len());
    }
}

#[tokio::test]
async fn many_headers_are_sent() {
    let receiver =
        scripted([Fault::ManyHeaders { count: Fault::MOST_HEADERS }, Fault::ManyHeaders { count: usize::MAX }]).await;
    let mut stream = raw(&receiver, &["x"]).await;
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    let (response, _) = rest(&mut stream).await;
    assert_eq!(head(&response).lines().filter(|line| line.starts_with("x-forebay-")).count(), Fault::MOST_HEADERS);
    assert!(client().request(request(&receiver, ["x"])).await.is_err(), "more than a client takes");
}

#[tokio::test]
async fn a_redirect_says_where_to() {
    let location = HeaderValue::from_static("http://elsewhere.example/v1/logs");
    let receiver =
        scripted([Fault::Redirect { status: StatusCode::PERMANENT_REDIRECT, location: location.clone() }]).await;
    let response = call(&client(), request(&receiver, ["x"])).await.unwrap();
    assert_eq!((response.status(), &response.headers()["location"]), (StatusCode::PERMANENT_REDIRECT, &location));
    assert_eq!(receiver.totals().accepted, 0);
}

#[tokio::test]
async fn a_partial_success_leaves_the_last_records_out() {
    let partial = |rejected| Fault::Partial { rejected, message: "too many".to_owned() };
    let receiver = scripted([partial(2), partial(9), partial(-1)]).await;
    let http = client();
    let mut said = Vec::new();
    for bodies in [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]] {
        let response = call(&http, request(&receiver, bodies)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let success = ExportLogsServiceResponse::decode(response.into_body()).unwrap().partial_success.unwrap();
        assert_eq!(success.error_message, "too many");
        said.push(success.rejected_log_records);
    }
    assert_eq!(said, [2, 9, -1], "it may lie");
    let taken: Vec<_> = receiver.logs().into_iter().map(|log| log.body).collect();
    assert_eq!(taken, ["a", "g", "h", "i"]);
    assert_eq!(receiver.totals().rejected, 5);
    assert_eq!(receiver.requests()[0].decoded.as_ref().unwrap().len(), 3, "what arrived is kept too");
}

#[tokio::test]
async fn a_mislabelled_response_is_otherwise_right() {
    let content_type = HeaderValue::from_static("text/html");
    let receiver = scripted([Fault::WrongContentType { content_type }, Fault::None]).await;
    let http = client();
    assert_eq!(call(&http, request(&receiver, ["x"])).await.unwrap().headers()[CONTENT_TYPE], "text/html");
    assert_eq!(call(&http, request(&receiver, ["x"])).await.unwrap().headers()[CONTENT_TYPE], "application/x-protobuf");
    assert_eq!(receiver.count("x").accepted, 2);
}

#[tokio::test]
async fn http2_is_served_and_broken_too() {
    let receiver = scripted([
        Fault::None,
        Fault::status(StatusCode::BAD_GATEWAY),
        Fault::Truncated,
        Fault::Garbage { processed: true },
        Fault::Reset { when: forebay_testkit::receiver::ResetWhen::Processed },
        Fault::Trickle { every: Duration::from_millis(1) },
    ])
    .await;
    let http = http2_client();
    assert_eq!(call(&http, request(&receiver, ["a"])).await.unwrap().status(), StatusCode::OK);
    assert_eq!(call(&http, request(&receiver, ["b"])).await.unwrap().status(), StatusCode::BAD_GATEWAY);
    let cut = http.request(request(&receiver, ["c"])).await.unwrap();
    assert!(cut.into_body().collect().await.is_err());
    assert!(http.request(request(&receiver, ["d"])).await.is_err());
    assert!(http.request(request(&receiver, ["e"])).await.is_err());
    assert_eq!(call(&http, request(&receiver, ["f"])).await.unwrap().status(), StatusCode::OK);
    assert!(receiver.requests().iter().all(|request| request.version == http::Version::HTTP_2));
    let ambiguous = ["a", "b", "c", "d", "e", "f"].map(|body| receiver.count(body).ambiguous);
    assert_eq!(ambiguous, [0, 0, 1, 1, 1, 0]);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults_again() {
    async fn run(seed: u64) -> Vec<u16> {
        let faults = Faults::parse("503:20,429:10,504:5").unwrap();
        let receiver = Receiver::builder().faults(faults).seed(seed).start().await.unwrap();
        let http = client();
        let mut statuses = Vec::new();
        for _ in 0..60 {
            statuses.push(call(&http, request(&receiver, ["x"])).await.unwrap().status().as_u16());
        }
        statuses
    }
    let first = run(42).await;
    assert!(first.contains(&503) && first.contains(&200), "{first:?}");
    assert_eq!(run(42).await, first);
    assert_ne!(run(43).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nth_request_to_arrive_gets_the_nth_draw() {
    let faults = Faults::parse("503:20,slow=1ms:20,reset:10").unwrap();
    let receiver = Receiver::builder().faults(faults.clone()).seed(7).start().await.unwrap();
    let http = client();
    let calls = (0..100).map(|_| {
        let (http, request) = (http.clone(), to(&receiver, Signal::Logs).body(logs(["x"]).encode_to_vec().into()));
        tokio::spawn(async move { _ = http.request(request.unwrap()).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    let requests = receiver.requests();
    assert!(requests.len() >= 100);
    for (place, request) in requests.iter().enumerate() {
        assert_eq!((request.number, &request.fault), (place, faults.draw(7, place as u64)));
    }
}

#[tokio::test]
async fn faults_can_change_in_the_middle() {
    let receiver = scripted([]).await;
    let http = client();
    let status = async || call(&http, request(&receiver, ["x"])).await.unwrap().status().as_u16();
    assert_eq!(status().await, 200);
    receiver.set_faults("503:100".parse().unwrap());
    assert_eq!(status().await, 503);
    receiver.script([Fault::None, Fault::status(StatusCode::BAD_GATEWAY)]);
    assert_eq!([status().await, status().await, status().await], [200, 502, 503]);
    receiver.set_faults(Faults::none());
    assert_eq!(status().await, 200);
}
