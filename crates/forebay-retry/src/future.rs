//! The future returned by [`Retry`](crate::Retry).
//!
//! What runs for every first attempt is `#[inline(always)]`: left to the compiler, a program that uses one type of retry
//! in more than one place paid 14 ns for it where it pays 4.

use crate::{
    Attempt, Event, Gate, GaveUp, Policy, RetriesExhausted, Throttled, Why,
    limits::End,
    rules::Rules,
    session::{Session, Slot},
    trace::{self, Cause},
};
use forebay_core::{BoxError, Classify, Observe, Outcome, is_caused_by};
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
    /// CANCEL: dropping it drops the attempt that is on its way, or the wait. A retry that was not sent is refunded.
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
        // How many were begun.
        attempts: u32,
        // When the first attempt had to wait for the first time.
        started: Option<Instant>,
        session: Slot,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // An attempt is on its way.
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
        Self {
            state: State::Waiting,
            service: None,
            request,
            rules,
            key,
            attempts: 0,
            started: None,
            session: Slot::EMPTY,
        }
    }

    /// Whether there can be another attempt.
    #[inline(always)]
    pub(crate) fn can_repeat(&self) -> bool {
        self.request.is_some()
    }

    /// The first attempt is on its way; `service` is for those that may follow.
    #[inline(always)]
    pub(crate) fn begin(&mut self, future: F, service: Option<S>) {
        self.state = State::Calling { future };
        self.service = service;
        self.attempts = 1;
    }

    /// The first attempt is held back, and will be made by `service`.
    pub(crate) fn hold(&mut self, service: S) {
        self.service = Some(service);
    }
}

impl<F, S, Req, C, P, K, O> Future for ResponseFuture<F, S, Req, Rules<C, P, K, O>>
where
    F: Future<Output = Result<S::Response, S::Error>>,
    S: Service<Req, Future = F>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response, S::Error>,
    P: Policy<Req, S::Response, S::Error>,
    K: Gate<Req>,
    O: Observe<Event>,
{
    type Output = Result<S::Response, BoxError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The first attempt is most often the only one: it is polled without the loop of all that may follow.
        if let StateProj::Calling { future } = self.as_mut().project().state.project() {
            let Poll::Ready(result) = future.poll(cx) else { return self.begun() };
            // Taken apart here: a response that no error can take the place of need not be laid into memory for a
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

impl<F, S, Req, C, P, K, O> ResponseFuture<F, S, Req, Rules<C, P, K, O>>
where
    F: Future<Output = Result<S::Response, S::Error>>,
    S: Service<Req, Future = F>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response, S::Error>,
    P: Policy<Req, S::Response, S::Error>,
    K: Gate<Req>,
    O: Observe<Event>,
{
    /// An attempt has to wait for its result.
    #[inline]
    fn begun<T>(self: Pin<&mut Self>) -> Poll<T> {
        let this = self.project();
        // The clock is read while the request is under way, and only if somebody asks for it.
        if this.started.is_none() && this.rules.limits.max_elapsed.is_some() {
            *this.started = Some(Instant::now());
        }
        Poll::Pending
    }

    /// An attempt has a result: that of the request, or is there another attempt?
    #[inline(always)]
    fn ended(
        self: Pin<&mut Self>,
        result: Result<S::Response, S::Error>,
    ) -> ControlFlow<Result<S::Response, BoxError>> {
        let this = self.as_ref().project_ref();
        let Outcome::Retryable { after } = this.rules.classifier.classify(&result) else {
            if *this.attempts > 1 {
                this.rules.tell(|| Event::Settled { attempt: Attempt::new(*this.attempts) });
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
                    if let Break(error) = self.as_mut().look_at_gate() {
                        return Poll::Ready(Err(error));
                    }
                }
                // ## Readying => (Calling | an error)
                StateProj::Readying => ready!(self.as_mut().poll_send(cx))?,
                // ## Calling => (Waiting | the result)
                StateProj::Calling { future } => {
                    let Poll::Ready(result) = future.poll(cx) else { return self.begun() };
                    if let Break(result) = self.as_mut().ended(result) {
                        return Poll::Ready(result);
                    }
                }
            }
        }
    }

    /// An attempt failed in a way that may pass: is there another, and when?
    #[cold]
    #[inline(never)]
    fn failed(
        self: Pin<&mut Self>,
        result: Result<S::Response, S::Error>,
        hint: Option<Duration>,
    ) -> ControlFlow<Result<S::Response, BoxError>> {
        let mut this = self.project();
        let (rules, attempts) = (&**this.rules, *this.attempts);

        // Whatever becomes of this request: what the far side asked for is asked of the others as well.
        if let Some(hint) = hint {
            rules.gate.hint(*this.key, hint);
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
        let marked = match &result {
            Ok(response) => rules.policy.is_given_up(response),
            Err(error) => is_caused_by::<RetriesExhausted>(&**error),
        };
        if marked {
            // A retry further in has made its attempts: to repeat them would multiply the two.
            return Break(result);
        }

        let now = Instant::now();
        let started = *this.started.get_or_insert(now);
        let mut session = this.session.get_or_insert(|| rules.delays());
        let planned = rules.limits.check(attempts, this.request.is_some(), hint).and_then(|()| {
            let session = session.as_mut().project();
            let mut wait = session.delays.next_after(hint);
            let deadline = this.request.as_ref().and_then(|request| rules.policy.deadline(request));
            *session.end = rules.limits.end(started, deadline);
            if let Some(held) = rules.gate.held(*this.key, false) {
                if held > rules.gate.patience() {
                    return Err(Why::Throttled);
                }
                wait = wait.max(held);
            }
            End::check(*session.end, now, wait)?;
            // Last, because it pays.
            if let Some(budget) = &rules.budget {
                *session.hold = Some(budget.withdraw(cost).ok_or(Why::Budget)?);
            }
            Ok(wait)
        });

        match planned {
            Ok(wait) => {
                trace::retrying(attempts, wait, hint, Cause::of(&result));
                session.as_mut().learn(result.err());
                session.wait_for(now, wait);
                rules.tell(|| Event::Retrying { attempt: Attempt::new(attempts), wait, hint });
                this.state.set(State::Waiting);
                Continue(())
            }
            Err(why) => {
                let gave_up = GaveUp::new(attempts, why);
                trace::gave_up(gave_up);
                rules.tell(|| Event::GaveUp(gave_up));
                Break(match result {
                    Ok(mut response) => {
                        rules.policy.give_up(&mut response, gave_up);
                        Ok(response)
                    }
                    Err(error) => {
                        session.as_mut().learn(Some(error));
                        Err(session.exhausted(gave_up))
                    }
                })
            }
        }
    }

    /// The wait is over: has the far side asked for another one meanwhile?
    fn look_at_gate(self: Pin<&mut Self>) -> ControlFlow<BoxError> {
        let mut this = self.project();
        let (rules, attempts) = (&**this.rules, *this.attempts);
        let Some(wait) = rules.gate.held(*this.key, attempts == 0) else {
            this.state.set(State::Readying);
            return Continue(());
        };

        let now = Instant::now();
        let started = *this.started.get_or_insert(now);
        let mut session = this.session.get_or_insert(|| rules.delays());
        if attempts == 0 {
            let deadline = this.request.as_ref().and_then(|request| rules.policy.deadline(request));
            *session.as_mut().project().end = rules.limits.end(started, deadline);
        }
        let held = session.as_mut().hold_back(now, wait, rules.gate.patience());
        match held {
            Ok(()) => {
                session.wait_for(now, wait);
                rules.tell(|| Event::Held { attempt: Attempt::new(attempts + 1), wait });
                Continue(())
            }
            Err(_) if attempts == 0 => {
                rules.tell(|| Event::Refused { retry_in: wait });
                Break(Throttled::new(wait).into())
            }
            Err(why) => Break(rules.give_up_waiting(session, GaveUp::new(attempts, why))),
        }
    }

    /// Sends the next attempt as soon as the inner service is ready for it.
    fn poll_send(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut this = self.project();
        let rules = &**this.rules;
        let (Some(service), Some(mut request)) = (this.service.as_mut(), this.request.take()) else {
            // Only `Calling` comes without both, and it does not lead here.
            return Poll::Ready(Err("polled after the end".into()));
        };

        // CORRECTNESS: readiness is asked for anew before each attempt, of the instance that is called.
        match service.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                let error = error.into();
                let Some(mut session) = this.session.get().filter(|_| *this.attempts > 0) else {
                    return Poll::Ready(Err(error));
                };
                session.as_mut().learn(Some(error));
                let gave_up = GaveUp::new(*this.attempts, Why::NotReady);
                return Poll::Ready(Err(rules.give_up_waiting(session, gave_up)));
            }
            Poll::Pending => {
                *this.request = Some(request);
                let Some(mut session) = this.session.get() else { return Poll::Pending };
                let Some(end) = session.end else { return Poll::Pending };
                // CORRECTNESS: two wakers are registered, the service's and the timer's, for who comes first.
                if !session.is_waiting() {
                    session.as_mut().wait_until(end.at);
                }
                ready!(session.as_mut().poll_wait(cx));
                let gave_up = GaveUp::new(*this.attempts, end.why);
                return Poll::Ready(Err(rules.give_up_waiting(session, gave_up)));
            }
        }

        *this.attempts = this.attempts.saturating_add(1);
        let attempts = *this.attempts;
        let copy = if rules.limits.allows_after(attempts) { rules.policy.copy(&request) } else { None };
        *this.request = copy;
        if attempts > 1 {
            rules.policy.stamp(&mut request, Attempt::new(attempts));
        } else if let Some(budget) = &rules.budget {
            budget.deposit();
        }
        let future = service.call(request);
        // CORRECTNESS: after the call: where the inner service panics in it, the retry was not sent, and is refunded.
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
        let state = match self.state {
            State::Calling { .. } => "Calling",
            State::Waiting => "Waiting",
            State::Readying => "Readying",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// Out of the way of what succeeds: what makes a box is a good deal of code, and it is written into every caller.
#[cold]
#[inline(never)]
pub(crate) fn boxed(error: impl Into<BoxError>) -> BoxError {
    error.into()
}

// === impl Rules ===

impl<C, P, K, O: Observe<Event>> Rules<C, P, K, O> {
    #[inline]
    fn tell(&self, event: impl FnOnce() -> Event) {
        if self.observer.enabled() {
            self.observer.observe(&event());
        }
    }

    /// The end comes while there is no result at hand, only what was kept of the last one.
    fn give_up_waiting(&self, session: Pin<&mut Session>, gave_up: GaveUp) -> BoxError {
        trace::gave_up(gave_up);
        self.tell(|| Event::GaveUp(gave_up));
        session.exhausted(gave_up)
    }
}
