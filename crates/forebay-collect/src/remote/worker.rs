use super::{Configured, FetchError, FetchedConfig, RemoteStatus, builder::Validate};
use crate::guard::text_of;
use forebay_core::{chance::SplitMix64, time::saturating_mul};
use futures_util::{FutureExt, future::select};
use std::{
    fmt,
    future::Future,
    ops::RangeInclusive,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// Fetches the configuration until every [`RemoteConfig`](super::RemoteConfig) is gone.
#[must_use = "a worker does nothing until `run` is polled"]
pub struct RemoteWorker<V> {
    pub(super) fetch: Fetch<V>,
    pub(super) validate: Validate<V>,
    pub(super) plan: Plan,
    pub(super) timeout: Duration,
    pub(super) sender: watch::Sender<Configured<V>>,
}

pub(super) type Fetch<V> = Box<dyn FnMut() -> Fetching<V> + Send>;
type Fetching<V> = Pin<Box<dyn Future<Output = Result<FetchedConfig<V>, FetchError>> + Send>>;

/// When to ask again. Pure: no clock.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) interval: Duration,
    pub(super) range: RangeInclusive<Duration>,
    pub(super) jitter: f64,
    pub(super) rng: SplitMix64,
}

// === impl RemoteWorker ===

impl<V: PartialEq + Send + Sync + 'static> RemoteWorker<V> {
    /// Asks the server at once, and then at every interval, which may be another one with each answer.
    ///
    /// # Cancellation
    /// Dropping the future ends a fetch that is under way; the configuration in use stays.
    pub async fn run(mut self) {
        let sender = self.sender.clone();
        // Whichever it is, it is over.
        let _either = select(pin!(sender.closed()), pin!(self.fetch_for_ever())).await;
    }

    async fn fetch_for_ever(&mut self) {
        loop {
            let fetched = self.fetch_once().await;
            let wait = self.plan.wait(fetched.as_ref().err().and_then(FetchError::wait));
            self.publish(fetched);
            sleep(wait).await;
        }
    }

    async fn fetch_once(&mut self) -> Result<V, FetchError> {
        let fetch = &mut self.fetch;
        let fetching = AssertUnwindSafe(async { fetch().await }).catch_unwind();
        let fetched = match timeout(self.timeout, fetching).await {
            Ok(Ok(fetched)) => fetched?,
            Ok(Err(panic)) => return Err(FetchError::panicked(text_of(panic))),
            Err(_) => return Err(FetchError::timed_out(self.timeout)),
        };
        let FetchedConfig { value, refresh } = fetched;
        let sensible = crate::guard::guarded(|| (self.validate)(&value)).map_err(FetchError::panicked)?;
        sensible.map_err(FetchError::unreadable)?;
        // Last, for it takes effect: an answer is taken as a whole or not at all.
        self.plan.refresh(refresh).map_err(FetchError::unreadable)?;
        Ok(value)
    }

    fn publish(&self, fetched: Result<V, FetchError>) {
        self.sender.send_modify(|now| match fetched {
            Ok(value) => {
                now.successes += 1;
                now.status = RemoteStatus::Current;
                // Whoever compares pointers sees that nothing has changed.
                if now.value.as_deref() != Some(&value) {
                    now.value = Some(Arc::new(value));
                }
            }
            Err(error) => {
                now.failures += 1;
                if error.disables() {
                    now.value = None;
                    now.status = RemoteStatus::Disabled(error);
                } else if !matches!(now.status, RemoteStatus::Disabled(_)) {
                    now.status = RemoteStatus::Kept(error);
                }
            }
        });
    }
}

impl<V> fmt::Debug for RemoteWorker<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteWorker").field("plan", &self.plan).finish_non_exhaustive()
    }
}

// === impl Plan ===

impl Plan {
    /// Takes the server's interval, or says why not.
    fn refresh(&mut self, interval: Option<Duration>) -> Result<(), String> {
        match interval {
            Some(interval) if !self.range.contains(&interval) => {
                let (least, most) = (self.range.start(), self.range.end());
                Err(format!("an interval of {interval:?} is not within {least:?} to {most:?}"))
            }
            Some(interval) => {
                self.interval = interval;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// How long to wait until the next fetch; `hint` is what the server asked for.
    fn wait(&mut self, hint: Option<Duration>) -> Duration {
        let share = 1.0 + self.jitter * (2.0 * self.rng.unit() - 1.0);
        let hint = hint.unwrap_or_default().min(*self.range.end());
        saturating_mul(self.interval, share).max(hint)
    }
}
