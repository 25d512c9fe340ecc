//! The client over a transport that is a script, in virtual time: what the family's layers do around it.
#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use forebay_kip714::{
    ClientBuilder, ClientLabels, ErrorCode, GetTelemetrySubscriptionsResponse, InstanceId, Kip714Client,
    PushTelemetryRequest, PushTelemetryResponse, State, TelemetryRequest, TelemetryResponse,
};
use forebay_otlp::{Metric, MetricData, NumberPoint};
use opentelemetry_proto::tonic::metrics::v1::MetricsData;
use prost::Message;
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tower::Service;

const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(10);

/// What becomes of a request.
#[derive(Clone, Copy)]
enum Act {
    Respond,
    /// An error of a request that was not sent, or may have been.
    Fail(Seen),
    /// No response, ever.
    Hang,
    NeverReady,
}

#[derive(Clone, Default)]
struct Script(Arc<Mutex<Played>>);

#[derive(Default)]
struct Played {
    acts: VecDeque<Act>,
    then: Option<Act>,
    calls: Vec<(Instant, TelemetryRequest)>,
    in_flight: usize,
    most_in_flight: usize,
}

impl Script {
    fn then(self, act: Act) -> Self {
        self.0.lock().unwrap().then = Some(act);
        self
    }

    fn acts(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.0.lock().unwrap().acts.extend(acts);
        self
    }

    fn calls(&self) -> Vec<(Instant, TelemetryRequest)> {
        self.0.lock().unwrap().calls.clone()
    }

    fn pushes(&self) -> Vec<(Instant, PushTelemetryRequest)> {
        let pushes = self.calls().into_iter().filter_map(|(at, request)| match request {
            TelemetryRequest::Push(push) => Some((at, push)),
            _ => None,
        });
        pushes.collect()
    }
}

impl Service<TelemetryRequest> for Script {
    type Response = TelemetryResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TelemetryResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.0.lock().unwrap().then {
            Some(Act::NeverReady) => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: TelemetryRequest) -> Self::Future {
        let mut played = self.0.lock().unwrap();
        played.calls.push((Instant::now(), request.clone()));
        played.in_flight += 1;
        played.most_in_flight = played.most_in_flight.max(played.in_flight);
        let act = played.acts.pop_front().or(played.then).unwrap_or(Act::Respond);
        drop(played);
        struct Leave(Script);
        impl Drop for Leave {
            fn drop(&mut self) {
                self.0.0.lock().unwrap().in_flight -= 1;
            }
        }
        let leave = Leave(self.clone());
        Box::pin(async move {
            let _leave = leave;
            match act {
                Act::Respond => Ok(respond(&request)),
                Act::Fail(seen) => Err(Verdict::new(DropReason::Failed, seen, Advice::Retry).into()),
                Act::Hang | Act::NeverReady => std::future::pending().await,
            }
        })
    }
}

fn respond(request: &TelemetryRequest) -> TelemetryResponse {
    match request {
        TelemetryRequest::Push(_) => TelemetryResponse::Push(PushTelemetryResponse::default()),
        _ => TelemetryResponse::GetSubscriptions(GetTelemetrySubscriptionsResponse {
            client_instance_id: InstanceId::from_bytes([7; 16]),
            subscription_id: 1,
            push_interval_ms: 10_000,
            telemetry_max_bytes: 100_000,
            requested_metrics: vec!["*".to_owned()],
            ..Default::default()
        }),
    }
}

fn builder() -> ClientBuilder {
    Kip714Client::builder().seed(1).metrics(|out| {
        out.push(Metric::new("a", MetricData::Gauge(vec![NumberPoint::new(0, 1.0)])));
    })
}

#[tokio::test(start_paused = true)]
async fn the_first_push_is_jittered_and_the_others_come_at_the_interval() {
    let script = Script::default();
    let client = builder().build(script.clone()).unwrap();
    sleep(INTERVAL * 5).await;
    let pushes = script.pushes();
    let asked = script.calls()[0].0;
    let first = pushes[0].0 - asked;
    assert!(first >= INTERVAL / 2 && first < INTERVAL * 3 / 2, "{first:?}");
    for pair in pushes.windows(2) {
        let apart = pair[1].0 - pair[0].0;
        assert!(apart >= INTERVAL && apart < INTERVAL + SECOND / 50, "{apart:?}");
    }
    assert_eq!(client.totals().delivered, pushes.len() as u64);
    assert_eq!(script.0.lock().unwrap().most_in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_tried_again_within_seconds_and_what_may_have_been_is_not() {
    let not_sent = Script::default().acts([Act::Fail(Seen::No), Act::Fail(Seen::No)]);
    let client = builder().build(not_sent.clone()).unwrap();
    assert!(client.instance_id(SECOND * 5).await.is_some());
    assert_eq!(not_sent.calls().len(), 3);

    let script = Script::default().acts([Act::Respond, Act::Fail(Seen::Maybe)]);
    let client = builder().build(script.clone()).unwrap();
    sleep(INTERVAL * 2).await;
    assert_eq!(script.pushes().len(), 1, "not sent twice");
    let totals = client.totals();
    assert_eq!((totals.dropped.get(DropReason::Failed), totals.balance()), (1, true));
    // The interval is kept, then the broker is asked again.
    sleep(INTERVAL * 3).await;
    assert!(script.pushes().len() >= 2 && client.status().stopped.is_none());
}

#[tokio::test(start_paused = true)]
async fn k14_a_broker_that_is_away_for_hours_is_left_in_peace_and_found_again() {
    let script = Script::default().then(Act::Fail(Seen::No));
    let client = builder().build(script.clone()).unwrap();
    sleep(Duration::from_secs(3_600)).await;
    let hour = script.calls().len();
    sleep(Duration::from_secs(3_600)).await;
    let second = script.calls().len() - hour;
    // At most two retries each, and a question every five minutes at most on average half of that.
    assert!((10..=120).contains(&second), "{second} requests in an hour");
    script.0.lock().unwrap().then = None;
    assert!(client.instance_id(Duration::from_secs(600)).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_breaker_keeps_requests_from_a_broker_that_hangs() {
    let script = Script::default().then(Act::Hang);
    let client = builder().request_timeout(SECOND).breaker_open_for(SECOND * 600).build(script.clone()).unwrap();
    sleep(Duration::from_secs(500)).await;
    assert_eq!(script.calls().len(), 5, "five timeouts, then none");
    assert!(client.status().counters.failures >= 5);
}

#[tokio::test(start_paused = true)]
async fn x02_shutdown_ends_in_time_whatever_the_transport_does() {
    for act in [Act::Hang, Act::NeverReady, Act::Fail(Seen::No), Act::Fail(Seen::Maybe), Act::Respond] {
        for subscribed_first in [false, true] {
            let script = Script::default();
            let client = builder().build(script.clone()).unwrap();
            if subscribed_first {
                client.instance_id(SECOND).await.unwrap();
            }
            script.0.lock().unwrap().then = Some(act);
            sleep(SECOND * 12).await;
            let begun = Instant::now();
            let report = client.shutdown(SECOND * 2).await;
            assert!(begun.elapsed() <= SECOND * 2 + SECOND / 20, "{:?}", begun.elapsed());
            assert!(report.status.ended && report.totals.balance() && report.totals.pending == 0, "{}", report.totals);
            // A second one finds it done.
            let begun = Instant::now();
            client.shutdown(SECOND * 2).await;
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn k13_one_terminating_push_and_the_earliest_deadline_counts() {
    let script = Script::default();
    let client = builder().build(script.clone()).unwrap();
    client.instance_id(SECOND).await.unwrap();
    script.0.lock().unwrap().then = Some(Act::Hang);
    let begun = Instant::now();
    let (long, short) = (client.shutdown(SECOND * 60), client.shutdown(SECOND));
    tokio::join!(long, short);
    assert!(begun.elapsed() < SECOND * 2);
    let last: Vec<_> = script.pushes().into_iter().filter(|(_, push)| push.terminating).collect();
    assert_eq!(last.len(), 1);
    assert_eq!(client.status().state, State::Terminated);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_switched_off_asks_nothing() {
    let script = Script::default();
    let client = builder().enabled(false).build(script.clone()).unwrap();
    assert_eq!(client.instance_id(Duration::from_secs(3_600)).await, None);
    assert!(client.shutdown(SECOND).await.status.ended && script.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_id_is_waited_for_and_not_longer_than_asked() {
    let script = Script::default().then(Act::Hang);
    let client = builder().request_timeout(SECOND * 10).build(script.clone()).unwrap();
    let begun = Instant::now();
    assert_eq!(client.instance_id(SECOND * 3).await, None);
    assert!(begun.elapsed() >= SECOND * 3 && begun.elapsed() < SECOND * 3 + SECOND / 20, "{:?}", begun.elapsed());
    // A caller that waits longer has it as soon as it is known.
    script.0.lock().unwrap().then = None;
    assert_eq!(client.instance_id(SECOND * 3_600).await, Some(InstanceId::from_bytes([7; 16])));
    assert!(begun.elapsed() < SECOND * 3_600);
}

#[tokio::test(start_paused = true)]
async fn labels_can_change_and_a_ranking_that_panics_costs_one_payload() {
    let script = Script::default();
    let client = builder().importance(|_| unreachable!("planted")).build(script.clone()).unwrap();
    sleep(INTERVAL * 2).await;
    assert!(script.pushes()[0].1.metrics.is_empty());
    assert!(client.status().counters.panicked_sources >= 1 && !client.status().ended);

    let script = Script::default();
    let client = builder().build(script.clone()).unwrap();
    sleep(INTERVAL * 2).await;
    client.set_labels(ClientLabels::new().group_member_id("consumer-1"));
    sleep(INTERVAL * 2).await;
    let pushes = script.pushes();
    let labels = |body: &Bytes| {
        let data = MetricsData::decode(body.clone()).unwrap();
        data.resource_metrics[0].resource.clone().unwrap_or_default().attributes.len()
    };
    assert_eq!((labels(&pushes[0].1.metrics), labels(&pushes.last().unwrap().1.metrics)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_response_to_another_request_is_no_response() {
    #[derive(Clone)]
    struct Confused;
    impl Service<TelemetryRequest> for Confused {
        type Response = TelemetryResponse;
        type Error = BoxError;
        type Future = std::future::Ready<Result<TelemetryResponse, BoxError>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: TelemetryRequest) -> Self::Future {
            let error_code = ErrorCode::NONE;
            std::future::ready(Ok(TelemetryResponse::Push(PushTelemetryResponse { error_code, throttle_time_ms: 0 })))
        }
    }
    let client = builder().build(Confused).unwrap();
    assert!(timeout(SECOND * 60, client.instance_id(SECOND * 30)).await.unwrap().is_none());
    assert!(client.status().counters.failures > 0 && client.status().stopped.is_none());
}

#[tokio::test(start_paused = true)]
#[cfg(feature = "collect")]
async fn sources_of_forebay_collect_are_sources() {
    let script = Script::default();
    let mut calls = 0_u64;
    let client = Kip714Client::builder()
        .gather(move |into: &mut forebay_collect::Gathering<'_>| {
            calls += 1;
            into.counter("calls", calls);
            into.gauge("depth", 2.5);
        })
        .build(script.clone())
        .unwrap();
    sleep(INTERVAL * 3).await;
    let (_, push) = script.pushes().remove(0);
    let data = MetricsData::decode(push.metrics).unwrap();
    let names: Vec<_> =
        data.resource_metrics[0].scope_metrics[0].metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["calls", "depth"]);
    assert!(client.totals().delivered >= 4);
}
