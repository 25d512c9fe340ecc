use super::{builder::Settings, connection::Connection, error::TransportError};
use crate::wire::{TelemetryRequest, TelemetryResponse};
use forebay_core::BoxError;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A request, and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: TelemetryRequest,
    pub(super) answer: oneshot::Sender<Result<TelemetryResponse, BoxError>>,
}

/// Owns the connection. It stays with one broker for as long as that answers.
#[derive(Debug)]
pub(super) struct Worker {
    settings: Arc<Settings>,
    jobs: mpsc::Receiver<Job>,
    connection: Option<Connection>,
    /// Which of the brokers it is with, or tries next.
    current: usize,
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(settings: Arc<Settings>, jobs: mpsc::Receiver<Job>, first: usize) -> Self {
        Self { settings, jobs, connection: None, current: first }
    }

    /// Runs until the last transport is dropped.
    pub(super) async fn run(mut self) {
        while let Some(Job { request, mut answer }) = self.next_job().await {
            if answer.is_closed() {
                continue;
            }
            let exchanged = {
                let exchange = self.exchange(&request);
                tokio::select! {
                    biased;
                    exchanged = exchange => Some(exchanged),
                    // CANCEL: nobody waits any more, so the answer would be taken for that of the next request. The
                    // connection goes below.
                    () = answer.closed() => None,
                }
            };
            match exchanged {
                Some(Ok(response)) => {
                    // Whoever asked may be gone by now; the answer then means nothing to anybody.
                    drop(answer.send(Ok(response)));
                }
                Some(Err(error)) => {
                    self.leave();
                    drop(answer.send(Err(error)));
                }
                None => self.leave(),
            }
        }
    }

    /// The next request; meanwhile an idle connection that the broker closes is let go, so that no request is lost on it.
    async fn next_job(&mut self) -> Option<Job> {
        if let Some(connection) = &mut self.connection {
            tokio::select! {
                biased;
                job = self.jobs.recv() => return job,
                () = connection.broken() => {}
            }
            self.connection = None;
        }
        self.jobs.recv().await
    }

    async fn exchange(&mut self, request: &TelemetryRequest) -> Result<TelemetryResponse, BoxError> {
        if self.connection.as_ref().is_some_and(Connection::is_expired) {
            self.connection = None;
        }
        let broker = self.settings.broker(self.current);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.settings, &broker).await?),
        };
        connection.exchange(request).await.map_err(|error| match error.downcast::<TransportError>() {
            Ok(error) => error.at(&broker).into(),
            Err(error) => error,
        })
    }

    /// A broker that failed is left for the next one.
    fn leave(&mut self) {
        // One that is only too old has not failed, but another may be newer.
        self.connection = None;
        self.current = self.current.wrapping_add(1);
    }
}
