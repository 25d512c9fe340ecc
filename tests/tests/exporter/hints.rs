//! How long a server can keep an exporter from sending by what it asks for.

use crate::support::{balanced, call, over, record, requests, response, server};
use forebay::{
    core::BoxError,
    export::Exporter,
    otlp::{LogsEncoder, Protocol},
};
use http::Response;
use std::time::Duration;

const HOURS: Duration = Duration::from_secs(6 * 60 * 60);
const EVERY: Duration = Duration::from_secs(20);

/// A server that refuses once, and is well ever after: all that is said in six hours arrives, and it is found to be well after
/// the cap at the latest.
async fn is_found_again(protocol: Protocol, refusal: fn() -> Response<crate::support::Body>, within: Duration) {
    let (client, log) = server(move |number| -> Result<_, BoxError> {
        Ok(match (number, protocol) {
            (1, _) => refusal(),
            (_, Protocol::Grpc) => call(b"\0\0\0\0\0", &[("grpc-status", "0")]),
            _ => response(200, &[], b""),
        })
    });
    // Default settings.
    let exporter = Exporter::builder()
        .endpoint("http://far.example/")
        .encoder(LogsEncoder::builder().protocol(protocol).build().unwrap())
        .client(client)
        .build()
        .unwrap();
    let records = HOURS.as_secs() / EVERY.as_secs();
    for number in 0..records {
        exporter.emit(record(number.to_string()));
        tokio::time::sleep(EVERY).await;
    }
    exporter.flush().await;
    let totals = balanced(exporter.totals());
    assert_eq!((totals.offered, totals.delivered), (records, records), "{totals}");
    assert!(requests(&log) > 1000);
    let waited = {
        let log = log.lock().unwrap();
        log[1].0 - log[0].0
    };
    assert!(waited <= within, "{waited:?}");
}

const MINUTE: Duration = Duration::from_secs(61);

#[tokio::test(start_paused = true)]
async fn f01_a_server_that_asks_for_a_day_is_asked_again_after_a_minute() {
    let refusal = || response(503, &[("retry-after", "86400")], b"");
    is_found_again(Protocol::HttpProtobuf, refusal, MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn f01_so_is_one_that_asks_for_an_hour_or_for_ten_minutes() {
    let hour = || response(503, &[("retry-after", "3600")], b"");
    is_found_again(Protocol::HttpProtobuf, hour, MINUTE).await;
    let ten_minutes = || response(429, &[("retry-after", "600")], b"");
    is_found_again(Protocol::HttpJson, ten_minutes, MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn f01_f02_so_is_one_whose_number_or_date_no_clock_can_count() {
    let number = || response(503, &[("retry-after", "99999999999999999999999")], b"");
    is_found_again(Protocol::HttpProtobuf, number, MINUTE).await;
    let date = || response(503, &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")], b"");
    is_found_again(Protocol::HttpProtobuf, date, MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn f01_so_is_one_that_asks_by_retry_info() {
    // google.rpc.Status { code: 14, details: [RetryInfo { retry_delay: 86,400 s }] }
    const DAY: &str = "CA4aMgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIGCgQIgKMF";
    let refusal = || call(b"", &[("grpc-status", "14"), ("grpc-status-details-bin", DAY)]);
    is_found_again(Protocol::Grpc, refusal, MINUTE).await;
}

/// A hint below the cap is obeyed to the end.
#[tokio::test(start_paused = true)]
async fn f01_a_hint_below_the_cap_is_not_undercut() {
    let (client, log) = server(|number| -> Result<_, BoxError> {
        Ok(if number == 1 { response(503, &[("retry-after", "45")], b"") } else { response(200, &[], b"") })
    });
    let exporter = Exporter::builder()
        .endpoint("http://far.example/")
        .encoder(LogsEncoder::builder().build().unwrap())
        .client(client)
        .build()
        .unwrap();
    exporter.emit(record("one"));
    exporter.flush().await;
    let log = log.lock().unwrap();
    assert!(log[1].0 - log[0].0 >= Duration::from_secs(45));
}

/// However high the cap, nothing is held beyond the end of the batch that was refused.
#[tokio::test(start_paused = true)]
async fn f01_the_hold_ends_with_the_batch_that_caused_it() {
    let (client, log) = server(|number| -> Result<_, BoxError> {
        Ok(if number == 1 { response(503, &[("retry-after", "86400")], b"") } else { response(200, &[], b"") })
    });
    let exporter = Exporter::builder()
        .endpoint("http://far.example/")
        .encoder(LogsEncoder::builder().build().unwrap())
        .client(client)
        .max_hint(Duration::MAX)
        .max_age(Duration::from_secs(100))
        .build()
        .unwrap();
    for number in 0..30 {
        exporter.emit(record(number.to_string()));
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    exporter.flush().await;
    let totals = balanced(exporter.totals());
    assert!(totals.delivered >= 29, "{totals}");
    let waited = {
        let log = log.lock().unwrap();
        log[1].0 - log[0].0
    };
    assert!(waited <= Duration::from_secs(101), "{waited:?}");
}

/// A server that asks for a day, `refusals` times, and then takes what comes.
fn asks_for_a_day(
    refusals: usize,
) -> impl Fn(usize) -> Result<Response<crate::support::Body>, BoxError> + Send + Sync + 'static {
    move |number| {
        Ok(if number <= refusals { response(503, &[("retry-after", "86400")], b"") } else { response(200, &[], b"") })
    }
}

/// One knob bounds what a hint does, wherever it is obeyed: in the retry, in the throttle, in the breaker, and beside the queue.
#[tokio::test(start_paused = true)]
async fn f01_one_knob_bounds_the_throttle_and_the_breaker_too() {
    let batching = forebay::batch::Batching::new().max_items(1).max_in_flight(8);
    let (client, log) = server(asks_for_a_day(1));
    let builder = over("http://far.example/", Protocol::HttpProtobuf, client);
    let exporter = builder.batching(batching).max_hint(Duration::from_secs(5)).build().unwrap();
    exporter.emit(record("first"));
    while requests(&log) == 0 {
        tokio::task::yield_now().await;
    }
    (0..5).for_each(|_| exporter.emit(record("another")));
    tokio::time::timeout(Duration::from_secs(8), exporter.flush()).await.unwrap();
    assert_eq!(exporter.totals().delivered, 6, "what the throttle held is let go within one and a half of the hint");
    {
        let log = log.lock().unwrap();
        assert!(log[1..].iter().all(|(at, _)| *at - log[0].0 >= Duration::from_secs(5)), "and not before");
    }

    // Five failures in a row open the circuit where one batch is in flight, and it follows the hint of the last.
    let (client, log) = server(asks_for_a_day(5));
    let builder = over("http://far.example/", Protocol::HttpProtobuf, client);
    let exporter = builder
        .batching(batching.max_in_flight(1))
        .max_hint(Duration::from_secs(5))
        .retry(|retry| retry.max_retries(0))
        .breaker(|breaker| breaker.open_for(Duration::from_secs(1)))
        .build()
        .unwrap();
    exporter.emit(record("one"));
    tokio::time::timeout(Duration::from_secs(60), exporter.flush()).await.unwrap();
    assert_eq!((exporter.totals().delivered, exporter.counters().breaker_opens), (1, 1));
    let log = log.lock().unwrap();
    let gaps: Vec<_> = log.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| (5..=6).contains(&gap.as_secs())), "{gaps:?}");
}

/// No hint holds anything beyond the age at which the exporter gives up, the breaker included.
#[tokio::test(start_paused = true)]
async fn f01_no_hint_counts_for_longer_than_the_age_at_which_it_gives_up() {
    let (client, log) = server(asks_for_a_day(5));
    let builder = over("http://far.example/", Protocol::HttpProtobuf, client);
    let exporter = builder
        .batching(forebay::batch::Batching::new().max_items(1).max_in_flight(1))
        .max_hint(Duration::MAX)
        .max_age(Duration::from_secs(20))
        .retry(|retry| retry.max_retries(0))
        .breaker(|breaker| breaker.open_for(Duration::from_secs(1)))
        .build()
        .unwrap();
    for number in 0..60 {
        exporter.emit(record(number.to_string()));
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    exporter.flush().await;
    let log = log.lock().unwrap();
    let gaps: Vec<_> = log.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| gap.as_secs() <= 35), "{gaps:?}");
}

/// Zero ignores hints: the exporter's own backoff alone says when to come again.
#[tokio::test(start_paused = true)]
async fn f01_without_hints_the_backoff_alone_counts() {
    let (client, log) = server(asks_for_a_day(3));
    let builder = over("http://far.example/", Protocol::HttpProtobuf, client);
    let exporter = builder.max_hint(Duration::ZERO).build().unwrap();
    exporter.emit(record("one"));
    tokio::time::timeout(Duration::from_secs(2), exporter.flush()).await.unwrap();
    assert_eq!((exporter.totals().delivered, requests(&log)), (1, 4));
}
