use super::{
    fault::Fault,
    log::Body,
    payload::Payload,
    plan::Plan,
    received::{Disposition, Received},
    tally::{Audit, Count, Tally, hash},
    ticket::Ticket,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How much a receiver remembers. [`Totals`] and the count of every log body are always kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// Every request with its body and its decoded records. Memory grows with what arrives.
    #[default]
    Everything,
    /// Every request, without body and records.
    Heads,
    /// No request: about 20 bytes for each distinct log body, for runs of millions of lines.
    Counts,
}

/// Sums over everything that has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Connections that were accepted.
    pub connections: u64,
    /// Requests whose head was read.
    pub requests: u64,
    /// Requests that got a fault.
    pub faults: u64,
    /// Records that were taken in: log records, spans, data points.
    pub accepted: u64,
    /// Of these, records in requests whose client could not know.
    pub ambiguous: u64,
    /// Records of otherwise accepted requests that were left out.
    pub rejected: u64,
    /// Bytes of the bodies that were read, as they came.
    pub wire_bytes: u64,
    /// Bytes of the bodies that were decoded, without their content encoding.
    pub decoded_bytes: u64,
}

/// Receives every request that was taken in.
pub(super) type OnLogs = dyn Fn(&ExportLogsServiceRequest, Disposition) + Send + Sync;

/// The records of one request that were taken in.
pub(super) struct Accepted {
    records: u64,
    hashes: Vec<u64>,
    /// Kept only for [`OnLogs`].
    payload: Option<Arc<Payload>>,
}

pub(super) struct Store {
    keep: Keep,
    on_logs: Option<Box<OnLogs>>,
    state: Mutex<State>,
    totals: watch::Sender<Totals>,
}

struct State {
    plan: Plan,
    requests: Vec<Received>,
    tally: Tally,
}

// === impl Store ===

impl Store {
    pub(super) fn new(keep: Keep, plan: Plan, on_logs: Option<Box<OnLogs>>) -> Arc<Self> {
        let state = State { plan, requests: Vec::new(), tally: Tally::default() };
        Arc::new(Self { keep, on_logs, state: Mutex::new(state), totals: watch::Sender::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, change: impl FnOnce(&mut Totals)) {
        self.totals.send_modify(change);
    }

    // --- what happens

    pub(super) fn connected(&self) {
        self.add(|totals| totals.connections += 1);
    }

    /// Numbers the request and draws its fault, both at once: the n-th request gets the n-th draw.
    pub(super) fn arrived(&self, mut request: Received) -> (usize, Fault) {
        let state = &mut *self.state();
        let (number, fault) = state.plan.next();
        request.number = number;
        request.fault = fault.clone();
        if self.keep != Keep::Counts {
            state.requests.push(request);
        }
        self.add(|totals| {
            totals.requests += 1;
            totals.faults += u64::from(fault != Fault::None);
        });
        (number, fault)
    }

    /// Changes the record of a request, where one is kept.
    pub(super) fn note(&self, request: usize, change: impl FnOnce(&mut Received)) {
        if let Some(received) = self.state().requests.get_mut(request) {
            change(received);
        }
    }

    pub(super) fn keeps_bodies(&self) -> bool {
        self.keep == Keep::Everything
    }

    pub(super) fn read(&self, bytes: u64) {
        self.add(|totals| totals.wire_bytes += bytes);
    }

    pub(super) fn decoded(&self, bytes: u64) {
        self.add(|totals| totals.decoded_bytes += bytes);
    }

    /// Takes the records in: from here on they count.
    pub(super) fn accept(self: &Arc<Self>, request: usize, payload: Option<Arc<Payload>>, rejected: u64) -> Ticket {
        let hashes = payload
            .iter()
            .flat_map(|payload| payload.log_records())
            .map(|record| hash(&Body::of(record).bytes()))
            .collect();
        let records = payload.as_ref().map_or(0, |payload| payload.len() as u64);
        let for_hook = payload.clone().filter(|_| self.on_logs.is_some());
        let accepted = Accepted { records, hashes, payload: for_hook };
        {
            let mut state = self.state();
            state.tally.accept(&accepted.hashes);
            if let Some(received) = state.requests.get_mut(request) {
                received.disposition = Disposition::Accepted;
                received.accepted = payload.filter(|_| self.keeps_bodies());
            }
        }
        // The totals wake those that wait, so they change last: by then everything else can be read.
        self.report(&accepted, Disposition::Accepted);
        self.add(|totals| {
            totals.accepted += records;
            totals.rejected += rejected;
        });
        Ticket::new(Arc::clone(self), request, accepted)
    }

    /// The client of an accepted request cannot know that it was.
    pub(super) fn ambiguous(&self, request: usize, accepted: &Accepted) {
        {
            let mut state = self.state();
            state.tally.doubt(&accepted.hashes);
            if let Some(received) = state.requests.get_mut(request) {
                received.disposition = Disposition::Ambiguous;
            }
        }
        self.report(accepted, Disposition::Ambiguous);
        self.add(|totals| totals.ambiguous += accepted.records);
    }

    fn report(&self, accepted: &Accepted, disposition: Disposition) {
        if let (Some(on_logs), Some(Payload::Logs(logs))) = (&self.on_logs, accepted.payload.as_deref()) {
            on_logs(logs, disposition);
        }
    }

    // --- what is asked

    pub(super) fn change_plan(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.state().plan);
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.state().requests.clone()
    }

    pub(super) fn count(&self, body: &[u8]) -> Count {
        self.state().tally.count(hash(body))
    }

    pub(super) fn audit(&self, expected: impl IntoIterator<Item = u64>) -> Audit {
        // The caller's iterator may be slow, or look at this receiver: it runs before the lock is taken.
        let expected: Vec<_> = expected.into_iter().collect();
        self.state().tally.audit(expected)
    }

    pub(super) fn totals(&self) -> watch::Receiver<Totals> {
        self.totals.subscribe()
    }
}
