use super::{BatchSpool, record};
use crate::{
    batch::Batch,
    sink::{SinkService, store},
};
use forebay::core::{DropReason, Fate};
use forebay_spool::{Disposition, Lease, Order, Spool, Want};
use futures_util::{StreamExt, stream};
use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// How fast dead letters go back. With a durable intake the interval is the longest pause after failures.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two rounds.
    pub interval: Duration,
    /// The most batches of one round.
    pub most: NonZeroUsize,
}

/// What one round of replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Batches that the sink took.
    pub replayed: usize,
    /// Batches that it did not take.
    pub failed: usize,
}

/// Gives what is in the spool to the sink, until it is stopped.
#[derive(Debug)]
pub(crate) struct Replay {
    stop: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

/// How a round goes.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// From which end of each lane.
    order: Order,
    /// The most batches.
    most: usize,
    /// Batches that the sink has at a time.
    workers: usize,
}

/// A lease, and what becomes of each of its batches.
struct Settling {
    lease: Lease,
    batches: Vec<(Option<Batch>, Disposition)>,
}

/// After so many failures in a row the sink is taken to be away: the round ends, and nothing counts against a batch.
const ENOUGH: usize = 3;

/// Leases with a failure stay open until the round ends, so that it does not lease them again.
const MOST_OPEN: usize = 8;

/// How much one lease has.
const LEASE: (usize, usize) = (64, 4 << 20);

/// The pause after the first round that fails; it doubles.
const PAUSE: Duration = Duration::from_millis(250);

/// How long an empty spool is not looked at, if nothing is appended.
const IDLE: Duration = Duration::from_secs(1);

// === impl Replay ===

impl Replay {
    /// Starts to replay from `spool` into `sink`: round by round, or, with `workers`, as soon as something is there, with so many
    /// batches at a time.
    #[must_use]
    pub(crate) fn start(spool: BatchSpool, sink: SinkService, workers: Option<NonZeroUsize>) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let rounds = async {
                match workers {
                    None => spool.replay_by_the_clock(&sink).await,
                    Some(workers) => spool.replay_at_once(&sink, workers.get()).await,
                }
            };
            tokio::select! {
                () = rounds => {}
                // CANCEL: a batch in the hands of the sink stays in the spool; stored twice under one id is once.
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        });
        Self { stop: Arc::new(stop), task }
    }

    /// Ends it, in the middle of a round as well.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        // A panic in it ended it too.
        drop(self.task.await);
    }
}

// === impl BatchSpool ===

impl BatchSpool {
    async fn replay_by_the_clock(&self, sink: &SinkService) {
        loop {
            sleep(self.config().pace.interval).await;
            self.replay(sink).await;
        }
    }

    async fn replay_at_once(&self, sink: &SinkService, workers: usize) {
        let (pace, mut pause) = (self.config().pace, PAUSE);
        loop {
            let drained = self.round(sink, Round { order: Order::Oldest, most: usize::MAX, workers }).await;
            if drained.failed > 0 {
                sleep(pause.min(pace.interval)).await;
                pause = pause.saturating_mul(2).min(pace.interval);
                continue;
            }
            pause = PAUSE;
            // The time is over, or something was appended: the next round finds out.
            let _either = timeout(IDLE, self.appended()).await;
        }
    }

    /// One round, one batch after the other.
    ///
    /// Every other round begins with the newest: batches that the sink never takes do not keep the others from it.
    pub(crate) async fn replay(&self, sink: &SinkService) -> Drained {
        let order = if self.turns_around() { Order::NewestFirst } else { Order::Oldest };
        self.round(sink, Round { order, most: self.config().pace.most.get(), workers: 1 }).await
    }

    async fn round(&self, sink: &SinkService, round: Round) -> Drained {
        let (mut drained, mut in_a_row, mut open) = (Drained::default(), 0, Vec::new());
        let mut left = round.most;
        while left > 0 && open.len() < MOST_OPEN && in_a_row < ENOUGH {
            let want = Want { order: round.order, records: left.min(LEASE.0), bytes: LEASE.1 };
            let Some(lease) = self.lease(want).await else { break };
            left -= lease.records().len().min(left);
            let settling = self.give(sink, lease, round.workers, &mut drained, &mut in_a_row).await;
            if settling.has_failures() {
                open.push(settling);
            } else {
                self.settle(settling).await;
            }
        }
        let is_away = in_a_row >= ENOUGH && drained.replayed == 0;
        for mut settling in open {
            if is_away {
                settling.forgive();
            }
            self.settle(settling).await;
        }
        self.refresh().await;
        drained
    }

    /// Gives the batches of a lease to the sink, until too many have failed in a row.
    async fn give(
        &self,
        sink: &SinkService,
        lease: Lease,
        workers: usize,
        drained: &mut Drained,
        in_a_row: &mut usize,
    ) -> Settling {
        let mut batches: Vec<_> = lease
            .records()
            .iter()
            .map(|record| match record::batch(&record.payload) {
                Some(batch) => (Some(batch), Disposition::GiveBack),
                None => {
                    self.meters().unreadable_batch();
                    (None, Disposition::Quarantine("no batch of a gateway".to_owned()))
                }
            })
            .collect();
        let ended = AtomicBool::new(*in_a_row >= ENOUGH);
        let calls =
            batches.iter().enumerate().filter_map(|(at, (batch, _))| Some((at, batch.clone()?))).map(|(at, batch)| {
                let ended = &ended;
                async move {
                    // What is behind too many failures is not tried.
                    let stored =
                        if ended.load(Relaxed) { None } else { Some(store(sink.clone(), batch).await.is_ok()) };
                    (at, stored)
                }
            });
        let mut stored = Vec::new();
        let mut results = stream::iter(calls.collect::<Vec<_>>()).buffered(workers);
        while let Some((at, result)) = results.next().await {
            let Some(is_stored) = result else { continue };
            stored.push((at, is_stored));
            if is_stored {
                (drained.replayed, *in_a_row) = (drained.replayed + 1, 0);
            } else {
                (drained.failed, *in_a_row) = (drained.failed + 1, *in_a_row + 1);
                ended.store(*in_a_row >= ENOUGH, Relaxed);
            }
        }
        drop(results);
        for (at, is_stored) in stored {
            if let Some((batch, disposition)) = batches.get_mut(at) {
                if let (Some(batch), false) = (batch, is_stored) {
                    self.meters().dead_letter(batch.signal, "replay_failed");
                }
                *disposition = if is_stored { Disposition::Delivered } else { Disposition::Failed };
            }
        }
        Settling { lease, batches }
    }

    /// Settles a lease, and counts what has left the spool.
    async fn settle(&self, settling: Settling) {
        self.books().settle_begins();
        let this = self.clone();
        // CANCEL: the settlement goes on, and so does its counting.
        drop(tokio::spawn(async move { this.settle_begun(settling).await }).await);
    }

    async fn settle_begun(&self, settling: Settling) {
        let Settling { lease, batches } = settling;
        let tries = u32::from(self.config().tries.get());
        let last_try: Vec<_> = lease.records().iter().map(|record| record.attempts + 1 >= tries).collect();
        let dispositions = batches.iter().map(|(_, disposition)| disposition.clone()).collect();
        let settled = self.spool().settle(lease, dispositions).await;
        let mut books = self.books();
        for ((batch, disposition), last_try) in batches.into_iter().zip(last_try) {
            let Some(batch) = batch else { continue };
            // CORRECTNESS: it holds in this process even if it could not be made durable.
            let given_up = last_try && settled.as_ref().map_or(true, |settled| settled.dead > 0);
            match disposition {
                Disposition::Delivered => {
                    books.leave(&batch, Fate::Delivered);
                    self.meters().dead_letter(batch.signal, "replayed");
                }
                Disposition::Failed if given_up => {
                    books.leave(&batch, Fate::Dropped(DropReason::RetriesExhausted));
                    self.meters().dead_letter(batch.signal, "given_up");
                }
                Disposition::Failed | Disposition::Quarantine(_) | Disposition::GiveBack => {}
            }
        }
        books.settle_ends();
    }
}

// === impl Settling ===

impl Settling {
    fn has_failures(&self) -> bool {
        self.batches.iter().any(|(_, disposition)| matches!(disposition, Disposition::Failed | Disposition::GiveBack))
    }

    /// The sink is away: no batch is to blame.
    fn forgive(&mut self) {
        for (_, disposition) in &mut self.batches {
            if *disposition == Disposition::Failed {
                *disposition = Disposition::GiveBack;
            }
        }
    }
}
