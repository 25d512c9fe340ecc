use crate::{
    Attempt, Policy, RetryEvent, RetryLayer,
    attempts::{Attempts, Failure},
    budget::Withdrawal,
};
use forebay_core::{Classify, Outcome, Seen};
use std::future::Future;
use tokio::time::{Instant, sleep};

// === impl RetryLayer ===

impl<C, P> RetryLayer<C, P> {
    /// Runs an operation, and runs it again when its failure may pass: retry without a service.
    ///
    /// `operation` starts one attempt. The classifier, the limits, the backoff, the budget and the observer are those of
    /// the layer, and the same machine decides. What a [`Policy`] says of the request `()` counts (its cost and its
    /// deadline); there is no throttle.
    ///
    /// ```
    /// use forebay_retry::RetryLayer;
    /// use std::io;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), io::Error> {
    /// # let mut attempt = 0;
    /// # let mut fetch = || { attempt += 1; let ok = attempt == 3; async move {
    /// #     if ok { Ok(7) } else { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) }
    /// # }};
    /// let retry = RetryLayer::default();
    /// let row = retry.run(|| fetch()).await?;
    /// assert_eq!(row, 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the last attempt, as it is. A response that is retryable and that no other attempt follows is returned
    /// as well. An observer sees why there was no other attempt ([`RetryEvent::GaveUp`]).
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the attempt that is under way, or the wait. A retry that was paid for and not started is
    /// refunded. Nothing is spawned.
    ///
    /// # Panics
    ///
    /// When it has to wait outside of a tokio runtime with timers.
    pub async fn run<T, E, Op, F>(&self, mut operation: Op) -> Result<T, E>
    where
        Op: FnMut() -> F,
        F: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
        P: Policy<(), T, E>,
    {
        let rules = &*self.rules;
        // The clock is read before the first attempt only where `max_elapsed` counts from there.
        let started = rules.limits.max_elapsed.map(|_| Instant::now());
        let mut attempts: Option<Attempts> = None;
        let mut hold = None;
        loop {
            // CORRECTNESS: where the start panics, what a first attempt has earned is taken back, and a retry is refunded as
            // `hold` is dropped.
            let earned = if attempts.is_none() { rules.deposit() } else { None };
            let future = operation();
            if let Some(earned) = earned {
                earned.keep();
            }
            if let Some(attempts) = &mut attempts {
                attempts.begin();
            }
            if let Some(hold) = hold.take() {
                Withdrawal::spend(hold);
            }

            let result = future.await;
            let Outcome::Retryable { after: hint } = rules.classifier.classify(&result) else {
                if let Some(begun) = attempts.map(|attempts| attempts.begun()) {
                    rules.emit_event(|| RetryEvent::Finished { attempt: Attempt::new(begun) });
                }
                return result;
            };
            if rules.limits.max_retries == 0 {
                return result;
            }

            let now = Instant::now();
            let attempts = attempts.get_or_insert_with(|| rules.attempts(1, started.unwrap_or(now)));
            let deadline = rules.policy.deadline(&());
            let seen = if result.is_ok() { Seen::Yes } else { Seen::Maybe };
            let failure = Failure { hint, obstacle: None, seen, deadline, held: None, elsewhere: false };
            let cost = rules.policy.cost(&result);
            let cause = if result.is_ok() { "response" } else { "error" };
            let Ok(wait) = rules.decide(now, attempts, &failure, cost, &mut hold, cause) else { return result };
            // The result may hold a connection: it is not kept over the wait.
            drop(result);
            if !wait.is_zero() {
                // CANCEL: `hold` is dropped with the future, which refunds the retry.
                sleep(wait).await;
            }
        }
    }
}
