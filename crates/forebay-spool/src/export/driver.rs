//! Leases, sends and settles, when and how much the pure machine of [`Replay`] says.

use super::{Codec, Shared, books::Counts};
use crate::{
    Disposition, Lease, Record, Spool, SpoolError, SpoolErrorKind, Want,
    replay::{Next, Replay, ReplayPolicy},
};
use forebay_core::{panic, time::saturating_add};
use forebay_export::{Origin, ReplayFate, Replayed, Replayer, SpoolTask};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

/// The replay of one destination.
pub(super) struct Driver<T, C> {
    spool: Arc<dyn Spool>,
    destination: String,
    codec: Arc<C>,
    machine: Replay,
    shared: Arc<Shared>,
    replayer: Replayer<T>,
    /// The leases that are being sent; as few as the policy allows.
    sending: Vec<SpoolTask<Sent>>,
    /// After a lease that failed for what is in it: how many records the next ones have at most.
    careful: Option<Careful>,
    /// When the books were last compared with the spool.
    compared: Option<Instant>,
}

/// Smaller leases, so that a record that makes each request fail is soon alone.
#[derive(Clone, Copy, Debug)]
struct Careful {
    /// Records of a lease, at most.
    most: usize,
    /// Records that have yet to be settled so, which are as many as have failed.
    left: usize,
}

/// What became of one lease.
struct Sent {
    /// One for each record.
    fates: Vec<(Origin, ReplayFate)>,
    is_away: bool,
    after: Option<Duration>,
    /// Records that were given back, as far as the spool could say.
    given_back: Option<u64>,
}

/// How often the books are compared with the spool, unless it is idle.
const COMPARE: Duration = Duration::from_secs(1);

/// A lease that failed is followed by ones with an eighth of its records: by default five failures make a dead letter, and three
/// of these steps lead from the largest lease to a single record.
const NARROWER: usize = 8;

/// The longest reason of a dead letter, in bytes.
const MAX_REASON: usize = 200;

// === impl Driver ===

impl<T: Send + Sync + 'static, C: Codec<T>> Driver<T, C> {
    pub(super) fn new(
        spool: Arc<dyn Spool>,
        destination: String,
        codec: Arc<C>,
        policy: ReplayPolicy,
        shared: Arc<Shared>,
        replayer: Replayer<T>,
    ) -> Self {
        let machine = Replay::new(policy, clock());
        let (sending, careful, compared) = (Vec::new(), None, None);
        Self { spool, destination, codec, machine, shared, replayer, sending, careful, compared }
    }

    /// Ends when the spool is closed.
    pub(super) async fn run(mut self) {
        loop {
            let now = clock();
            if self.sending.is_empty() && self.compared.is_none_or(|at| now >= saturating_add(at, COMPARE)) {
                self.compare(now).await;
            }
            let next = match self.replayer.is_on() {
                true => self.machine.next(now, self.replayer.live_waits()),
                false => Next::Wait(self.machine.nothing(now)),
            };
            let until = match next {
                Next::Lease(want) => match self.spool.lease(&self.destination, self.narrowed(want)).await {
                    Ok(Some(lease)) => {
                        self.machine.leased(now, lease.records().len());
                        self.sending.push(Box::pin(send(
                            Arc::clone(&self.spool),
                            Arc::clone(&self.codec),
                            self.replayer.clone(),
                            Arc::clone(&self.shared),
                            lease,
                        )));
                        continue;
                    }
                    // CORRECTNESS: an append since the lease has left a permit, which ends the wait at once.
                    Ok(None) => Some(self.machine.nothing(now)),
                    Err(error) if is_final(&error) => return,
                    Err(_for_now) => Some(self.machine.nothing(now)),
                },
                Next::Wait(until) => Some(until),
                Next::Busy => None,
            };
            if let Some(sent) = self.wait(until).await {
                self.settled(&sent);
            }
        }
    }

    /// Waits for the end of a lease, for an append, or until then.
    async fn wait(&mut self, until: Option<Instant>) -> Option<Sent> {
        let (sending, shared) = (&mut self.sending, &self.shared);
        let mut appended = pin!(shared.appended.notified());
        let mut timer = pin!(async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        });
        poll_fn(|cx| {
            for index in 0..sending.len() {
                // Each of them is polled, so that each has registered this task.
                if let Some(Poll::Ready(sent)) = sending.get_mut(index).map(|sending| sending.as_mut().poll(cx)) {
                    drop(sending.swap_remove(index));
                    return Poll::Ready(Some(sent));
                }
            }
            if appended.as_mut().poll(cx).is_ready() || timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    fn narrowed(&self, want: Want) -> Want {
        Want { records: self.careful.map_or(want.records, |careful| want.records.min(careful.most)), ..want }
    }

    /// A lease has ended: the machine and the counts follow.
    fn settled(&mut self, sent: &Sent) {
        let now = clock();
        let count = |origin: Origin, which: fn(ReplayFate) -> bool| {
            sent.fates.iter().filter(|(of, fate)| *of == origin && which(*fate)).count() as u64
        };
        for origin in [Origin::Own, Origin::Recovered] {
            let taken = count(origin, |fate| fate == ReplayFate::Delivered);
            self.leave(taken, origin, Replayer::delivered);
            let refused = count(origin, |fate| matches!(fate, ReplayFate::Refused(_)));
            self.leave(refused, origin, Replayer::quarantined);
        }
        // Of those that failed some may have failed too often; the rest of what has left was evicted while it was leased.
        let kept = |fate: ReplayFate| matches!(fate, ReplayFate::Failed | ReplayFate::GivenBack);
        let all_kept = count(Origin::Own, kept) + count(Origin::Recovered, kept);
        let mut left = all_kept.saturating_sub(sent.given_back.unwrap_or(all_kept));
        for origin in [Origin::Recovered, Origin::Own] {
            let dead = left.min(count(origin, |fate| fate == ReplayFate::Failed));
            self.leave(dead, origin, Replayer::quarantined);
            left -= dead;
        }
        self.leave(left, Origin::Recovered, Replayer::evicted);
        let records = sent.fates.len();
        let left = self.careful.map_or(0, |careful| careful.left);
        if sent.fates.iter().any(|(_, fate)| *fate == ReplayFate::Failed) {
            self.careful = Some(Careful { most: (records / NARROWER).max(1), left: left.max(records) });
        } else if let Some(careful) = &mut self.careful {
            careful.left = left.saturating_sub(records);
            self.careful.take_if(|careful| careful.left == 0);
        }
        if sent.is_away {
            self.machine.failed(now, sent.after);
        } else {
            // A server that refuses items is there all the same.
            self.machine.delivered(now);
        }
    }

    /// Records of `origin` have left the spool: `report` says why.
    fn leave(&self, records: u64, origin: Origin, report: fn(&Replayer<T>, u64, Origin)) {
        if records > 0 {
            let counts = self.shared.books().leave(records, origin);
            self.report(counts, report);
        }
    }

    fn report(&self, Counts { own, recovered, found }: Counts, report: fn(&Replayer<T>, u64, Origin)) {
        if found > 0 {
            self.replayer.recovered(found);
        }
        for (records, origin) in [(own, Origin::Own), (recovered, Origin::Recovered)] {
            if records > 0 {
                report(&self.replayer, records, origin);
            }
        }
    }

    /// Compares the books with the spool: what it evicted, and what it held from the beginning.
    async fn compare(&mut self, now: Instant) {
        let Some(quiet) = self.shared.books().quiet() else { return };
        // A spool that cannot be asked is asked again.
        let Ok(stats) = self.spool.stats().await else { return };
        let own = |known: &&crate::DestinationStats| known.is_open && known.name == self.destination;
        let Some(pending) = stats.destinations.iter().find(own).map(|known| known.pending) else { return };
        let counts = self.shared.books().reconcile(pending, quiet);
        if let Some(counts) = counts {
            self.compared = Some(now);
            self.report(counts, Replayer::evicted);
        }
    }
}

/// Sends the records of one lease, and settles it.
///
/// CANCEL: a lease that is dropped before it is settled is given back.
async fn send<T: Send + Sync + 'static, C: Codec<T>>(
    spool: Arc<dyn Spool>,
    codec: Arc<C>,
    replayer: Replayer<T>,
    shared: Arc<Shared>,
    lease: Lease,
) -> Sent {
    let (mut items, mut dispositions) = (Vec::with_capacity(lease.records().len()), Vec::new());
    for record in lease.records() {
        dispositions.push(match decoded(&*codec, record) {
            Ok(item) => {
                items.push(item);
                None
            }
            Err(why) => Some(Disposition::Quarantine(why)),
        });
    }
    let replayed = if items.is_empty() { Replayed::default() } else { replayer.send(items).await };
    let mut fates = replayed.fates.iter().copied();
    let (mut settled, mut of_all) = (Vec::with_capacity(dispositions.len()), Vec::with_capacity(dispositions.len()));
    for (record, disposition) in lease.records().iter().zip(dispositions) {
        let origin = if record.key == shared.own { Origin::Own } else { Origin::Recovered };
        let (disposition, fate) = match disposition {
            Some(disposition) => (disposition, ReplayFate::Refused(forebay_core::DropReason::Encode)),
            None => {
                let fate = fates.next().unwrap_or(ReplayFate::GivenBack);
                let disposition = match fate {
                    ReplayFate::Delivered => Disposition::Delivered,
                    ReplayFate::GivenBack => Disposition::GiveBack,
                    ReplayFate::Failed => Disposition::Failed,
                    ReplayFate::Refused(reason) => Disposition::Quarantine(reason.to_string()),
                };
                (disposition, fate)
            }
        };
        settled.push(disposition);
        of_all.push((origin, fate));
    }
    // An outcome that could not be made durable holds until the process ends; then records may be sent once more.
    let given_back = spool.settle(lease, settled).await.ok().map(|settled| settled.given_back);
    Sent { fates: of_all, is_away: replayed.is_away, after: replayed.after, given_back }
}

/// The item of a record, or why there is none.
fn decoded<T, C: Codec<T>>(codec: &C, record: &Record) -> Result<T, String> {
    let why = match panic::catch(|| codec.decode(&record.payload)) {
        Ok(Ok(item)) => return Ok(item),
        Ok(Err(error)) => panic::catch(|| error.to_string()).unwrap_or_default(),
        Err(panic) => panic.message().to_owned(),
    };
    let cut = why.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_REASON).unwrap_or(why.len());
    Err(format!("it cannot be decoded: {}", why.get(..cut).unwrap_or_default()))
}

/// Whether the spool will never lease anything again.
fn is_final(error: &SpoolError) -> bool {
    matches!(error.kind(), SpoolErrorKind::Closed | SpoolErrorKind::UnknownDestination { .. })
}

/// The clock of tokio, so that paused time works. It can be read without a runtime.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}
