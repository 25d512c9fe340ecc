use super::{
    builder::ReceiverBuilder,
    fault::Fault,
    faults::Faults,
    log::Log,
    payload::Payload,
    proto::{metrics::v1::Metric, trace::v1::Span},
    received::Received,
    server::{Command, Server},
    store::{Store, Totals},
    tally::{Audit, Count, hash},
};
use std::{fmt, io, net::SocketAddr, sync::Arc};
use tokio::sync::{mpsc, oneshot};

/// A real OTLP server that decodes, records, and misbehaves on demand.
///
/// On one port it speaks HTTP/1.1, HTTP/2 and gRPC without TLS, takes logs, traces and metrics as protobuf or JSON, plain,
/// gzip or (feature `zstd`) zstd, and responds as the OTLP specification wants; unless a [`Fault`] is due.
///
/// A record counts from the moment it is taken in, before the response is sent: a client that has its response finds its
/// records here. That a client hung up is noticed later, and only then the request becomes
/// [`Ambiguous`](super::Disposition::Ambiguous). [`shutdown`](Self::shutdown) first, where that must not change any more.
///
/// Its delays are tokio's: on a paused clock they take no time. That clock also jumps while bytes are on their way over
/// loopback, so a client's own timeout may fire too early there.
///
/// # Cancellation
///
/// Dropping it closes the port and cuts every connection, as the end of its process would.
pub struct Receiver {
    address: SocketAddr,
    store: Arc<Store>,
    commands: mpsc::UnboundedSender<Command>,
}

// === impl Receiver ===

impl Receiver {
    pub(super) fn new(server: Server, store: Arc<Store>) -> Self {
        let address = server.address();
        let (commands, orders) = mpsc::unbounded_channel();
        tokio::spawn(server.run(orders));
        Self { address, store, commands }
    }

    /// Starts with the defaults; see [`ReceiverBuilder`].
    pub fn builder() -> ReceiverBuilder {
        ReceiverBuilder::new()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, without a slash at the end; `/v1/logs` and the like follow.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    // --- its behaviour

    /// Plays these from the next request on; what is left of a script is played first.
    pub fn set_faults(&self, faults: Faults) {
        self.store.change_plan(|plan| plan.faults = faults);
    }

    /// The next requests get these, one each; what is left of an earlier script is forgotten.
    pub fn script(&self, script: impl IntoIterator<Item = Fault>) {
        let script = script.into_iter().collect();
        self.store.change_plan(|plan| plan.script = script);
    }

    /// Stops listening and cuts every connection, as the end of its process would.
    ///
    /// Returns when all of that is done and accounted for. The port stays reserved: the system gives it to no other
    /// socket, least of all to a client that tries to connect to it.
    ///
    /// # Errors
    ///
    /// When it does not listen, or the port cannot be kept.
    pub async fn pause(&self) -> io::Result<()> {
        self.order(Command::Pause).await?
    }

    /// Listens again on the same port. Does nothing while it listens.
    ///
    /// # Errors
    ///
    /// When the port cannot be had, or it was [shut down](Self::shutdown).
    pub async fn resume(&self) -> io::Result<()> {
        self.order(Command::Resume).await?
    }

    /// Ends for good, and returns when every connection is closed. What was recorded can still be read, and no longer
    /// changes.
    pub async fn shutdown(&self) {
        // An error means that it has ended before.
        let _ended_before = self.order(Command::Close).await;
    }

    async fn order<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> io::Result<T> {
        let (done, end) = oneshot::channel();
        let ended = || io::Error::new(io::ErrorKind::NotConnected, "the receiver was shut down");
        self.commands.send(command(done)).map_err(|_unsent| ended())?;
        end.await.map_err(|_dropped| ended())
    }

    // --- what arrived

    /// The sums so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        *self.store.totals().borrow()
    }

    /// Waits until `condition` holds of the sums, and returns these. It is asked at once and after every change.
    pub async fn until(&self, condition: impl FnMut(&Totals) -> bool) -> Totals {
        let mut totals = self.store.totals();
        match totals.wait_for(condition).await {
            Ok(totals) => *totals,
            // The sender is in the store, and the store in our hands.
            Err(_) => unreachable!("the totals outlive the receiver"),
        }
    }

    /// Every request in the order of arrival; none with [`Keep::Counts`](super::Keep::Counts).
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.store.requests()
    }

    /// Every log record that was taken in, with [`Keep::Everything`](super::Keep::Everything).
    #[must_use]
    pub fn logs(&self) -> Vec<Log> {
        let mut logs = Vec::new();
        for payload in self.accepted() {
            let Payload::Logs(request) = &*payload else { continue };
            for resource_logs in &request.resource_logs {
                let resource = Arc::new(resource_logs.resource.clone().unwrap_or_default());
                for scope_logs in &resource_logs.scope_logs {
                    let scope = Arc::new(scope_logs.scope.clone().unwrap_or_default());
                    logs.extend(scope_logs.log_records.iter().map(|record| Log::new(record, &resource, &scope)));
                }
            }
        }
        logs
    }

    /// Every span that was taken in, with [`Keep::Everything`](super::Keep::Everything).
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.accepted().flat_map(|payload| payload.spans().cloned().collect::<Vec<_>>()).collect()
    }

    /// Every metric that was taken in, with [`Keep::Everything`](super::Keep::Everything).
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        self.accepted().flat_map(|payload| payload.metrics().cloned().collect::<Vec<_>>()).collect()
    }

    fn accepted(&self) -> impl Iterator<Item = Arc<Payload>> {
        self.requests().into_iter().filter_map(|request| request.accepted)
    }

    /// How often a log body was taken in: the bytes of a string or bytes body, the JSON text of any other.
    #[must_use]
    pub fn count(&self, body: impl AsRef<[u8]>) -> Count {
        self.store.count(body.as_ref())
    }

    /// Holds the log bodies that were taken in against those that should have been.
    #[must_use]
    pub fn audit<B: AsRef<[u8]>>(&self, expected: impl IntoIterator<Item = B>) -> Audit {
        self.store.audit(expected.into_iter().map(|body| hash(body.as_ref())))
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("address", &self.address)
            .field("totals", &self.totals())
            .finish_non_exhaustive()
    }
}
