use super::{
    builder::{Observer, wall_clock},
    event::{ClientEvent, PushSize},
    shared::{Pending, Shared},
};
use crate::{
    error::TelemetryUnsupported,
    payload::{Assembler, Payload, SeriesCache},
    session::{Change, Failure, Next, PushOrder, Session},
    trace,
    wire::{ErrorCode, PushTelemetryRequest, TelemetryRequest, TelemetryResponse},
};
use forebay_core::{Advice, BoxError, DropReason, Fate, Seen, Verdict, is_caused_by, time::saturating_add};
use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tower_service::Service;

/// The task of a client: does what the session says, and hands it the outcomes.
pub(super) struct ClientTask<S> {
    service: S,
    assembler: Assembler,
    cache: SeriesCache,
    driver: Driver,
}

/// Drives the session: carries requests to the transport, and outcomes to the session, the ledger and the observer.
struct Driver {
    session: Session,
    shared: Arc<Shared>,
    observer: Observer,
    closing: watch::Receiver<Option<Instant>>,
    began: Instant,
}

// === impl ClientTask ===

impl<S> ClientTask<S>
where
    S: Service<TelemetryRequest, Response = TelemetryResponse, Error = BoxError>,
{
    pub(super) fn new(
        service: S,
        session: Session,
        assembler: Assembler,
        cache: SeriesCache,
        shared: Arc<Shared>,
        observer: Observer,
    ) -> Self {
        let closing = shared.closing();
        let driver = Driver { session, shared, observer, closing, began: Instant::now() };
        Self { service, assembler, cache, driver }
    }

    /// Runs until the session is over.
    pub(super) async fn run(mut self) {
        loop {
            self.driver.heed_closing();
            if self.driver.is_late() {
                self.driver.abandon();
            }
            match self.driver.next() {
                Next::Ask(request) => {
                    let request = TelemetryRequest::GetSubscriptions(request);
                    match self.driver.call(&mut self.service, request).await {
                        Some(result) => self.driver.asked(result),
                        None => self.driver.abandon(),
                    }
                }
                Next::Push(order) => self.push(order).await,
                Next::Wait(until) => self.driver.wait(until).await,
                // A request is waited for where it is made; here there can be none.
                Next::InFlight | Next::Over => break,
            }
        }
    }

    async fn push(&mut self, order: PushOrder) {
        if let Some(labels) = self.driver.shared.new_labels() {
            // Labels are plain text, which can be encoded.
            let set = self.assembler.set_labels(&labels);
            debug_assert!(set.is_ok());
        }
        let payload = self.assemble(&order);
        let shared = Arc::clone(&self.driver.shared);
        self.driver.sending(&order, &payload);
        let pending = shared.accept(payload.series);
        let request = TelemetryRequest::Push(PushTelemetryRequest {
            client_instance_id: order.client_instance_id,
            subscription_id: order.subscription_id,
            terminating: order.terminating,
            compression_type: payload.codec.id(),
            metrics: payload.body.clone(),
        });
        match self.driver.call(&mut self.service, request).await {
            Some(result) => self.driver.pushed(result, payload, &mut self.cache, pending),
            None => self.driver.abandon(),
        }
    }

    fn assemble(&mut self, order: &PushOrder) -> Payload {
        let now = wall_clock();
        let assembled = catch_unwind(AssertUnwindSafe(|| self.assembler.assemble(&mut self.cache, order, now)));
        // Sources are caught one by one; this is a ranking that panics.
        assembled.unwrap_or_else(|_panic| Payload::lost_to_a_panic())
    }
}

// === impl Driver ===

impl Driver {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn next(&mut self) -> Next {
        let next = self.session.next(self.now());
        self.publish();
        next
    }

    /// One request and its response, or `None` if the client has to end before the response.
    async fn call<S>(
        &mut self,
        service: &mut S,
        request: TelemetryRequest,
    ) -> Option<Result<TelemetryResponse, BoxError>>
    where
        S: Service<TelemetryRequest, Response = TelemetryResponse, Error = BoxError>,
    {
        let mut exchange = pin!(async {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request).await
        });
        loop {
            let deadline = *self.closing.borrow_and_update();
            self.heed_closing();
            tokio::select! {
                biased;
                result = &mut exchange => return Some(result),
                // CANCEL: the request may be half sent. Its transport sees that its caller has left.
                () = until(deadline) => return None,
                // The handles keep the sender. When it is dropped, the last handle has set a deadline.
                _changed = self.closing.changed() => {}
            }
        }
    }

    /// Waits until then, or until there is reason to look again.
    async fn wait(&mut self, until: Duration) {
        tokio::select! {
            () = sleep_until(Instant::from_std(saturating_add(self.began.into_std(), until))) => {}
            _changed = self.closing.changed() => {}
        }
    }

    fn heed_closing(&mut self) {
        if self.closing.borrow_and_update().is_some() {
            let change = self.session.terminate();
            self.report(change);
        }
    }

    fn is_late(&self) -> bool {
        self.closing.borrow().is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn abandon(&mut self) {
        let change = self.session.abandon();
        self.report(change);
    }

    fn asked(&mut self, result: Result<TelemetryResponse, BoxError>) {
        let now = self.now();
        let change = match result {
            Ok(TelemetryResponse::GetSubscriptions(response)) => {
                let named = self.session.id();
                let change = self.session.subscriptions(now, &response);
                if named.is_nil() && !self.session.id().is_nil() {
                    self.emit_event(|driver| ClientEvent::Named(driver.session.id()));
                }
                change
            }
            Ok(TelemetryResponse::Push(_)) => self.session.failed(now, Failure::Lost { retry_in: None }),
            Err(error) => self.failed(now, &error),
        };
        self.count(change);
        self.report(change);
    }

    fn pushed(
        &mut self,
        result: Result<TelemetryResponse, BoxError>,
        payload: Payload,
        cache: &mut SeriesCache,
        pending: Pending<'_>,
    ) {
        let now = self.now();
        let bytes = payload.body.len() as u64;
        let change = match result {
            Ok(TelemetryResponse::Push(response)) => {
                let code = response.error_code;
                match code {
                    ErrorCode::NONE => {
                        payload.commit(cache);
                        pending.settle(Fate::Delivered);
                        self.shared.update(|status| {
                            status.counters.pushes += 1;
                            status.counters.pushed_bytes += bytes;
                        });
                    }
                    ErrorCode::TELEMETRY_TOO_LARGE => pending.settle(Fate::Dropped(DropReason::TooLarge)),
                    _ => pending.settle(Fate::Dropped(DropReason::Rejected)),
                }
                let change = self.session.pushed(now, &response);
                if change == Change::Terminated {
                    self.emit_event(|_| ClientEvent::LastResponse(code));
                }
                change
            }
            Ok(TelemetryResponse::GetSubscriptions(_)) => {
                pending.settle(Fate::Dropped(DropReason::Failed));
                self.session.failed(now, Failure::Lost { retry_in: None })
            }
            Err(error) => {
                let verdict = Verdict::of(&*error);
                pending.settle(Fate::Dropped(verdict.map_or(DropReason::Failed, Verdict::reason)));
                if verdict.is_none_or(|verdict| verdict.seen() != Seen::No) {
                    // The broker may have it: rather a gap that is counted than an amount that is there twice.
                    payload.commit(cache);
                }
                self.failed(now, &error)
            }
        };
        self.count(change);
        self.report(change);
    }

    fn failed(&mut self, now: Duration, error: &BoxError) -> Change {
        let retry_in = match Verdict::of(&**error).map(Verdict::advice) {
            Some(Advice::RetryAfter(wait)) => Some(wait),
            Some(Advice::Retry | Advice::Never) | None => None,
        };
        self.emit_event(|_| ClientEvent::Failed(chain(&**error)));
        if is_caused_by::<TelemetryUnsupported>(&**error) {
            self.session.failed(now, Failure::Unsupported)
        } else {
            self.session.failed(now, Failure::Lost { retry_in })
        }
    }

    /// A payload is about to be sent.
    fn sending(&mut self, order: &PushOrder, payload: &Payload) {
        self.session.sending(payload.length);
        if let Some(codec) = payload.failed {
            self.session.codec_failed(codec);
            self.emit_event(|_| ClientEvent::CodecFailed(codec));
        }
        if payload.panicked > 0 {
            self.emit_event(|_| ClientEvent::SourcesPanicked(payload.panicked));
        }
        self.shared.refuse(DropReason::TooLarge, payload.too_large);
        self.shared.refuse(DropReason::Encode, payload.unencodable);
        self.shared.refuse(DropReason::Full, payload.full);
        self.shared.update(|status| {
            status.counters.panicked_sources += payload.panicked;
            status.counters.terminating_pushes += u64::from(order.terminating);
        });
        self.emit_event(|_| {
            ClientEvent::Pushing(PushSize {
                series: payload.series,
                left_out: payload.too_large + payload.unencodable + payload.full,
                bytes: payload.body.len(),
                codec: payload.codec,
                terminating: order.terminating,
            })
        });
    }

    fn count(&self, change: Change) {
        self.shared.update(|status| {
            let counters = &mut status.counters;
            match change {
                Change::Subscribed | Change::NothingWanted => counters.subscriptions += 1,
                Change::Refused(_) => counters.refusals += 1,
                Change::Lost => counters.failures += 1,
                Change::Stopped(_) => counters.refusals += 1,
                Change::Pushed | Change::Terminating | Change::Terminated | Change::Ignored => {}
            }
        });
    }

    fn report(&self, change: Change) {
        self.publish();
        if let Change::Stopped(why) = change {
            trace::stopped(why);
        }
        if change != Change::Ignored {
            self.emit_event(|driver| ClientEvent::Changed { change, state: driver.session.state() });
        }
    }

    fn publish(&self) {
        let session = &self.session;
        self.shared.update(|status| {
            status.state = session.state();
            status.instance_id = session.id();
            status.subscription = session.subscription().cloned();
            status.stopped = session.stopped();
        });
    }

    fn emit_event(&self, event: impl FnOnce(&Self) -> ClientEvent) {
        if let Some(observer) = &self.observer
            && observer.enabled()
        {
            observer.observe(&event(self));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // CANCEL: by its own end, by a panic, or with its runtime: callers that wait for the end are woken.
        self.shared.update(|status| status.ended = true);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// An error and its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut link = error.source();
    while let Some(cause) = link {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        link = cause.source();
    }
    text
}
