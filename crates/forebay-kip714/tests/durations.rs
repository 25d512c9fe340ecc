//! Every duration that a user, a broker or a transport can say, at the ends of its range: refused by name, or borne.
#![expect(clippy::panic, reason = "test code")]

use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict};
use forebay_kip714::{
    ClientBuilder, ErrorCode, Failure, GetTelemetrySubscriptionsResponse, InstanceId, Kip714Client, Next,
    PushTelemetryResponse, Session, TelemetryRequest, TelemetryResponse,
};
use forebay_otlp::{Metric, MetricData, NumberPoint};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Once,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tower::Service;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A task keeps its panic to itself; here each is counted.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // An assertion of another test is not a panic of the crate.
            if panic.location().is_none_or(|at| !at.file().contains("tests/")) {
                PANICS.fetch_add(1, Relaxed);
            }
            report(panic);
        }));
    });
}

const HOUR: Duration = Duration::from_secs(3_600);
const ENDS: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX];
/// What a field of a response can hold: below the shortest time, around it, and above the longest.
const MILLIS: [i32; 8] = [i32::MIN, -1, 0, 1, 100, 3_600_000, 3_600_001, i32::MAX];

fn offer(push_interval_ms: i32, throttle_time_ms: i32) -> GetTelemetrySubscriptionsResponse {
    GetTelemetrySubscriptionsResponse {
        client_instance_id: InstanceId::from_bytes([7; 16]),
        subscription_id: 1,
        push_interval_ms,
        throttle_time_ms,
        telemetry_max_bytes: 100_000,
        requested_metrics: vec!["*".to_owned()],
        ..Default::default()
    }
}

/// What the session does next, and when: at `now`, or after the wait that it asks for.
fn act(session: &mut Session, now: Duration) -> (Next, Duration) {
    match session.next(now) {
        Next::Wait(until) => (session.next(until), until),
        next => (next, now),
    }
}

#[test]
fn f01_f02_no_broker_keeps_a_session_away_for_longer_than_its_longest_interval() {
    let codes = [
        ErrorCode::NONE,
        ErrorCode::THROTTLING_QUOTA_EXCEEDED,
        ErrorCode::TELEMETRY_TOO_LARGE,
        ErrorCode::UNKNOWN_SUBSCRIPTION_ID,
    ];
    for start in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        for (interval, throttle) in MILLIS.iter().flat_map(|one| MILLIS.map(|other| (*one, other))) {
            for code in codes {
                let what = format!("interval {interval}, throttle {throttle}, {code}, from {start:?}");
                let mut session = Session::new(1);
                assert!(matches!(session.next(start), Next::Ask(_)), "{what}");
                session.subscriptions(start, &offer(interval, throttle));
                let (next, pushed) = act(&mut session, start);
                assert!(matches!(next, Next::Push(_)), "{what}: {next:?}");
                assert!(pushed.saturating_sub(start) < HOUR * 3 / 2, "{what}: {:?}", pushed.saturating_sub(start));
                let throttled = Duration::from_millis(u64::try_from(throttle).unwrap_or_default()).min(HOUR);
                assert!(start == Duration::MAX || pushed.saturating_sub(start) >= throttled, "{what}: it is obeyed");

                session.pushed(pushed, &PushTelemetryResponse { error_code: code, throttle_time_ms: throttle });
                let (next, then) = act(&mut session, pushed);
                assert!(matches!(next, Next::Push(_) | Next::Ask(_)), "{what}: {next:?}");
                assert!(then.saturating_sub(pushed) <= HOUR, "{what}: {:?}", then.saturating_sub(pushed));
                assert!(start == Duration::MAX || then.saturating_sub(pushed) >= throttled, "{what}: it is obeyed");
            }
        }
    }
}

#[test]
fn f01_f02_no_transport_keeps_a_session_away_for_longer_than_that() {
    for retry_in in ENDS {
        for subscribed in [false, true] {
            let mut session = Session::new(1);
            assert!(matches!(session.next(Duration::ZERO), Next::Ask(_)));
            let mut now = Duration::ZERO;
            if subscribed {
                session.subscriptions(now, &offer(10_000, 0));
                (_, now) = act(&mut session, now);
            }
            session.failed(now, Failure::Lost { retry_in: Some(retry_in) });
            let (next, then) = act(&mut session, now);
            assert!(matches!(next, Next::Ask(_)), "{retry_in:?}: {next:?}");
            assert!(
                then.saturating_sub(now) <= HOUR && then.saturating_sub(now) >= retry_in.min(HOUR),
                "{retry_in:?}: {:?}",
                then.saturating_sub(now)
            );
        }
    }
}

/// How a transport fails its first requests.
#[derive(Clone, Copy, Debug)]
enum Fault {
    RetryAfter(Duration, Seen),
    Hang,
}

/// Fails the first six requests, and then responds as `offer` says.
#[derive(Clone)]
struct Transport {
    fault: Fault,
    offer: GetTelemetrySubscriptionsResponse,
    calls: Arc<AtomicUsize>,
}

impl Service<TelemetryRequest> for Transport {
    type Response = TelemetryResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TelemetryResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: TelemetryRequest) -> Self::Future {
        let (fault, offer) = (self.fault, self.offer.clone());
        let fails = self.calls.fetch_add(1, Relaxed) < 6;
        Box::pin(async move {
            match (fails, fault, request) {
                (true, Fault::RetryAfter(wait, seen), _) => {
                    Err(Verdict::new(DropReason::Failed, seen, Advice::RetryAfter(wait)).into())
                }
                (true, Fault::Hang, _) => std::future::pending().await,
                (false, _, TelemetryRequest::Push(_)) => {
                    let throttle_time_ms = offer.throttle_time_ms;
                    Ok(TelemetryResponse::Push(PushTelemetryResponse { throttle_time_ms, ..Default::default() }))
                }
                (false, ..) => Ok(TelemetryResponse::GetSubscriptions(offer)),
            }
        })
    }
}

/// Lets a client meet its failures and what comes after them: it ends in time, without a panic, and its ledger balances.
async fn drive(what: &str, builder: ClientBuilder, fault: Fault, millis: i32) {
    count_panics();
    let before = PANICS.load(Relaxed);
    let transport = Transport { fault, offer: offer(millis, millis), calls: Arc::default() };
    let client = builder.seed(1).metrics(|out| {
        out.push(Metric::new("a", MetricData::Gauge(vec![NumberPoint::new(0, 1.0)])));
    });
    let client = match client.build(transport) {
        Ok(client) => client,
        Err(refused) => {
            assert!(!refused.knob().is_empty() && !refused.allowed().is_empty(), "{what}: {refused}");
            return;
        }
    };
    sleep(Duration::from_secs(600)).await;
    let ended = timeout(Duration::from_secs(20), client.shutdown(Duration::from_secs(10))).await;
    let report = ended.unwrap_or_else(|_| panic!("{what}: it did not end"));
    assert!(report.status.ended && report.totals.balance() && report.totals.pending == 0, "{what}: {}", report.totals);
    assert_eq!(PANICS.load(Relaxed), before, "{what}: something panicked");
}

#[tokio::test(start_paused = true)]
async fn f02_every_duration_knob_of_a_client_is_refused_or_borne_at_the_ends_of_its_range() {
    type Knob = (&'static str, fn(ClientBuilder, Duration) -> ClientBuilder);
    let knobs: [Knob; 3] = [
        ("request_timeout", |builder, time| builder.request_timeout(time)),
        ("breaker_open_for", |builder, time| builder.breaker_open_for(time)),
        ("both", |builder, time| builder.request_timeout(time).breaker_open_for(time)),
    ];
    let faults = [Fault::Hang, Fault::RetryAfter(Duration::from_secs(7), Seen::No)];
    for (name, set) in knobs {
        for time in ENDS {
            for fault in faults {
                drive(&format!("{name} = {time:?}, {fault:?}"), set(Kip714Client::builder(), time), fault, 10_000)
                    .await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f02_every_duration_of_a_broker_and_of_a_transport_is_borne_by_a_client() {
    for wait in ENDS {
        for seen in [Seen::No, Seen::Maybe] {
            for millis in MILLIS {
                let fault = Fault::RetryAfter(wait, seen);
                drive(&format!("{fault:?}, {millis} ms"), Kip714Client::builder(), fault, millis).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f02_every_wait_for_a_client_is_borne_at_the_ends_of_its_range() {
    for time in ENDS {
        for fault in [Fault::RetryAfter(Duration::ZERO, Seen::No), Fault::Hang] {
            let transport = Transport { fault, offer: offer(1_000, 0), calls: Arc::default() };
            let client = Kip714Client::builder().build(transport).unwrap();
            let waited = timeout(Duration::from_secs(900), client.instance_id(time)).await;
            assert_eq!(waited.unwrap().is_some(), time > Duration::from_secs(1), "{time:?}");
            let ended = timeout(Duration::from_secs(100), client.shutdown(time)).await;
            assert!(ended.unwrap().totals.balance(), "{time:?}");
        }
    }
}

#[tokio::test]
#[cfg(feature = "tcp")]
async fn f02_the_time_to_connect_is_refused_or_borne_at_the_ends_of_its_range() {
    use forebay_kip714::tcp::TcpTransport;
    use forebay_testkit::kafka::Broker;
    use tower::ServiceExt;
    count_panics();
    let before = PANICS.load(Relaxed);
    let broker = Broker::start().await;
    for time in ENDS {
        let transport = TcpTransport::builder().bootstrap(&broker.address()).connect_timeout(time).build();
        match transport {
            Err(refused) => assert_eq!((refused.knob(), time), ("connect_timeout", Duration::ZERO)),
            Ok(transport) => {
                let asked = transport.oneshot(TelemetryRequest::GetSubscriptions(Default::default())).await;
                // Within a nanosecond a broker on this machine may or may not be reached.
                assert!(asked.is_ok() || time < Duration::from_secs(1), "{time:?}: {asked:?}");
            }
        }
    }
    assert_eq!(PANICS.load(Relaxed), before);
}
