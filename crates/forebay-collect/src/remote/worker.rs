use super::{Configured, FetchError, FetchedConfig, RemoteStatus, builder::Validate};
use forebay_core::{chance::SplitMix64, panic, time::saturating_mul};
use futures_util::future::select;
use std::{
    fmt,
    future::{Future, poll_fn},
    ops::RangeInclusive,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// Fetches the configuration until the last [`RemoteConfig`](super::RemoteConfig) is dropped.
#[must_use = "a worker does nothing until `run` is polled"]
pub struct RemoteWorker<V> {
    pub(super) fetch: Fetch<V>,
    pub(super) validate: Validate<V>,
    pub(super) plan: FetchSchedule,
    pub(super) timeout: Duration,
    pub(super) sender: watch::Sender<Configured<V>>,
}

pub(super) type Fetch<V> = Box<dyn FnMut() -> Fetching<V> + Send>;
type Fetching<V> = Pin<Box<dyn Future<Output = Result<FetchedConfig<V>, FetchError>> + Send>>;

/// The times of the fetches. Pure: no clock.
#[derive(Debug)]
pub(super) struct FetchSchedule {
    pub(super) interval: Duration,
    pub(super) range: RangeInclusive<Duration>,
    pub(super) jitter: f64,
    pub(super) rng: SplitMix64,
}

// === impl RemoteWorker ===

impl<V: PartialEq + Send + Sync + 'static> RemoteWorker<V> {
    /// Fetches at once, and then at every interval, which each response may change.
    ///
    /// # Cancellation
    /// A dropped future ends the fetch that is under way; the current configuration stays.
    pub async fn run(mut self) {
        let sender = self.sender.clone();
        // CANCEL: the fetch under way is dropped when the last handle is. The other side never ends.
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
        let fetch = panic::catch(|| (self.fetch)()).map_err(|panic| FetchError::panicked(&panic))?;
        let mut fetch = pin!(Some(fetch));
        let fetched = timeout(self.timeout, poll_fn(|cx| panic::catch_poll(fetch.as_mut(), cx))).await;
        // CANCEL: a fetch that took too long is dropped here, where a panic of its `Drop` is caught.
        panic::discard_pinned(fetch.as_mut());
        let fetched = match fetched {
            Ok(Ok(fetched)) => fetched?,
            Ok(Err(panic)) => return Err(FetchError::panicked(&panic)),
            Err(_) => return Err(FetchError::timed_out(self.timeout)),
        };
        let FetchedConfig { value, refresh } = fetched;
        let valid = panic::catch(|| (self.validate)(&value)).map_err(|panic| FetchError::panicked(&panic))?;
        valid.map_err(FetchError::unreadable)?;
        // The interval is checked last, because it takes effect: a response is applied as a whole or not at all.
        self.plan.refresh(refresh).map_err(FetchError::unreadable)?;
        Ok(value)
    }

    fn publish(&self, fetched: Result<V, FetchError>) {
        // CORRECTNESS: value, status and counts change in one step, so that no reader sees half of it.
        self.sender.send_modify(|now| match fetched {
            Ok(value) => {
                now.successes += 1;
                now.status = RemoteStatus::Current;
                // An equal configuration keeps its pointer, so that readers can compare pointers.
                if now.value.as_deref() != Some(&value) {
                    now.value = Some(Arc::new(value));
                }
            }
            Err(error) => {
                now.failures += 1;
                if error.disables() {
                    // A server that refuses this client withdraws the configuration.
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

// === impl FetchSchedule ===

impl FetchSchedule {
    /// Sets the interval that the server asks for, or returns why it is not valid.
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

    /// The wait before the next fetch; `hint` is the wait that the server asked for.
    fn wait(&mut self, hint: Option<Duration>) -> Duration {
        let share = 1.0 + self.jitter * (2.0 * self.rng.unit() - 1.0);
        let hint = hint.unwrap_or_default().min(*self.range.end());
        saturating_mul(self.interval, share).max(hint)
    }
}
