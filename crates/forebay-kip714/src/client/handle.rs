use super::{
    builder::ClientBuilder,
    shared::{Report, Shared, Status},
};
use crate::{labels::ClientLabels, wire::InstanceId};
use forebay_core::{Totals, time::saturating_add};
use forebay_intake::within;
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Sends the metrics of one Kafka client to its cluster, as the cluster asks for them.
///
/// Cheap to clone; all clones are one client, with one id. It has one task, which asks the sources when a push is due;
/// the host is never called on its own path, and nothing here blocks or fails.
///
/// When the last clone is dropped, the client ends as by [`shutdown`](Self::shutdown) with
/// [`DROP_DEADLINE`](Self::DROP_DEADLINE), as long as the runtime lives.
#[derive(Clone)]
pub struct Kip714Client {
    owned: Arc<Owned>,
}

/// What ends with the last handle.
struct Owned {
    shared: Arc<Shared>,
}

// === impl Kip714Client ===

impl Kip714Client {
    /// How long a client that was dropped may take for its last push.
    pub const DROP_DEADLINE: Duration = Duration::from_secs(5);

    /// What can be configured, with its defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { owned: Arc::new(Owned { shared }) }
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.owned.shared.status()
    }

    /// What became of every series of every push so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.owned.shared.totals()
    }

    /// The id that the cluster gave to this client, to find its metrics by; waits for it up to `patience`.
    ///
    /// `None` if there is none by then, or if there will be none any more.
    pub async fn instance_id(&self, patience: Duration) -> Option<InstanceId> {
        let mut status = self.owned.shared.watch();
        // An id that comes too late is not there, and neither is one that never comes.
        if let Some(Ok(status)) = within(patience, status.wait_for(|now| now.ended || !now.instance_id.is_nil())).await
        {
            return Some(status.instance_id).filter(|id| !id.is_nil());
        }
        None
    }

    /// Other labels, from the next push on: a consumer gets a new member id with each join.
    pub fn set_labels(&self, labels: ClientLabels) {
        self.owned.shared.set_labels(labels);
    }

    /// Ends the client: waits for a request that is under way, sends a last push if a subscription is in force, and is
    /// done after `deadline` at the latest, whatever the brokers do.
    ///
    /// Others that shut down at the same time wait for the same end; the earliest deadline counts.
    ///
    /// # Cancellation
    ///
    /// A dropped shutdown leaves the client ending.
    pub async fn shutdown(&self, deadline: Duration) -> Report {
        let shared = &self.owned.shared;
        let now = Instant::now();
        let by = after(now, deadline);
        shared.close(by);
        let mut status = shared.watch();
        // Without the runtime of its task the status never says that it has ended.
        let spare = Duration::from_millis(20);
        let left = by.saturating_duration_since(now).saturating_add(spare);
        let _ended_or_late = within(left, status.wait_for(|now| now.ended)).await.is_some();
        Report { totals: shared.totals(), status: shared.status() }
    }
}

impl fmt::Debug for Kip714Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kip714Client").field("status", &self.status()).finish_non_exhaustive()
    }
}

// === impl Owned ===

impl Drop for Owned {
    fn drop(&mut self) {
        self.shared.close(after(Instant::now(), Kip714Client::DROP_DEADLINE));
    }
}

fn after(at: Instant, wait: Duration) -> Instant {
    Instant::from_std(saturating_add(at.into_std(), wait))
}
