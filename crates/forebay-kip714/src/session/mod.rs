//! What to do next, and what a response means: pure, without a clock, a lock or a runtime.

mod change;
mod interval;
mod limit;

pub use self::change::{Change, Failure, Stopped};

use self::{interval::Interval, limit::LearnedLimit};
use crate::{
    codec::{Codec, Codecs},
    selector::Selector,
    state::State,
    wire::{
        ErrorCode, GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, InstanceId,
        PushTelemetryResponse,
    },
};
use forebay_core::chance::SplitMix64;
use forebay_retry::{Backoff, Delays};
use std::{sync::Arc, time::Duration};

/// The exchange of one client with its brokers, as a pure state machine.
///
/// Its driver asks [`next`](Self::next) what to do, does it, and hands the response to
/// [`subscriptions`](Self::subscriptions), [`pushed`](Self::pushed) or [`failed`](Self::failed). There is never more than
/// one request under way. All times are durations since the session began, on one monotonic clock.
///
/// [`Kip714Client`](crate::Kip714Client) drives one on tokio. A client library with an event loop of its own can drive one
/// itself:
///
/// ```
/// use forebay_kip714::{Change, GetTelemetrySubscriptionsResponse, InstanceId, Next, Session};
/// use std::time::Duration;
///
/// let mut session = Session::new(7);
/// let Next::Ask(request) = session.next(Duration::ZERO) else { panic!("the first thing is to ask") };
/// assert!(request.client_instance_id.is_nil());
///
/// let change = session.subscriptions(Duration::from_millis(3), &GetTelemetrySubscriptionsResponse {
///     client_instance_id: InstanceId::from_bytes([7; 16]),
///     subscription_id: 42,
///     push_interval_ms: 1_000,
///     requested_metrics: vec!["*".into()],
///     ..Default::default()
/// });
/// assert_eq!(change, Change::Subscribed);
/// // Between half an interval and one and a half after that.
/// let Next::Wait(until) = session.next(Duration::from_millis(3)) else { panic!("not yet") };
/// assert!(until >= Duration::from_millis(503) && until < Duration::from_millis(1_503));
/// assert!(matches!(session.next(until), Next::Push(order) if order.subscription_id == 42));
/// ```
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Since `terminate` was called; a request that is under way then is waited for.
    closing: bool,
    stopped: Option<Stopped>,
    id: InstanceId,
    subscription: Option<Subscription>,
    interval: Option<Interval>,
    codecs: Codecs,
    /// What the last push was compressed with.
    sent_with: Codec,
    /// The length of the last push.
    sent_bytes: usize,
    /// What refusals have taught about the greatest payload.
    learned_limit: LearnedLimit,
    /// When the next request is due, unless one is under way.
    due: Duration,
    /// For as long as no broker has said an interval.
    backoff: Delays,
    random: SplitMix64,
}

/// What a broker has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// Its id.
    pub id: i32,
    /// Which metrics it wants.
    pub selector: Arc<Selector>,
    /// The time between two pushes.
    pub interval: Duration,
    /// The compression types that it accepts, the preferred one first.
    pub accepted: Vec<i8>,
    /// The largest payload after compression, in bytes; `None` if it says no sensible one.
    pub max_bytes: Option<usize>,
    /// Whether sums are wanted as what was added since the last push.
    pub delta: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Next {
    /// Send this; then [`Session::subscriptions`] or [`Session::failed`].
    Ask(GetTelemetrySubscriptionsRequest),
    /// Send metrics to this order; then [`Session::pushed`] or [`Session::failed`].
    Push(PushOrder),
    /// Nothing before this time.
    Wait(Duration),
    /// Nothing before the response to the request that is under way.
    InFlight,
    /// Nothing, for ever.
    Over,
}

/// How a push is to be made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PushOrder {
    /// The client's id.
    pub client_instance_id: InstanceId,
    /// The subscription that it serves.
    pub subscription_id: i32,
    /// Whether it is the last one.
    pub terminating: bool,
    /// How to compress it. Where that fails, send it as it is and call [`Session::codec_failed`].
    pub codec: Codec,
    /// The largest payload, in bytes, before compression as well as after: newer brokers hold it against both.
    pub max_bytes: usize,
    /// Which metrics are wanted.
    pub selector: Arc<Selector>,
    /// Whether sums are wanted as what was added since the last push.
    pub delta: bool,
}

// === impl Session ===

impl Session {
    /// A session that begins now, at time zero. The seed decides its jitter.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1)).cap(Interval::DEFAULT).seed(seed);
        Self {
            state: State::default(),
            closing: false,
            stopped: None,
            id: InstanceId::NIL,
            subscription: None,
            interval: None,
            codecs: Codecs::default(),
            sent_with: Codec::None,
            sent_bytes: 0,
            learned_limit: LearnedLimit::default(),
            due: Duration::ZERO,
            backoff: backoff.delays(0),
            random: SplitMix64::new(seed),
        }
    }

    /// Compresses with none but these, whatever a broker accepts.
    #[must_use]
    pub fn with_codecs(mut self, codecs: &[Codec]) -> Self {
        Codec::ALL.into_iter().filter(|codec| !codecs.contains(codec)).for_each(|codec| self.codecs.refuse(codec));
        self
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it has stopped for good, if it has.
    #[must_use]
    pub fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// The client's id; nil until a broker has given one.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// The subscription in force, if there is one.
    #[must_use]
    pub fn subscription(&self) -> Option<&Subscription> {
        self.subscription.as_ref()
    }

    /// What is to be done at `now`. A request that is handed out here is under way.
    pub fn next(&mut self, now: Duration) -> Next {
        if self.is_over() {
            return Next::Over;
        }
        match self.state {
            State::SubscriptionNeeded if now >= self.due => match self.become_(State::SubscriptionInProgress) {
                Ok(()) => Next::Ask(GetTelemetrySubscriptionsRequest { client_instance_id: self.id }),
                Err(_stopped) => Next::Over,
            },
            State::PushNeeded if now >= self.due => self.push(State::PushInProgress),
            State::SubscriptionNeeded | State::PushNeeded => Next::Wait(self.due),
            // Not before its time: that is for its interval only.
            State::TerminatingPushNeeded => self.push(State::TerminatingPushInProgress),
            State::SubscriptionInProgress | State::PushInProgress | State::TerminatingPushInProgress => Next::InFlight,
            State::Terminated => Next::Over,
        }
    }

    /// The response to [`Next::Ask`] came at `now`.
    pub fn subscriptions(&mut self, now: Duration, response: &GetTelemetrySubscriptionsResponse) -> Change {
        if self.is_over() {
            return Change::Ignored;
        }
        let throttled = interval::throttle(response.throttle_time_ms);
        match response.error_code {
            ErrorCode::NONE => self.subscribe(now, throttled, response),
            code => self.refused(now, throttled, code),
        }
    }

    /// The response to [`Next::Push`] came at `now`.
    pub fn pushed(&mut self, now: Duration, response: &PushTelemetryResponse) -> Change {
        if self.is_over() {
            return Change::Ignored;
        }
        if self.state == State::TerminatingPushInProgress {
            // Whatever it says: there is nothing after it.
            return self.end();
        }
        let throttled = interval::throttle(response.throttle_time_ms);
        match response.error_code {
            ErrorCode::NONE => {
                self.learned_limit.take(self.subscription.as_ref().and_then(|subscription| subscription.max_bytes));
                let interval = self.plain_interval();
                self.due = now.saturating_add(interval.max(throttled));
                self.step(if self.closing { State::TerminatingPushNeeded } else { State::PushNeeded }, Change::Pushed)
            }
            code => self.refused(now, throttled, code),
        }
    }

    /// A request could not be made, or its response did not come.
    ///
    /// One such failure never ends a session, nor do many.
    pub fn failed(&mut self, now: Duration, failure: Failure) -> Change {
        if self.is_over() {
            return Change::Ignored;
        }
        let was_push = self.state == State::PushInProgress;
        if self.state == State::TerminatingPushInProgress || (self.closing && !was_push) {
            return self.end();
        }
        let wait = match (failure, self.interval) {
            (Failure::Unsupported, interval) => interval.map_or(Interval::DEFAULT, Interval::plain),
            (Failure::Lost { retry_in }, Some(interval)) => interval.plain().max(interval::closed(retry_in)),
            (Failure::Lost { retry_in }, None) => self.backoff.next_after(None).max(interval::closed(retry_in)),
        };
        self.due = now.saturating_add(wait);
        let next = if self.closing { State::TerminatingPushNeeded } else { State::SubscriptionNeeded };
        self.step(next, Change::Lost)
    }

    /// The payload of the push that is under way has this length: before or after compression, whichever is greater.
    pub fn sending(&mut self, bytes: usize) {
        self.sent_bytes = bytes;
    }

    /// Compression with this type failed; it is not chosen again.
    pub fn codec_failed(&mut self, codec: Codec) {
        self.codecs.refuse(codec);
        self.sent_with = Codec::None;
    }

    /// Ends the session, with a last push if a subscription is in force.
    ///
    /// A request that is under way is waited for; [`abandon`](Self::abandon) does not wait. Without a subscription that
    /// can be trusted there is no last push: a broker takes note of a terminating push even when it refuses it for its
    /// subscription id, and then refuses everything from this client.
    pub fn terminate(&mut self) -> Change {
        if self.is_over() || self.closing {
            return Change::Ignored;
        }
        self.closing = true;
        match self.state {
            State::PushNeeded => self.step(State::TerminatingPushNeeded, Change::Terminating),
            State::SubscriptionNeeded => self.end(),
            State::SubscriptionInProgress
            | State::PushInProgress
            | State::TerminatingPushNeeded
            | State::TerminatingPushInProgress
            | State::Terminated => Change::Terminating,
        }
    }

    /// Ends the session where it stands.
    pub fn abandon(&mut self) -> Change {
        if self.is_over() { Change::Ignored } else { self.end() }
    }

    fn is_over(&self) -> bool {
        self.stopped.is_some() || self.state == State::Terminated
    }

    fn plain_interval(&self) -> Duration {
        self.interval.map_or(Interval::DEFAULT, Interval::plain)
    }

    fn push(&mut self, state: State) -> Next {
        let Some(subscription) = self.subscription.clone() else {
            // Not reachable by any response: a push is needed only once there is a subscription. Ask for one.
            self.due = Duration::ZERO;
            return match self.become_(State::SubscriptionNeeded) {
                Ok(()) => Next::Wait(Duration::ZERO),
                Err(_stopped) => Next::Over,
            };
        };
        if self.become_(state).is_err() {
            return Next::Over;
        }
        self.sent_with = self.codecs.choose(&subscription.accepted);
        self.sent_bytes = 0;
        let limits = [subscription.max_bytes, self.learned_limit.bytes()];
        Next::Push(PushOrder {
            client_instance_id: self.id,
            subscription_id: subscription.id,
            terminating: state == State::TerminatingPushInProgress,
            codec: self.sent_with,
            max_bytes: limits.into_iter().flatten().min().unwrap_or(usize::MAX),
            selector: subscription.selector,
            delta: subscription.delta,
        })
    }

    fn subscribe(
        &mut self,
        now: Duration,
        throttled: Duration,
        response: &GetTelemetrySubscriptionsResponse,
    ) -> Change {
        if self.id.is_nil() {
            if response.client_instance_id.is_nil() {
                return self.stop(Stopped::NoInstanceId);
            }
            // CORRECTNESS: kept for life. What later responses say in its place is not looked at.
            self.id = response.client_instance_id;
        }
        let interval = Interval::of_millis(response.push_interval_ms);
        let selector = Selector::new(&response.requested_metrics);
        self.interval = Some(interval);
        let next = match (selector.is_empty(), self.closing) {
            (true, true) => return self.end(),
            (true, false) => State::SubscriptionNeeded,
            (false, true) => State::TerminatingPushNeeded,
            (false, false) => State::PushNeeded,
        };
        let wait = if selector.is_empty() { interval.plain() } else { interval.jittered(self.random.unit()) };
        self.due = now.saturating_add(wait.max(throttled));
        if selector.is_empty() {
            self.subscription = None;
            return self.step(next, Change::NothingWanted);
        }
        if self.subscription.as_ref().is_some_and(|old| old.id != response.subscription_id) {
            self.learned_limit = LearnedLimit::default();
        }
        self.subscription = Some(Subscription {
            id: response.subscription_id,
            selector: Arc::new(selector),
            interval: interval.plain(),
            accepted: response.accepted_compression_types.clone(),
            max_bytes: usize::try_from(response.telemetry_max_bytes).ok().filter(|bytes| *bytes > 0),
            delta: response.delta_temporality,
        });
        self.step(next, Change::Subscribed)
    }

    /// A broker responded with an error: the table of the final KIP.
    fn refused(&mut self, now: Duration, throttled: Duration, code: ErrorCode) -> Change {
        let was_push = self.state == State::PushInProgress;
        // The subscription of a last push must be one that the broker knows.
        let mut trusted = was_push;
        let wait = match code {
            ErrorCode::INVALID_REQUEST => return self.stop(Stopped::InvalidRequest),
            ErrorCode::INVALID_RECORD => return self.stop(Stopped::InvalidRecord),
            ErrorCode::UNSUPPORTED_VERSION => return self.stop(Stopped::UnsupportedVersion),
            ErrorCode::UNKNOWN_SUBSCRIPTION_ID => {
                trusted = false;
                Duration::ZERO
            }
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE => {
                self.codecs.refuse(self.sent_with);
                Duration::ZERO
            }
            ErrorCode::TELEMETRY_TOO_LARGE => {
                self.learned_limit.refuse(self.sent_bytes);
                self.plain_interval()
            }
            ErrorCode::THROTTLING_QUOTA_EXCEEDED => self.plain_interval(),
            other => return self.stop(Stopped::Refused(other)),
        };
        self.due = now.saturating_add(wait.max(throttled));
        match (self.closing, trusted) {
            (true, true) => self.step(State::TerminatingPushNeeded, Change::Refused(code)),
            (true, false) => self.end(),
            (false, _) => self.step(State::SubscriptionNeeded, Change::Refused(code)),
        }
    }

    /// Goes on to `next` and reports `change`, or that there is no such arrow.
    fn step(&mut self, next: State, change: Change) -> Change {
        match self.become_(next) {
            Ok(()) => change,
            Err(stopped) => Change::Stopped(stopped),
        }
    }

    fn end(&mut self) -> Change {
        self.step(State::Terminated, Change::Terminated)
    }

    fn stop(&mut self, why: Stopped) -> Change {
        self.stopped = Some(why);
        Change::Stopped(why)
    }

    fn become_(&mut self, next: State) -> Result<(), Stopped> {
        if self.state.may_become(next) {
            self.state = next;
            return Ok(());
        }
        let why = Stopped::IllegalTransition { from: self.state, to: next };
        self.stopped = Some(why);
        Err(why)
    }
}
