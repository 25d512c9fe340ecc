use super::{DeadLetters, Drained};
use crate::sink::{SinkService, store};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

/// How fast letters go back.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two rounds.
    pub interval: Duration,
    /// The most letters of one round.
    pub most: NonZeroUsize,
}

/// Gives due letters to the sink, round by round, until it is stopped.
#[derive(Debug)]
pub(crate) struct Replay {
    stop: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

/// After so many failures in a row the sink is taken to be away, and the round ends: no storm of replays.
const ENOUGH: usize = 3;

// === impl Replay ===

impl Replay {
    /// Starts to replay from `letters` into `sink`.
    #[must_use]
    pub(crate) fn start(letters: DeadLetters, sink: SinkService, pace: Pace) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let rounds = async {
                loop {
                    sleep(pace.interval).await;
                    letters.replay(&sink, pace.most.get()).await;
                }
            };
            tokio::select! {
                () = rounds => {}
                // CANCEL: a letter in the hands of the sink stays in the folder; stored twice under one id is once.
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

// === impl DeadLetters ===

impl DeadLetters {
    /// One round: the oldest letters that are due, `most` of them, one after the other.
    pub(crate) async fn replay(&self, sink: &SinkService, most: usize) -> Drained {
        let (mut drained, mut in_a_row) = (Drained::default(), 0);
        for name in self.due(most) {
            let Some(batch) = self.read(name).await else { continue };
            if store(sink.clone(), batch).await.is_ok() {
                self.delivered(name).await;
                (drained.replayed, in_a_row) = (drained.replayed + 1, 0);
            } else {
                self.failed(name).await;
                (drained.failed, in_a_row) = (drained.failed + 1, in_a_row + 1);
                if in_a_row == ENOUGH {
                    break;
                }
            }
        }
        drained
    }
}
