//! The state machine: every arrow, every error code, every rule of time.
#![expect(clippy::panic, reason = "test code")]

use forebay_kip714::{
    Change, Codec, ErrorCode, Failure, GetTelemetrySubscriptionsResponse, InstanceId, Next, PushOrder,
    PushTelemetryResponse, Session, State, Stopped,
};
use proptest::prelude::*;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(10);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const LOST: Failure = Failure::Lost { retry_in: None };
const ID: InstanceId = InstanceId::from_bytes([7; 16]);

fn offer() -> GetTelemetrySubscriptionsResponse {
    GetTelemetrySubscriptionsResponse {
        client_instance_id: ID,
        subscription_id: 1,
        accepted_compression_types: vec![4, 3, 1, 2],
        push_interval_ms: 10_000,
        telemetry_max_bytes: 1_000,
        delta_temporality: true,
        requested_metrics: vec!["*".to_owned()],
        ..Default::default()
    }
}

fn pushed(code: ErrorCode) -> PushTelemetryResponse {
    PushTelemetryResponse { error_code: code, ..Default::default() }
}

fn refusal(code: ErrorCode) -> GetTelemetrySubscriptionsResponse {
    GetTelemetrySubscriptionsResponse { error_code: code, ..Default::default() }
}

fn wait(session: &mut Session, now: Duration) -> Duration {
    match session.next(now) {
        Next::Wait(until) => until,
        other => panic!("{other:?} instead of a wait"),
    }
}

fn order(session: &mut Session, now: Duration) -> PushOrder {
    match session.next(now) {
        Next::Push(order) => order,
        other => panic!("{other:?} instead of a push"),
    }
}

/// A session that is subscribed, and the time at which its first push is due.
fn subscribed() -> (Session, Duration) {
    let mut session = Session::new(1);
    assert!(matches!(session.next(Duration::ZERO), Next::Ask(_)));
    assert_eq!(session.subscriptions(Duration::ZERO, &offer()), Change::Subscribed);
    let due = wait(&mut session, Duration::ZERO);
    (session, due)
}

/// A session with a push under way, and the time.
fn pushing() -> (Session, Duration) {
    let (mut session, due) = subscribed();
    order(&mut session, due);
    (session, due)
}

#[test]
fn the_arrows_are_those_of_the_table() {
    use State::*;
    let arrows = [
        (SubscriptionNeeded, vec![SubscriptionInProgress, Terminated]),
        (SubscriptionInProgress, vec![PushNeeded, SubscriptionNeeded, TerminatingPushNeeded, Terminated]),
        (PushNeeded, vec![PushInProgress, SubscriptionNeeded, TerminatingPushNeeded, Terminated]),
        (PushInProgress, vec![PushNeeded, SubscriptionNeeded, TerminatingPushNeeded, Terminated]),
        (TerminatingPushNeeded, vec![TerminatingPushInProgress, Terminated]),
        (TerminatingPushInProgress, vec![Terminated]),
        (Terminated, vec![]),
    ];
    assert_eq!(arrows.iter().map(|(from, _)| *from).collect::<Vec<_>>(), State::ALL);
    for (from, legal) in arrows {
        for to in State::ALL {
            assert_eq!(from.may_become(to), legal.contains(&to), "{from} to {to}");
        }
    }
}

#[test]
fn a_response_without_a_request_stops_telemetry_and_is_said_once() {
    let (mut session, now) = subscribed();
    let why = Stopped::IllegalTransition { from: State::PushNeeded, to: State::PushNeeded };
    assert_eq!(session.pushed(now, &pushed(ErrorCode::NONE)), Change::Stopped(why));
    assert_eq!(session.pushed(now, &pushed(ErrorCode::NONE)), Change::Ignored);
    assert_eq!(session.next(now), Next::Over);
    assert_eq!(session.stopped(), Some(why));
}

#[test]
fn the_first_question_has_no_id_and_all_later_requests_have_the_same() {
    let (mut session, due) = subscribed();
    assert_eq!(order(&mut session, due).client_instance_id, ID);
    session.pushed(due, &pushed(ErrorCode::UNKNOWN_SUBSCRIPTION_ID));
    let Next::Ask(request) = session.next(due) else { panic!("a question") };
    assert_eq!(request.client_instance_id, ID);
    // Another id in a later response is not adopted.
    let other = GetTelemetrySubscriptionsResponse { client_instance_id: InstanceId::from_bytes([9; 16]), ..offer() };
    session.subscriptions(due, &other);
    assert_eq!(session.id(), ID);
}

#[test]
fn a_response_without_an_id_stops_telemetry() {
    let mut session = Session::new(1);
    session.next(Duration::ZERO);
    let nameless = GetTelemetrySubscriptionsResponse { client_instance_id: InstanceId::NIL, ..offer() };
    assert_eq!(session.subscriptions(Duration::ZERO, &nameless), Change::Stopped(Stopped::NoInstanceId));
}

fn stops(code: ErrorCode, why: Stopped) {
    let (mut session, now) = pushing();
    assert_eq!(session.pushed(now, &pushed(code)), Change::Stopped(why));
    assert_eq!(session.next(now + FIVE_MINUTES * 100), Next::Over);
    // Said once.
    assert_eq!(session.pushed(now, &pushed(code)), Change::Ignored);
    assert_eq!(session.terminate(), Change::Ignored);

    let mut session = Session::new(1);
    session.next(Duration::ZERO);
    assert_eq!(session.subscriptions(Duration::ZERO, &refusal(code)), Change::Stopped(why));
    assert_eq!(session.next(FIVE_MINUTES * 100), Next::Over);
}

#[test]
fn k01_invalid_request_stops_for_good_and_is_said_once() {
    stops(ErrorCode::INVALID_REQUEST, Stopped::InvalidRequest);
}

#[test]
fn k02_invalid_record_stops_for_good() {
    stops(ErrorCode::INVALID_RECORD, Stopped::InvalidRecord);
}

#[test]
fn k03_unsupported_version_stops_as_a_response_and_is_tried_again_as_a_failure() {
    stops(ErrorCode::UNSUPPORTED_VERSION, Stopped::UnsupportedVersion);

    let mut session = Session::new(1);
    session.next(Duration::ZERO);
    assert_eq!(session.failed(Duration::ZERO, Failure::Unsupported), Change::Lost);
    assert_eq!(wait(&mut session, Duration::ZERO), FIVE_MINUTES);
    assert!(matches!(session.next(FIVE_MINUTES), Next::Ask(_)));
}

#[test]
fn k04_unknown_subscription_asks_at_once_and_survives_the_wrong_throttle() {
    let (mut session, now) = pushing();
    let code = ErrorCode::UNKNOWN_SUBSCRIPTION_ID;
    assert_eq!(session.pushed(now, &pushed(code)), Change::Refused(code));
    assert!(matches!(session.next(now), Next::Ask(_)));
    // Brokers throttle that question though they mean not to: no loop, no end, one interval.
    let throttled = refusal(ErrorCode::THROTTLING_QUOTA_EXCEEDED);
    assert_eq!(session.subscriptions(now, &throttled), Change::Refused(throttled.error_code));
    assert_eq!(wait(&mut session, now), now + INTERVAL);
    assert!(matches!(session.next(now + INTERVAL), Next::Ask(_)));
    assert_eq!(session.subscriptions(now + INTERVAL, &offer()), Change::Subscribed);
}

#[test]
fn k05_unsupported_compression_asks_at_once_and_the_codec_is_remembered() {
    let (mut session, due) = subscribed();
    let mut now = due;
    for codec in [Codec::Zstd, Codec::Lz4, Codec::Gzip, Codec::Snappy, Codec::None, Codec::None] {
        assert_eq!(order(&mut session, now).codec, codec);
        let code = ErrorCode::UNSUPPORTED_COMPRESSION_TYPE;
        assert_eq!(session.pushed(now, &pushed(code)), Change::Refused(code));
        assert!(matches!(session.next(now), Next::Ask(_)));
        session.subscriptions(now, &offer());
        now = wait(&mut session, now);
    }
}

#[test]
fn k05_the_first_codec_of_the_broker_that_is_known_is_chosen() {
    for (accepted, codec) in
        [(vec![1, 4], Codec::Gzip), (vec![99, -1, 3, 4], Codec::Lz4), (vec![99], Codec::None), (vec![], Codec::None)]
    {
        let mut session = Session::new(1);
        session.next(Duration::ZERO);
        let offer = GetTelemetrySubscriptionsResponse { accepted_compression_types: accepted.clone(), ..offer() };
        session.subscriptions(Duration::ZERO, &offer);
        let due = wait(&mut session, Duration::ZERO);
        assert_eq!(order(&mut session, due).codec, codec, "{accepted:?}");
    }
}

#[test]
fn k06_too_large_keeps_the_interval_and_makes_the_next_payload_smaller() {
    let (mut session, now) = subscribed();
    assert_eq!(order(&mut session, now).max_bytes, 1_000);
    session.sending(600);
    let code = ErrorCode::TELEMETRY_TOO_LARGE;
    assert_eq!(session.pushed(now, &pushed(code)), Change::Refused(code));
    assert_eq!(wait(&mut session, now), now + INTERVAL);
    session.next(now + INTERVAL);
    session.subscriptions(now + INTERVAL, &offer());
    let due = wait(&mut session, now + INTERVAL);
    assert_eq!(order(&mut session, due).max_bytes, 300);
    session.pushed(due, &pushed(ErrorCode::UNKNOWN_SUBSCRIPTION_ID));
    session.next(due);
    // Another subscription is another payload: what was learned of the old one says nothing of it.
    session.subscriptions(due, &GetTelemetrySubscriptionsResponse { subscription_id: 2, ..offer() });
    let due = wait(&mut session, due);
    assert_eq!(order(&mut session, due).max_bytes, 1_000);
}

#[test]
fn k06_too_large_before_any_interval_is_known_waits_five_minutes() {
    let mut session = Session::new(1);
    session.next(Duration::ZERO);
    session.subscriptions(Duration::ZERO, &refusal(ErrorCode::TELEMETRY_TOO_LARGE));
    assert_eq!(wait(&mut session, Duration::ZERO), FIVE_MINUTES);
}

#[test]
fn k07_throttling_keeps_the_interval_and_any_other_code_stops() {
    let (mut session, now) = pushing();
    let code = ErrorCode::THROTTLING_QUOTA_EXCEEDED;
    assert_eq!(session.pushed(now, &pushed(code)), Change::Refused(code));
    assert_eq!(wait(&mut session, now), now + INTERVAL);
    assert!(matches!(session.next(now + INTERVAL), Next::Ask(_)));
    // Cluster authorization failed, unknown server error, and one that does not exist.
    for code in [31, -1, 12_345].map(ErrorCode) {
        stops(code, Stopped::Refused(code));
    }
}

#[test]
fn a_throttle_time_is_obeyed_and_bounded() {
    let (mut session, now) = pushing();
    session.pushed(now, &PushTelemetryResponse { throttle_time_ms: 60_000, ..Default::default() });
    assert_eq!(wait(&mut session, now), now + Duration::from_secs(60));

    let (mut session, now) = pushing();
    session.pushed(now, &PushTelemetryResponse { throttle_time_ms: i32::MAX, ..Default::default() });
    assert_eq!(wait(&mut session, now), now + Duration::from_secs(3_600));

    let (mut session, now) = pushing();
    let code = ErrorCode::UNKNOWN_SUBSCRIPTION_ID;
    session.pushed(now, &PushTelemetryResponse { throttle_time_ms: 5_000, error_code: code });
    assert_eq!(wait(&mut session, now), now + Duration::from_secs(5));
}

#[test]
fn k08_the_first_push_after_each_subscription_is_jittered_and_no_other() {
    let mut dues = Vec::new();
    for seed in 0..1_000 {
        let mut session = Session::new(seed);
        session.next(Duration::ZERO);
        session.subscriptions(Duration::ZERO, &offer());
        let due = wait(&mut session, Duration::ZERO);
        assert!(due >= INTERVAL / 2 && due < INTERVAL * 3 / 2, "{due:?}");
        dues.push(due);
        order(&mut session, due);
        assert_eq!(session.pushed(due, &pushed(ErrorCode::NONE)), Change::Pushed);
        assert_eq!(wait(&mut session, due), due + INTERVAL);
    }
    // Spread over the whole width, evenly.
    for tenth in 0..10 {
        let from = INTERVAL / 2 + INTERVAL * tenth / 10;
        let within = dues.iter().filter(|due| **due >= from && **due < from + INTERVAL / 10).count();
        assert!((60..=140).contains(&within), "{within} of 1,000 in a tenth of the width");
    }
}

#[test]
fn k08_an_interval_that_makes_no_sense_is_five_minutes_and_a_tiny_one_a_tenth_of_a_second() {
    for (millis, interval) in
        [(0, FIVE_MINUTES), (-1, FIVE_MINUTES), (i32::MIN, FIVE_MINUTES), (1, Duration::from_millis(100))]
    {
        let mut session = Session::new(1);
        session.next(Duration::ZERO);
        session
            .subscriptions(Duration::ZERO, &GetTelemetrySubscriptionsResponse { push_interval_ms: millis, ..offer() });
        assert_eq!(session.subscription().unwrap().interval, interval);
    }
}

#[test]
fn k09_an_empty_subscription_is_asked_for_again_without_jitter() {
    let empty = GetTelemetrySubscriptionsResponse { requested_metrics: Vec::new(), ..offer() };
    let mut session = Session::new(1);
    let mut now = Duration::ZERO;
    for _ in 0..3 {
        assert!(matches!(session.next(now), Next::Ask(_)));
        assert_eq!(session.subscriptions(now, &empty), Change::NothingWanted);
        assert_eq!(wait(&mut session, now), now + INTERVAL);
        now += INTERVAL;
    }
    // Without a subscription there is nothing to push at the end either.
    assert_eq!(session.terminate(), Change::Terminated);
}

#[test]
fn k12_a_codec_that_failed_is_not_chosen_again() {
    let (mut session, due) = subscribed();
    assert_eq!(order(&mut session, due).codec, Codec::Zstd);
    session.codec_failed(Codec::Zstd);
    session.pushed(due, &pushed(ErrorCode::NONE));
    let due = wait(&mut session, due);
    assert_eq!(order(&mut session, due).codec, Codec::Lz4);
}

#[test]
fn k12_what_was_sent_in_its_place_is_not_the_codec_that_is_refused() {
    let (mut session, due) = subscribed();
    order(&mut session, due);
    session.codec_failed(Codec::Zstd);
    // It was sent as it is, and refused all the same: that tells nothing of lz4.
    session.pushed(due, &pushed(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE));
    session.next(due);
    session.subscriptions(due, &offer());
    let due = wait(&mut session, due);
    assert_eq!(order(&mut session, due).codec, Codec::Lz4);
}

#[test]
fn k13_the_terminating_push_does_not_wait_for_its_interval_and_is_sent_once() {
    let (mut session, _) = subscribed();
    assert_eq!(session.terminate(), Change::Terminating);
    let push = order(&mut session, Duration::ZERO);
    assert!(push.terminating);
    assert_eq!(session.next(Duration::ZERO), Next::InFlight);
    assert_eq!(session.terminate(), Change::Ignored);
    assert_eq!(session.pushed(Duration::ZERO, &pushed(ErrorCode::NONE)), Change::Terminated);
    assert_eq!(session.next(FIVE_MINUTES), Next::Over);
}

#[test]
fn k13_the_terminating_push_waits_for_the_one_in_flight() {
    let (mut session, now) = pushing();
    assert_eq!(session.terminate(), Change::Terminating);
    assert_eq!(session.next(now), Next::InFlight);
    assert_eq!(session.pushed(now, &pushed(ErrorCode::NONE)), Change::Pushed);
    assert!(order(&mut session, now).terminating);
}

#[test]
fn k13_it_waits_for_a_subscription_in_flight() {
    let mut session = Session::new(1);
    session.next(Duration::ZERO);
    session.terminate();
    assert_eq!(session.next(Duration::ZERO), Next::InFlight);
    assert_eq!(session.subscriptions(Duration::ZERO, &offer()), Change::Subscribed);
    assert!(order(&mut session, Duration::ZERO).terminating);
}

#[test]
fn k13_a_throttle_or_a_lost_connection_does_not_cost_the_terminating_push() {
    for code in
        [ErrorCode::THROTTLING_QUOTA_EXCEEDED, ErrorCode::TELEMETRY_TOO_LARGE, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE]
    {
        let (mut session, now) = pushing();
        session.terminate();
        session.pushed(now, &pushed(code));
        assert!(order(&mut session, now).terminating, "{code}");
    }
    let (mut session, now) = pushing();
    session.terminate();
    session.failed(now, LOST);
    assert!(order(&mut session, now).terminating);
    assert_eq!(session.failed(now, LOST), Change::Terminated);
}

#[test]
fn k13_without_any_exchange_there_is_no_terminating_push() {
    let mut session = Session::new(1);
    assert_eq!(session.terminate(), Change::Terminated);
    assert_eq!(session.next(Duration::ZERO), Next::Over);
}

#[test]
fn k14_one_disconnect_stops_nothing_and_keeps_the_interval() {
    let (mut session, now) = pushing();
    assert_eq!(session.failed(now, LOST), Change::Lost);
    assert_eq!(session.stopped(), None);
    assert_eq!(wait(&mut session, now), now + INTERVAL);
    assert!(matches!(session.next(now + INTERVAL), Next::Ask(_)));
    assert_eq!(session.subscriptions(now + INTERVAL, &offer()), Change::Subscribed);
}

#[test]
fn k14_a_thousand_disconnects_stop_nothing_and_never_come_faster() {
    let mut session = Session::new(1);
    let mut now = Duration::ZERO;
    let mut waits = Vec::new();
    for _ in 0..1_000 {
        assert!(matches!(session.next(now), Next::Ask(_)));
        assert_eq!(session.failed(now, LOST), Change::Lost);
        match session.next(now) {
            Next::Wait(until) => {
                let wait = until.saturating_sub(now);
                assert!(wait <= FIVE_MINUTES);
                waits.push(wait);
                now = until;
            }
            // A draw of next to nothing.
            Next::Ask(_) => waits.push(Duration::ZERO),
            other => panic!("{other:?}"),
        }
        if session.state() == State::SubscriptionInProgress {
            session.failed(now, LOST);
            now += FIVE_MINUTES;
        }
    }
    let late: Duration = waits[500..].iter().sum();
    assert!(late > FIVE_MINUTES * 150, "{late:?} for 500 waits");
    session.next(now);
    assert_eq!(session.subscriptions(now, &offer()), Change::Subscribed);
}

#[test]
fn k16_a_subscription_that_went_stale_is_not_used_for_a_terminating_push() {
    let (mut session, now) = pushing();
    session.terminate();
    let stale = pushed(ErrorCode::UNKNOWN_SUBSCRIPTION_ID);
    assert_eq!(session.pushed(now, &stale), Change::Terminated);

    let (mut session, now) = pushing();
    session.pushed(now, &stale);
    assert_eq!(session.terminate(), Change::Terminated);
}

#[test]
fn k16_the_response_to_a_terminating_push_changes_nothing_and_the_next_session_has_another_id() {
    let (mut session, _) = subscribed();
    session.terminate();
    order(&mut session, Duration::ZERO);
    let stale = pushed(ErrorCode::UNKNOWN_SUBSCRIPTION_ID);
    assert_eq!(session.pushed(Duration::ZERO, &stale), Change::Terminated);
    assert_eq!(session.stopped(), None);
    let Next::Ask(request) = Session::new(2).next(Duration::ZERO) else { panic!("a question") };
    assert!(request.client_instance_id.is_nil());
}

#[test]
fn abandoned_it_is_over_wherever_it_stood() {
    let (mut session, now) = pushing();
    assert_eq!(session.abandon(), Change::Terminated);
    assert_eq!(session.next(now), Next::Over);
    assert_eq!(session.pushed(now, &pushed(ErrorCode::NONE)), Change::Ignored);
    assert_eq!(session.abandon(), Change::Ignored);
}

#[derive(Clone, Debug)]
enum Step {
    Next,
    Pass(u32),
    Answer { code: i16, interval: i32, throttle: i32, metrics: u8, subscription: i32 },
    Fail(bool),
    Terminate,
    Abandon,
    Unasked(bool, i16),
}

fn code() -> impl Strategy<Value = i16> {
    prop_oneof![4 => Just(0), 1 => prop::sample::select(vec![35, 42, 76, 87, 89, 117, 118]), 1 => any::<i16>()]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Next),
        4 => (0_u32..400_000).prop_map(Step::Pass),
        6 => (code(), any::<i32>(), any::<i32>(), 0_u8..3, 0..3).prop_map(
            |(code, interval, throttle, metrics, subscription)| Step::Answer {
                code, interval: interval % 500_000, throttle: throttle % 10_000, metrics, subscription
            }),
        2 => any::<bool>().prop_map(Step::Fail),
        1 => Just(Step::Terminate),
        1 => Just(Step::Abandon),
        1 => (any::<bool>(), code()).prop_map(|(push, code)| Step::Unasked(push, code)),
    ]
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Open {
    Nothing,
    Question,
    Push,
}

proptest! {
    #[test]
    fn it_never_panics_and_never_has_two_requests_under_way_and_the_end_is_the_end(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut session = Session::new(seed);
        let mut now = Duration::ZERO;
        let mut open = Open::Nothing;
        let mut over = false;
        let mut said = 0;
        let mut last_pushes = 0;
        for step in steps {
            let before = session.state();
            let change = match step {
                Step::Next => {
                    let next = session.next(now);
                    if over {
                        prop_assert_eq!(&next, &Next::Over);
                    }
                    match next {
                        Next::Ask(request) => {
                            prop_assert_eq!(open, Open::Nothing);
                            prop_assert_eq!(request.client_instance_id, session.id());
                            open = Open::Question;
                        }
                        Next::Push(order) => {
                            prop_assert_eq!(open, Open::Nothing);
                            prop_assert!(!order.client_instance_id.is_nil());
                            last_pushes += u32::from(order.terminating);
                            open = Open::Push;
                        }
                        Next::Wait(until) => {
                            prop_assert_eq!(open, Open::Nothing);
                            prop_assert!(until > now && until.saturating_sub(now) <= Duration::from_secs(3_600));
                        }
                        Next::InFlight => prop_assert!(open != Open::Nothing),
                        _ => over = true,
                    }
                    Change::Ignored
                }
                Step::Pass(millis) => {
                    now += Duration::from_millis(millis.into());
                    Change::Ignored
                }
                Step::Answer { code, interval, throttle, metrics, subscription } => match std::mem::replace(&mut open, Open::Nothing) {
                    Open::Nothing => Change::Ignored,
                    Open::Question => session.subscriptions(now, &GetTelemetrySubscriptionsResponse {
                        throttle_time_ms: throttle,
                        error_code: ErrorCode(code),
                        client_instance_id: ID,
                        subscription_id: subscription,
                        accepted_compression_types: vec![4, 99, 3],
                        push_interval_ms: interval,
                        telemetry_max_bytes: interval,
                        delta_temporality: metrics > 1,
                        requested_metrics: vec!["a".to_owned(); metrics.into()],
                    }),
                    Open::Push => session.pushed(now, &PushTelemetryResponse { throttle_time_ms: throttle, error_code: ErrorCode(code) }),
                },
                Step::Fail(unsupported) => {
                    if std::mem::replace(&mut open, Open::Nothing) == Open::Nothing {
                        Change::Ignored
                    } else {
                        session.failed(now, if unsupported { Failure::Unsupported } else { LOST })
                    }
                }
                Step::Terminate => session.terminate(),
                Step::Abandon => { open = Open::Nothing; session.abandon() }
                Step::Unasked(push, code) if open == Open::Nothing => {
                    if push { session.pushed(now, &pushed(ErrorCode(code))) } else { session.subscriptions(now, &refusal(ErrorCode(code))) }
                }
                Step::Unasked(..) => Change::Ignored,
            };
            if over {
                prop_assert_eq!(change, Change::Ignored);
            }
            match change {
                Change::Stopped(_) => { said += 1; over = true; open = Open::Nothing }
                Change::Terminated => over = true,
                _ => {}
            }
            prop_assert!(said <= 1 && last_pushes <= 1);
            if before == State::Terminated {
                prop_assert_eq!(session.state(), State::Terminated);
            }
        }
    }
}
