use super::{brokers::Brokers, builder::Settings, connection::Connection, error::TransportError};
use crate::wire::{TelemetryRequest, TelemetryResponse};
use forebay_core::BoxError;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A request, and where its response goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: TelemetryRequest,
    pub(super) reply: oneshot::Sender<Result<TelemetryResponse, BoxError>>,
}

/// Owns the connection. It stays with one broker for as long as that responds.
#[derive(Debug)]
pub(super) struct Worker {
    settings: Arc<Settings>,
    jobs: mpsc::Receiver<Job>,
    /// The connection to the current broker, while there is one.
    connection: Option<Connection>,
    /// Which broker the connection is to, or is tried next.
    brokers: Brokers,
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(settings: Arc<Settings>, jobs: mpsc::Receiver<Job>, seed: u64) -> Self {
        let brokers = Brokers::new(settings.bootstrap.clone(), seed);
        Self { settings, jobs, connection: None, brokers }
    }

    /// Runs until the last transport is dropped.
    pub(super) async fn run(mut self) {
        while let Some(Job { request, mut reply }) = self.next_job().await {
            if reply.is_closed() {
                continue;
            }
            let exchanged = {
                let exchange = self.exchange(&request);
                tokio::select! {
                    biased;
                    exchanged = exchange => Some(exchanged),
                    // CANCEL: no caller waits any more, so the response would be taken for that of the next request. The
                    // connection is closed below.
                    () = reply.closed() => None,
                }
            };
            match exchanged {
                Some(Ok(response)) => {
                    // The caller may have left by now; the response then has no reader.
                    drop(reply.send(Ok(response)));
                }
                Some(Err(error)) => {
                    self.leave();
                    drop(reply.send(Err(error)));
                }
                None => self.leave(),
            }
        }
    }

    /// The next request. Meanwhile an idle connection that the broker closes is dropped, so that no request is lost on it.
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
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let broker = self.brokers.current();
        let connection = self.connection.insert(connection);
        connection.exchange(request).await.map_err(|error| match error.downcast::<TransportError>() {
            Ok(error) => error.at(&broker).into(),
            Err(error) => error,
        })
    }

    /// Connects to the current broker, and asks it for the others. The first list may name another broker to use.
    async fn open(&mut self) -> Result<Connection, TransportError> {
        let mut connection = Connection::open(&self.settings, &self.brokers.current()).await?;
        if self.brokers.discover(connection.take_brokers()) {
            let broker = self.brokers.current();
            match Connection::open(&self.settings, &broker).await {
                Ok(other) => connection = other,
                // The broker that has named the others works, so this failure costs no request: it stays in use until it fails.
                Err(_unreachable) => self.brokers.keep(connection.broker()),
            }
        }
        Ok(connection)
    }

    /// A broker that failed is left for the next one.
    fn leave(&mut self) {
        self.connection = None;
        self.brokers.fail();
    }
}
