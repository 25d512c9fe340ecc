//! The future returned by [`Retry`](crate::Retry).
//!
//! What runs for every first attempt is `#[inline(always)]`: left to the compiler, a program that uses one type of retry
//! in more than one place paid 14 ns for it where it pays 4.

use crate::{
    AnotherServer, Attempt, GaveUp, Policy, RetriesExhausted, RetryEvent, StopReason, Throttled,
    attempts::{Failure, Held, Next},
    policy::Gate,
    rules::Rules,
    session::{Session, Slot},
    trace,
};
use forebay_core::{BoxError, Classify, Outcome, Seen, is_caused_by};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    ops::ControlFlow::{self, Break, Continue},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;

pin_project! {
    /// Response future of [`Retry`](crate::Retry).
    ///
    /// It waits in itself: nothing is spawned, and the inner service is not kept ready while it waits.
    ///
    /// CANCEL: dropping it drops the attempt that is under way, or the wait. A retry that was not sent is refunded.
    ///
    /// # Panics
    ///
    /// When it has to wait outside of a tokio runtime with timers.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, S, Req, R> {
        #[pin]
        state: State<F>,
        // The instance that was made ready first; none when there can be no other attempt.
        service: Option<S>,
        // What the next attempt sends.
        request: Option<Req>,
        rules: Arc<R>,
        // What stands for the request at the gate.
        key: u64,
        // When the first attempt had to wait for the first time; read only where `max_elapsed` counts from it.
        started: Option<Instant>,
        // What is needed after the first wait only. Without one, at most one attempt was begun.
        session: Slot,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // An attempt is under way.
        Calling { #[pin] future: F },
        // The next attempt must not begin yet.
        Waiting,
        // The inner service is made ready for the next attempt.
        Readying,
    }
}

// === impl ResponseFuture ===

impl<F, S, Req, R> ResponseFuture<F, S, Req, R> {
    /// Nothing was sent yet; `request` is what the next attempt sends.
    #[inline(always)]
    pub(crate) fn new(rules: Arc<R>, key: u64, request: Option<Req>) -> Self {
        let (service, started, session) = (None, None, Slot::EMPTY);
        Self { state: State::Waiting, service, request, rules, key, started, session }
    }

    /// Whether there can be another attempt.
    #[inline(always)]
    pub(crate) fn can_repeat(&self) -> bool {
        self.request.is_some()
    }

    /// The first attempt is under way; `service` is for those that may follow.
    #[inline(always)]
    pub(crate) fn begin(&mut self, future: F, service: Option<S>) {
        self.state = State::Calling { future };
        self.service = service;
    }

    /// The first attempt is held back, and will be made by `service`.
    pub(crate) fn hold(&mut self, service: S) {
        self.service = Some(service);
    }
}

impl<F, S, Req, C, P, K> Future for ResponseFuture<F, S, Req, Rules<C, P, K>>
where
    F: Future<Output = Result<S::Response, S::Error>>,
    S: Service<Req, Future = F>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response, S::Error>,
    P: Policy<Req, S::Response, S::Error>,
    K: Gate<Req>,
{
    type Output = Result<S::Response, BoxError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The first attempt is most often the only one: it is polled without the loop of all that may follow.
        if let StateProj::Calling { future } = self.as_mut().project().state.project() {
            let Poll::Ready(result) = future.poll(cx) else { return self.calling() };
            // Matched here: a response that no error can take the place of need not be laid into memory for a
            // classifier that looks into errors.
            return match result {
                Ok(response) => match self.as_mut().ended(Ok(response)) {
                    Break(result) => Poll::Ready(result),
                    Continue(()) => self.poll_on(cx),
                },
                Err(error) => self.poll_after(error, cx),
            };
        }
        self.poll_on(cx)
    }
}

impl<F, S, Req, C, P, K> ResponseFuture<F, S, Req, Rules<C, P, K>>
where
    F: Future<Output = Result<S::Response, S::Error>>,
    S: Service<Req, Future = F>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response, S::Error>,
    P: Policy<Req, S::Response, S::Error>,
    K: Gate<Req>,
{
    /// An attempt has no result yet.
    #[inline]
    fn calling<T>(self: Pin<&mut Self>) -> Poll<T> {
        let this = self.project();
        // The clock is read while the request is under way, and only where `max_elapsed` needs it.
        if this.started.is_none() && this.rules.limits.max_elapsed.is_some() {
            *this.started = Some(Instant::now());
        }
        Poll::Pending
    }

    /// An attempt has a result: it is that of the request, or another attempt follows.
    #[inline(always)]
    fn ended(
        self: Pin<&mut Self>,
        result: Result<S::Response, S::Error>,
    ) -> ControlFlow<Result<S::Response, BoxError>> {
        let this = self.as_ref().project_ref();
        let Outcome::Retryable { after } = this.rules.classifier.classify(&result) else {
            if this.session.is_some() {
                self.as_ref().finished();
            }
            return Break(result.map_err(boxed));
        };
        self.failed(result, after)
    }

    /// An attempt has ended with an error.
    #[cold]
    #[inline(never)]
    fn poll_after(
        mut self: Pin<&mut Self>,
        error: S::Error,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, BoxError>> {
        match self.as_mut().ended(Err(error)) {
            Break(result) => Poll::Ready(result),
            Continue(()) => self.poll_on(cx),
        }
    }

    #[cold]
    #[inline(never)]
    fn poll_on(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, BoxError>> {
        loop {
            let this = self.as_mut().project();
            match this.state.project() {
                // ## Waiting => (Waiting | Readying | an error)
                StateProj::Waiting => {
                    if let Some(session) = this.session.get() {
                        ready!(session.poll_wait(cx));
                    }
                    if let Break(error) = self.as_mut().pass_gate() {
                        return Poll::Ready(Err(error));
                    }
                }
                // ## Readying => (Calling | an error)
                StateProj::Readying => ready!(self.as_mut().poll_send(cx))?,
                // ## Calling => (Waiting | the result)
                StateProj::Calling { future } => {
                    let Poll::Ready(result) = future.poll(cx) else { return self.calling() };
                    if let Break(result) = self.as_mut().ended(result) {
                        return Poll::Ready(result);
                    }
                }
            }
        }
    }

    /// A later attempt has brought the result of the request.
    #[cold]
    fn finished(self: Pin<&Self>) {
        let this = self.project_ref();
        if let Some(begun) = this.session.begun().filter(|begun| *begun > 1) {
            this.rules.emit_event(|| RetryEvent::Finished { attempt: Attempt::new(begun) });
        }
    }

    /// An attempt failed in a way that may pass: the machine decides whether there is another, and when.
    #[cold]
    #[inline(never)]
    fn failed(
        self: Pin<&mut Self>,
        result: Result<S::Response, S::Error>,
        hint: Option<Duration>,
    ) -> ControlFlow<Result<S::Response, BoxError>> {
        let mut this = self.project();
        let rules = &**this.rules;

        // Whatever becomes of this request, the hint holds for the other calls with its key as well.
        if let Some(hint) = hint {
            rules.gate.hint(*this.key, hint.min(rules.limits.max_hint));
        }
        if rules.limits.max_retries == 0 {
            return Break(result.map_err(Into::into));
        }

        let cost = rules.policy.cost(&result);
        if let Some(request) = this.request.as_mut()
            && !rules.policy.narrow(request, &result)
        {
            return Break(result.map_err(Into::into));
        }

        let result = result.map_err(Into::into);
        let (marked, seen, elsewhere) = match &result {
            Ok(response) => (rules.policy.is_given_up(response), Seen::Yes, false),
            Err(error) => {
                let elsewhere = is_caused_by::<AnotherServer>(&**error);
                (is_caused_by::<RetriesExhausted>(&**error), Seen::of(&**error), elsewhere)
            }
        };
        if marked {
            // A retry further in has made its attempts: to repeat them would multiply the two.
            return Break(result);
        }

        let obstacle = match &*this.request {
            None => Some(StopReason::BodyNotReplayable),
            Some(request) => rules.policy.obstacle(request, result.as_ref().map_err(|_error| seen)),
        };
        let deadline = this.request.as_ref().and_then(|request| rules.policy.deadline(request));
        let held = rules.held(*this.key, false);
        let failure = Failure { hint, obstacle, seen, deadline, held, elsewhere };
        let now = Instant::now();
        let started = *this.started.get_or_insert(now);
        let mut session = this.session.get_or_insert(|| rules.attempts(1, started));
        let decided = {
            let session = session.as_mut().project();
            rules.decide(now, session.attempts, &failure, cost, session.hold, trace::cause(&result))
        };
        match decided {
            Ok(wait) => {
                session.as_mut().keep(result.err());
                session.wait_for(now, wait);
                this.state.set(State::Waiting);
                Continue(())
            }
            Err(gave_up) => Break(match result {
                Ok(mut response) => {
                    rules.policy.give_up(&mut response, gave_up);
                    Ok(response)
                }
                Err(error) => {
                    session.as_mut().keep(Some(error));
                    Err(session.exhausted(gave_up))
                }
            }),
        }
    }

    /// The wait is over: the attempt goes on to the inner service, unless a newer hint holds it further.
    fn pass_gate(self: Pin<&mut Self>) -> ControlFlow<BoxError> {
        let mut this = self.project();
        let rules = &**this.rules;
        let first = this.session.begun().unwrap_or(0) == 0;
        let Some(held) = rules.held(*this.key, first) else {
            this.state.set(State::Readying);
            return Continue(());
        };

        let now = Instant::now();
        let started = *this.started.get_or_insert(now);
        let mut session = this.session.get_or_insert(|| rules.attempts(0, started));
        let next = {
            let attempts = session.as_mut().project().attempts;
            if first {
                let deadline = this.request.as_ref().and_then(|request| rules.policy.deadline(request));
                attempts.limit(&rules.limits, deadline);
            }
            attempts.held(now, held)
        };
        let begun = session.attempts.begun();
        match next {
            Next::Wait(wait) => {
                session.wait_for(now, wait);
                rules.emit_event(|| RetryEvent::Held { attempt: Attempt::new(begun.saturating_add(1)), wait });
                Continue(())
            }
            Next::GiveUp(reason) if first => {
                rules.emit_event(|| RetryEvent::Refused { retry_in: held.wait });
                Break(Throttled::new(held.wait, reason).into())
            }
            Next::GiveUp(reason) => Break(rules.give_up_waiting(session, reason)),
        }
    }

    /// Sends the next attempt as soon as the inner service is ready for it.
    fn poll_send(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut this = self.project();
        let rules = &**this.rules;
        let (Some(service), Some(mut request)) = (this.service.as_mut(), this.request.take()) else {
            // Only `Calling` has neither, and it does not lead here.
            return Poll::Ready(Err("polled after the end".into()));
        };

        // CORRECTNESS: readiness is asked for before each attempt, of the instance that is called.
        match service.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                let error = error.into();
                let Some(mut session) = this.session.get().filter(|session| session.attempts.begun() > 0) else {
                    return Poll::Ready(Err(error));
                };
                session.as_mut().not_ready(error);
                return Poll::Ready(Err(rules.give_up_waiting(session, StopReason::NotReady)));
            }
            Poll::Pending => {
                *this.request = Some(request);
                let Some(mut session) = this.session.get() else { return Poll::Pending };
                let Some(end) = session.attempts.end() else { return Poll::Pending };
                // CORRECTNESS: two wakers are registered, the service's and the timer's: either wakes this future.
                if !session.is_waiting() {
                    session.as_mut().wait_until(end.at);
                }
                ready!(session.as_mut().poll_wait(cx));
                return Poll::Ready(Err(rules.give_up_waiting(session, end.reason)));
            }
        }

        let begun = this.session.get().map_or(1, |session| session.project().attempts.begin());
        *this.request = rules.copy(&request, begun);
        if begun > 1 {
            rules.policy.stamp(&mut request, Attempt::new(begun));
        }
        // CORRECTNESS: where the inner service panics in `call`, what a first attempt has earned is taken back here, and a retry
        // is refunded as the session is dropped.
        let earned = if begun == 1 { rules.deposit() } else { None };
        let future = service.call(request);
        if let Some(earned) = earned {
            earned.keep();
        }
        if let Some(session) = this.session.get() {
            session.sent();
        }
        this.state.set(State::Calling { future });
        if this.request.is_none() {
            *this.service = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<F, S, Req, R> fmt::Debug for ResponseFuture<F, S, Req, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, begun) = match self.state {
            State::Calling { .. } => ("Calling", 1),
            State::Waiting => ("Waiting", 0),
            State::Readying => ("Readying", 0),
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .field("attempts", &self.session.begun().unwrap_or(begun))
            .finish_non_exhaustive()
    }
}

/// Out of the way of what succeeds: the code that boxes is large, and it is written into every caller.
#[cold]
#[inline(never)]
pub(crate) fn boxed(error: impl Into<BoxError>) -> BoxError {
    error.into()
}

// === impl Rules ===

impl<C, P, K> Rules<C, P, K> {
    /// What the attempt after this one will send; `begun` attempts were begun, this one included.
    #[inline(always)]
    pub(crate) fn copy<Req, Res, Err>(&self, request: &Req, begun: u32) -> Option<Req>
    where
        P: Policy<Req, Res, Err>,
    {
        if self.limits.allows_after(begun) { self.policy.copy(request) } else { None }
    }

    /// What the throttle says of an attempt that would begin now.
    fn held<Req>(&self, key: u64, first: bool) -> Option<Held>
    where
        K: Gate<Req>,
    {
        self.gate.held(key, first).map(|wait| Held { wait, patience: self.gate.patience() })
    }

    /// The end is reached while there is no result at hand, only what was kept of the last one.
    fn give_up_waiting(&self, session: Pin<&mut Session>, reason: StopReason) -> BoxError {
        let gave_up = GaveUp::new(session.attempts.begun(), reason, None);
        self.gave_up(gave_up);
        session.exhausted(gave_up)
    }
}
