//! One transaction for the batches that wait at a time.

use super::{Database, StoreError};
use crate::batch::Batch;
use forebay::{
    core::{BoxError, panic},
    queue::Panicked,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{sync::oneshot, task::spawn_blocking};

/// Stores batches; clones share one line.
///
/// The first batch that comes while nothing is written starts a writer, which takes all that wait by then, and goes on until
/// none does. Nothing is delayed so that a group may form: a group is what has come while the one before was written. The
/// line is as long as the callers are many, which are the workers of the queue and the replay.
#[derive(Clone)]
pub(super) struct Writer(Arc<Shared>);

struct Shared {
    database: Database,
    /// The most batches of a group.
    most: usize,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: Vec<Waiting>,
    /// A writer runs, and looks into the line again before it ends.
    writing: bool,
}

struct Waiting {
    batch: Batch,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(database: Database, most: usize) -> Self {
        Self(Arc::new(Shared { database, most: most.max(1), line: Mutex::default() }))
    }

    /// Stores `batch`, with others.
    ///
    /// # Cancellation
    ///
    /// The batch is stored, or not, all the same.
    pub(super) async fn store(self, batch: Batch) -> Result<(), BoxError> {
        let (reply, stored) = oneshot::channel();
        let leads = {
            let mut line = self.0.line();
            line.waiting.push(Waiting { batch, reply });
            // CORRECTNESS: under the lock under which a writer finds the line empty and ends, so that none waits without one.
            !std::mem::replace(&mut line.writing, true)
        };
        if leads {
            // CANCEL: the task writes for all that wait, and is not bound to the one that has started it.
            drop(spawn_blocking(move || self.0.write()));
        }
        match stored.await {
            Ok(stored) => Ok(stored?),
            // The group panicked as a whole, or the runtime ends.
            Err(_no_reply) => Err(Panicked::new().into()),
        }
    }
}

// === impl Shared ===

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        // The line is changed in one step each.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) {
        loop {
            let group: Vec<_> = {
                let mut line = self.line();
                let most = self.most.min(line.waiting.len());
                line.writing = most > 0;
                line.waiting.drain(..most).collect()
            };
            if group.is_empty() {
                return;
            }
            let (batches, replies): (Vec<_>, Vec<_>) =
                group.into_iter().map(|Waiting { batch, reply }| (batch, reply)).unzip();
            // Without results the replies are dropped, which their receivers take for the panic that it was.
            let results = panic::catch(|| self.database.store_all(&batches)).unwrap_or_default();
            for (reply, result) in replies.into_iter().zip(results) {
                // A caller that does not wait any more has put its batch aside; the replay finds its rows there.
                drop(reply.send(result));
            }
        }
    }
}
