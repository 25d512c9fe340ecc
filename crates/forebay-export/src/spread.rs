//! Clients whose requests one server held at a time do not come back at one time.

use crate::TransportError;
use forebay_core::{
    BoxError, Boxed, ByError, Classify, Outcome, chance,
    time::{saturating_add, saturating_mul},
};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

/// Reports a connection that was lost while a request was on it after a wait: any share of ten times the attempt, 10 s at most.
///
/// A server that hung resets all open connections when it restarts, so the attempts of all its clients fail at one instant. The
/// jitter of a first retry is a tenth of a second, and would bring all of them back within it. A response, or a timeout of the
/// client's own, comes to each client at a time of its own, and is reported at once.
#[derive(Clone, Debug)]
pub(crate) struct Spread<S> {
    attempt: S,
}

/// Of clients whose attempts take less, few are under way at one instant.
const LONG: Duration = Duration::from_millis(250);

/// How many times the attempt the longest wait is.
const TIMES: u32 = 10;

/// The longest wait, whatever an attempt may take: as long as the longest wait of the default retry.
const MOST: Duration = Duration::from_secs(10);

pin_project! {
    /// The future of [`Spread`].
    #[project = SpreadProj]
    pub(crate) enum SpreadFuture<F> {
        /// The attempt is under way.
        Running { #[pin] attempt: F, start: Instant },
        /// It has failed with an error that is taken out at the end of the wait.
        Failed { error: Option<BoxError>, #[pin] wait: Sleep },
    }
}

// === impl Spread ===

impl<S> Spread<S> {
    pub(crate) fn new(attempt: S) -> Self {
        Self { attempt }
    }
}

impl<S, Req> Service<Req> for Spread<S>
where
    S: Service<Req, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = SpreadFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.attempt.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        SpreadFuture::Running { attempt: self.attempt.call(request), start: Instant::now() }
    }
}

/// Whether the server, or what is between, has ended the connection.
fn is_lost(error: &BoxError) -> bool {
    error.downcast_ref::<TransportError>().is_some_and(TransportError::is_lost)
}

// === impl SpreadFuture ===

impl<F, Res> Future for SpreadFuture<F>
where
    F: Future<Output = Result<Res, BoxError>>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            let next = match self.as_mut().project() {
                // ## Running => (ended | Failed)
                SpreadProj::Running { attempt, start } => {
                    let result = ready!(attempt.poll(cx));
                    let took = start.elapsed();
                    // A hint of the server says itself when to come again, and what is final does not come again.
                    let comes_again =
                        matches!(ByError::<Boxed>::new().classify(&result), Outcome::Retryable { after: None });
                    match result {
                        Err(error) if took >= LONG && comes_again && is_lost(&error) => {
                            let share = chance::SplitMix64::new(chance::entropy()).unit();
                            let wait = saturating_mul(took.saturating_mul(TIMES).min(MOST), share);
                            let until = saturating_add(Instant::now().into_std(), wait);
                            Self::Failed { error: Some(error), wait: sleep_until(Instant::from_std(until)) }
                        }
                        result => return Poll::Ready(result),
                    }
                }
                // ## Failed => ended
                // CANCEL: a dropped future drops its error, of which the caller that drops it does not want to know.
                SpreadProj::Failed { error, wait } => {
                    ready!(wait.poll(cx));
                    let error = error.take().unwrap_or_else(|| BoxError::from("polled after it was ready"));
                    return Poll::Ready(Err(error));
                }
            };
            self.set(next);
        }
    }
}
