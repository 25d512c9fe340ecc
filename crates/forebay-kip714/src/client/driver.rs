use super::{
    builder::{Observer, wall_clock},
    event::{ClientEvent, PushSize},
    shared::{Pending, Shared},
};
use crate::{
    error::TelemetryUnsupported,
    payload::{Assembler, Book, Payload},
    session::{Change, Failure, Next, PushOrder, Session},
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

/// The task of a client: does what the session says, and tells it what came of it.
pub(super) struct Driver<S> {
    service: S,
    assembler: Assembler,
    book: Book,
    desk: Desk,
}

/// The session, and who is to know of it.
struct Desk {
    session: Session,
    shared: Arc<Shared>,
    observer: Observer,
    closing: watch::Receiver<Option<Instant>>,
    began: Instant,
}

// === impl Driver ===

impl<S> Driver<S>
where
    S: Service<TelemetryRequest, Response = TelemetryResponse, Error = BoxError>,
{
    pub(super) fn new(
        service: S,
        session: Session,
        assembler: Assembler,
        book: Book,
        shared: Arc<Shared>,
        observer: Observer,
    ) -> Self {
        let closing = shared.closing();
        let desk = Desk { session, shared, observer, closing, began: Instant::now() };
        Self { service, assembler, book, desk }
    }

    /// Runs until the session is over.
    pub(super) async fn run(mut self) {
        loop {
            self.desk.heed_closing();
            if self.desk.is_late() {
                self.desk.abandon();
            }
            match self.desk.next() {
                Next::Ask(request) => {
                    let request = TelemetryRequest::GetSubscriptions(request);
                    match self.desk.call(&mut self.service, request).await {
                        Some(result) => self.desk.asked(result),
                        None => self.desk.abandon(),
                    }
                }
                Next::Push(order) => self.push(order).await,
                Next::Wait(until) => self.desk.wait(until).await,
                // A request is waited for where it is made; here there can be none.
                Next::Answer | Next::Over => break,
            }
        }
    }

    async fn push(&mut self, order: PushOrder) {
        if let Some(labels) = self.desk.shared.new_labels() {
            // Labels are plain text, which can be encoded.
            let set = self.assembler.set_labels(&labels);
            debug_assert!(set.is_ok());
        }
        let payload = self.assemble(&order);
        let shared = Arc::clone(&self.desk.shared);
        self.desk.sending(&order, &payload);
        let pending = shared.accept(payload.series);
        let request = TelemetryRequest::Push(PushTelemetryRequest {
            client_instance_id: order.client_instance_id,
            subscription_id: order.subscription_id,
            terminating: order.terminating,
            compression_type: payload.codec.id(),
            metrics: payload.body.clone(),
        });
        match self.desk.call(&mut self.service, request).await {
            Some(result) => self.desk.pushed(result, payload, &mut self.book, pending),
            None => self.desk.abandon(),
        }
    }

    fn assemble(&mut self, order: &PushOrder) -> Payload {
        let now = wall_clock();
        let assembled = catch_unwind(AssertUnwindSafe(|| self.assembler.assemble(&mut self.book, order, now)));
        // Sources are caught one by one; this is a ranking that panics.
        assembled.unwrap_or_else(|_panic| Payload::lost_to_a_panic())
    }
}

// === impl Desk ===

impl Desk {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn next(&mut self) -> Next {
        let next = self.session.next(self.now());
        self.publish();
        next
    }

    /// One request and its answer, or `None` if the client has to be gone before that comes.
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
                // CANCEL: the request may be half sent. Its transport sees that nobody waits any more.
                () = until(deadline) => return None,
                // The handles keep the sender; should it be gone, the deadline set by the last one is.
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
                    self.tell(|desk| ClientEvent::Named(desk.session.id()));
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
        book: &mut Book,
        pending: Pending<'_>,
    ) {
        let now = self.now();
        let bytes = payload.body.len() as u64;
        let change = match result {
            Ok(TelemetryResponse::Push(response)) => {
                let code = response.error_code;
                match code {
                    ErrorCode::NONE => {
                        payload.commit(book);
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
                    self.tell(|_| ClientEvent::LastAnswer(code));
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
                    payload.commit(book);
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
        self.tell(|_| ClientEvent::Failed(chain(&**error)));
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
            self.tell(|_| ClientEvent::CodecFailed(codec));
        }
        if payload.panicked > 0 {
            self.tell(|_| ClientEvent::SourcesPanicked(payload.panicked));
        }
        self.shared.refuse(DropReason::TooLarge, payload.too_large);
        self.shared.refuse(DropReason::Encode, payload.unencodable);
        self.shared.refuse(DropReason::Full, payload.full);
        self.shared.update(|status| {
            status.counters.panicked_sources += payload.panicked;
            status.counters.terminating_pushes += u64::from(order.terminating);
        });
        self.tell(|_| {
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
        if change != Change::Ignored {
            self.tell(|desk| ClientEvent::Changed { change, state: desk.session.state() });
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

    fn tell(&self, event: impl FnOnce(&Self) -> ClientEvent) {
        if let Some(observer) = &self.observer
            && observer.enabled()
        {
            observer.observe(&event(self));
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // CANCEL: by its own end, by a panic, or with its runtime: whoever waits for the end must hear of it.
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
