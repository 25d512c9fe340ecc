//! What lies in the spool is sent again when Kafka is back.

use crate::{Event, overflow::Overflow, pipeline::DESTINATION};
use forebay::{
    batch::{BatchHandle, Items},
    core::{BoxError, Fate, ItemFate, Settlement},
};
use forebay_spool::{
    Disposition, Lease, Spool, SpoolError,
    replay::{Next, Replay, ReplayPolicy},
};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Service, ServiceExt};

/// What became of one lease.
struct Sent {
    /// Records of this run that were delivered, and that Kafka never takes.
    delivered: u64,
    refused: u64,
    /// Whether Kafka is away, and how long the circuit stays open.
    is_away: bool,
    after: Option<Duration>,
}

/// Leases, sends through `kafka`, and settles, one lease at a time, until the future is dropped or the spool is closed.
///
/// `kafka` is a clone of the service below the batcher, so that both share one circuit.
pub(crate) async fn replay<S>(overflow: Overflow, mut kafka: S, live: BatchHandle<Event>, policy: ReplayPolicy)
where
    S: Service<Items<Event>, Response = Vec<ItemFate>, Error = BoxError>,
{
    let mut machine = Replay::new(policy, now());
    // Events that left the spool, and that the ledger does not count as spooled yet.
    let (mut delivered, mut refused) = (0, 0);
    loop {
        match machine.next(now(), live.is_behind()) {
            Next::Lease(want) => match overflow.spool.lease(DESTINATION, want).await {
                Ok(Some(lease)) => {
                    machine.leased(now(), lease.records().len());
                    let Ok(sent) = send(&overflow, &mut kafka, lease).await else { return };
                    delivered += sent.delivered;
                    refused += sent.refused;
                    if sent.is_away { machine.failed(now(), sent.after) } else { machine.delivered(now()) }
                }
                Ok(None) => sleep_until(Instant::from_std(machine.nothing(now()))).await,
                // The spool is closed.
                Err(_) => return,
            },
            Next::Wait(until) => sleep_until(Instant::from_std(until)).await,
            // One lease at a time is out, and it has ended here.
            Next::Busy => sleep(Duration::from_millis(10)).await,
        }
        // The batcher counts a batch as spooled when its worker sees the end of the append, which may be after this.
        delivered -= live.settle_spooled(Fate::Delivered, delivered);
        refused -= live.settle_spooled(Fate::Dropped(forebay::core::DropReason::Rejected), refused);
    }
}

async fn send<S>(overflow: &Overflow, kafka: &mut S, lease: Lease) -> Result<Sent, SpoolError>
where
    S: Service<Items<Event>, Response = Vec<ItemFate>, Error = BoxError>,
{
    let found: Vec<_> = lease.records().iter().map(|record| overflow.event(record)).collect();
    let events: Vec<_> = found.iter().flatten().map(|(event, _)| event.clone()).collect();
    let (count, mut sent) = (events.len(), Sent { delivered: 0, refused: 0, is_away: false, after: None });
    let result = match kafka.ready().await {
        Ok(kafka) => kafka.call(Items::new(events)).await,
        Err(error) => Err(error),
    };
    let fates = match result {
        Ok(fates) => fates,
        Err(error) => {
            sent.is_away = true;
            if let Settlement::Retry { after, .. } = Settlement::of_error(&error) {
                sent.after = after;
            }
            vec![ItemFate::Retry(forebay::core::DropReason::RetriesExhausted); count]
        }
    };
    let mut fates = fates.into_iter();
    let dispositions = found.into_iter().map(|found| {
        let Some((_, is_own)) = found else { return Disposition::Quarantine("not written by this program".to_owned()) };
        match fates.next() {
            Some(ItemFate::Final(Fate::Delivered)) => {
                sent.delivered += u64::from(is_own);
                Disposition::Delivered
            }
            Some(ItemFate::Final(fate)) => {
                sent.refused += u64::from(is_own);
                Disposition::Quarantine(fate.to_string())
            }
            // Kafka was not there for it, which counts against no record.
            Some(ItemFate::Retry(_)) | None => Disposition::GiveBack,
        }
    });
    let dispositions = dispositions.collect();
    overflow.spool.settle(lease, dispositions).await?;
    Ok(sent)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
