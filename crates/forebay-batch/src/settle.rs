//! What the result of one inner call means: fates for the ledger, replies for the callers, and what is left for the scheduler.

use crate::{
    BatchFailed, Respond,
    fates::BatchFates,
    in_flight::Completed,
    next::Look,
    pending::PendingBatch,
    scheduler::{Dropped, Scheduler},
    shared::Shared,
    spooling::Spooled,
    trace,
    waiters::Waiters,
};
use forebay_core::{BoxError, DropReason, Fate, ItemFate, Outcome, Settle, Settlement, panic};
use forebay_intake::Panicked;
use std::{error::Error, fmt, sync::Arc};

/// Turns results into fates and replies.
///
/// The ledger counts first, then the callers get their replies, then the items are dropped: a caller that has its reply finds
/// its item counted.
pub(crate) struct Settler<T, Se, R, A> {
    pub(crate) shared: Arc<Shared<T, A>>,
    settle: Se,
    respond: R,
    /// Whether a spool keeps what could not be delivered.
    spools: bool,
}

/// What the callers of items get that were to be sent again, but are dropped.
#[derive(Debug)]
struct NotTaken;

// === impl Settler ===

impl<T, Se, R, A> Settler<T, Se, R, A> {
    pub(crate) fn new(shared: Arc<Shared<T, A>>, settle: Se, respond: R, spools: bool) -> Self {
        Self { shared, settle, respond, spools }
    }

    /// A batch has come back from the inner service, or the inner service was not ready for it. The scheduler has the batches
    /// that the worker has to drop because of it.
    pub(crate) fn complete<Res>(&self, completed: Completed<Res, T, A>, scheduler: &mut Scheduler<T, A>, look: &Look)
    where
        Se: Settle<Res>,
        R: Respond<Res, Reply = A>,
    {
        let Completed { batch, result, attempt } = completed;
        scheduler.returned(&batch);
        let (settlement, result) = self.judge(result, batch.len());
        if let Some(attempt) = attempt {
            attempt.end(look.now, outcome_of(&settlement));
        }
        if !matches!(settlement, Settlement::Retry { .. }) {
            scheduler.responded(&batch, look);
        }
        match settlement {
            // ## in flight => (parked | spooled | dropped)
            Settlement::Retry { after, otherwise } => match scheduler.park(batch, after, look) {
                Some(batch) if self.spools => {
                    let error = match result {
                        Err(error) => error,
                        Ok(response) => {
                            panic::discard(response);
                            NotTaken.into()
                        }
                    };
                    scheduler.drop_later(Dropped::undelivered(batch, otherwise, error));
                }
                Some(batch) => self.conclude(batch, &BatchFates::All(Fate::Dropped(otherwise)), result),
                None => panic::discard(result),
            },
            // ## in flight => settled
            Settlement::All(fate) => {
                if fate == Fate::Delivered {
                    scheduler.delivered(&batch, true);
                }
                self.conclude(batch, &BatchFates::All(fate), result);
            }
            Settlement::Partial { dropped, reason } => {
                scheduler.delivered(&batch, dropped == 0);
                self.conclude(batch, &BatchFates::Last { dropped, reason }, result);
            }
            // ## in flight => settled, and the rest parked
            Settlement::Each(fates) => self.settle_each(batch, &fates, result, scheduler, look),
            // ## in flight => (two parts | dropped)
            Settlement::Split { cause, otherwise } => match scheduler.bisect(batch, cause, otherwise) {
                Some((batch, reason)) => self.conclude(batch, &BatchFates::All(Fate::Dropped(reason)), result),
                None => panic::discard(result),
            },
            // A settlement of a newer version of the core, of which nothing is known here.
            _ => self.conclude(batch, &BatchFates::All(Fate::Dropped(DropReason::Failed)), result),
        }
    }

    /// The spool has kept a batch, or has not.
    pub(crate) fn spooled<Res>(&self, spooled: Spooled<T, A>)
    where
        R: Respond<Res, Reply = A>,
    {
        let Spooled { dropped: Dropped { batch, reason, error, .. }, settlement } = spooled;
        let fates = match settlement {
            Some(Settlement::All(fate)) => BatchFates::All(fate),
            Some(Settlement::Partial { dropped, reason }) => BatchFates::Last { dropped, reason },
            Some(Settlement::Each(fates)) => BatchFates::each(&fates, batch.len()),
            _ => BatchFates::All(Fate::Dropped(reason)),
        };
        self.conclude::<Res>(batch, &fates, Err(error));
    }

    /// Batches are dropped without a result of the inner service.
    pub(crate) fn drop_all<Res>(&self, dropped: impl IntoIterator<Item = Dropped<T, A>>)
    where
        R: Respond<Res, Reply = A>,
    {
        for Dropped { batch, reason, error, .. } in dropped {
            self.conclude::<Res>(batch, &BatchFates::All(Fate::Dropped(reason)), Err(error));
        }
    }

    /// Asks the user's settler what `result` means; a panic in it is a result of its own.
    fn judge<Res>(
        &self,
        result: Result<Result<Res, BoxError>, DropReason>,
        items: usize,
    ) -> (Settlement, Result<Res, BoxError>)
    where
        Se: Settle<Res>,
    {
        let judged = result.and_then(|result| match panic::catch(|| self.settle.settle(&result, items)) {
            Ok(settlement) => Ok((settlement, result)),
            Err(_reported) => {
                panic::discard(result);
                Err(DropReason::Panicked)
            }
        });
        judged.unwrap_or_else(|reason| (Settlement::All(Fate::Dropped(reason)), Err(BoxError::from(Panicked::new()))))
    }

    /// The items of a batch have met different fates; those that may be sent again wait, if they can.
    fn settle_each<Res>(
        &self,
        mut batch: PendingBatch<T, A>,
        given: &[ItemFate],
        result: Result<Res, BoxError>,
        scheduler: &mut Scheduler<T, A>,
        look: &Look,
    ) where
        R: Respond<Res, Reply = A>,
    {
        let all = batch.len();
        let fates = BatchFates::each(given, all);
        let mut again: Vec<bool> = given.iter().map(|fate| matches!(fate, ItemFate::Retry(_))).collect();
        again.resize(all, false);
        let otherwise = given.iter().find_map(|fate| match fate {
            ItemFate::Retry(otherwise) => Some(*otherwise),
            ItemFate::Final(_) => None,
        });
        let (Some(otherwise), true) = (otherwise, scheduler.parks() || self.spools) else {
            return self.conclude(batch, &fates, result);
        };
        // The places of the waiters are those of the call as long as its result is used.
        let mut waiters = batch.waiters.take();
        let Some(mut settled) = batch.retain(&again, None) else {
            batch.waiters = waiters;
            return self.conclude(batch, &fates, result);
        };
        let finals = (0..all).filter(|index| !again[*index]).map(|index| fates.of(index, all)).collect();
        self.count(&mut settled, &BatchFates::Each(finals));
        match &mut waiters {
            Some(waiters) => {
                self.reply(waiters, result, all, |index| !again[index], &fates);
                waiters.retain(&again);
            }
            None => panic::discard(result),
        }
        drop(settled);
        batch.waiters = waiters;
        let Some(batch) = scheduler.park(batch, None, look) else { return };
        if self.spools {
            scheduler.drop_later(Dropped::undelivered(batch, otherwise, NotTaken.into()));
        } else {
            self.conclude::<Res>(batch, &BatchFates::All(Fate::Dropped(otherwise)), Err(NotTaken.into()));
        }
    }

    /// The items of a batch have met their fates.
    fn conclude<Res>(&self, mut batch: PendingBatch<T, A>, fates: &BatchFates, result: Result<Res, BoxError>)
    where
        R: Respond<Res, Reply = A>,
    {
        self.count(&mut batch, fates);
        match &batch.waiters {
            Some(waiters) => self.reply(waiters, result, batch.len(), |_| true, fates),
            None => panic::discard(result),
        }
    }

    /// The ledger counts the fates, and the slots are free.
    fn count(&self, batch: &mut PendingBatch<T, A>, fates: &BatchFates) {
        let charges = fates.charges(batch.charge);
        batch.owed_to = None;
        self.shared.settle(&charges, &batch.keys);
        trace::settled(&charges);
    }

    /// Sends replies to the waiters of the items that `of` says; `items` were in the call.
    fn reply<Res>(
        &self,
        waiters: &Waiters<A>,
        result: Result<Res, BoxError>,
        items: usize,
        of: impl Fn(usize) -> bool,
        fates: &BatchFates,
    ) where
        R: Respond<Res, Reply = A>,
    {
        match panic::catch(|| self.respond.prepare(result.map_err(BatchFailed::new), items)) {
            Ok(mut prepared) => {
                waiters
                    .reply(|index| of(index).then(|| self.respond.reply(&mut prepared, index, fates.of(index, items))));
                panic::discard(prepared);
            }
            Err(_reported) => waiters.reply(|index| of(index).then(|| Err(BoxError::from(Panicked::new())))),
        }
    }
}

/// What a limit that tunes itself learns from a settlement: a refusal for what is in a batch says nothing about the load.
fn outcome_of(settlement: &Settlement) -> Outcome {
    match settlement {
        Settlement::Retry { after, .. } => Outcome::Retryable { after: *after },
        Settlement::Each(fates) if fates.iter().any(|fate| matches!(fate, ItemFate::Retry(_))) => Outcome::RETRYABLE,
        Settlement::All(Fate::Delivered) | Settlement::Partial { .. } | Settlement::Each(_) => Outcome::Success,
        _ => Outcome::Terminal,
    }
}

// === impl NotTaken ===

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server took other items of the batch, but not this one")
    }
}

impl Error for NotTaken {}
