use crate::{
    Answer, NotReady, Pack,
    delivery::{Delivery, Guarded},
    desk::{Choice, Desk},
    flight::{Flight, Landed},
    lot::Lot,
    shared::Shared,
    trace,
};
use forebay_core::{BoxError, DropReason, Seen, Settle, panic, time::saturating_add};
use forebay_intake::{Timer, now};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tower_service::Service;

/// Sends the batches of a [`Batch`](crate::Batch): a future that ends when the last handle is gone and all is sent.
///
/// It may be spawned on any tokio runtime that has its timer enabled, or polled by hand. While there is nothing to do, it
/// is not woken and no timer runs.
///
/// CANCEL: a worker that is dropped counts all that it and the batcher hold as dropped by shutdown, and tells the callers.
#[must_use = "a worker does nothing unless it is polled"]
pub struct Worker<T, S, Se, P, An, B>
where
    S: Service<P::Request>,
    P: Pack<T>,
    An: Answer<S::Response>,
    B: IntoIterator<Item = Duration> + Clone,
{
    inner: S,
    desk: Desk<T, Se, P, An, Guarded<B>, An::Answer>,
    /// Chosen, and waiting for the inner service to be ready since then.
    next: Option<(Lot<T, An::Answer>, Instant)>,
    flights: Flights<S::Future, T, An::Answer>,
    timer: Timer,
}

type Flights<F, T, A> = FuturesUnordered<Flight<F, T, A>>;

/// How far one look at everything has come.
enum Progress {
    /// Something was sent, or has landed: look again.
    Made,
    /// Nothing before this instant, or before somebody wakes the worker.
    Waits(Option<Instant>),
    Ended,
}

// === impl Worker ===

impl<T, S, Se, P, An, B> Worker<T, S, Se, P, An, B>
where
    S: Service<P::Request>,
    P: Pack<T>,
    An: Answer<S::Response>,
    B: IntoIterator<Item = Duration> + Clone,
{
    pub(crate) fn new(
        inner: S,
        shared: Arc<Shared<T, An::Answer>>,
        delivery: Delivery<Se, P, An, B>,
        one_partition: bool,
    ) -> Self {
        let desk = Desk::new(shared, delivery.guarded(), one_partition);
        Self { inner, desk, next: None, flights: FuturesUnordered::new(), timer: Timer::default() }
    }

    /// Looks at everything once: what has landed, what may be sent, what is due.
    fn look(&mut self, now: Instant, cx: &mut Context<'_>) -> Progress
    where
        S::Error: Into<BoxError>,
        Se: Settle<S::Response>,
    {
        while let Poll::Ready(Some(landed)) = self.flights.poll_next_unpin(cx) {
            if let Some(landed) = landed {
                self.desk.landed(landed, now);
            }
        }
        let may_send = self.flights.len() < self.desk.shared.max_in_flight();
        let choice = match self.next.take() {
            Some((lot, since)) if may_send => match self.desk.without_cancelled(lot) {
                Some(lot) => return self.send(lot, since, now, cx),
                None => return Progress::Made,
            },
            None if may_send => self.desk.choose::<S::Response>(now, cx.waker()),
            waits => {
                self.next = waits;
                self.desk.watch::<S::Response>(now, cx.waker())
            }
        };
        match choice {
            Choice::Send(lot) => self.send(lot, now, now, cx),
            Choice::Wait(due) => Progress::Waits(due),
            Choice::End if self.flights.is_empty() => Progress::Ended,
            Choice::End => Progress::Waits(None),
            Choice::Abandoned => self.let_go(),
            Choice::Discard(reason) => self.discard(reason),
        }
    }

    /// Sends a lot that was chosen at `since`, as soon as the inner service is ready for it.
    fn send(&mut self, mut lot: Lot<T, An::Answer>, since: Instant, now: Instant, cx: &mut Context<'_>) -> Progress
    where
        S::Error: Into<BoxError>,
        Se: Settle<S::Response>,
    {
        let patience = saturating_add(since, self.desk.delivery.knobs.ready_timeout);
        let polled = panic::catch(|| self.inner.poll_ready(cx).map(|ready| ready.map_err(Into::into)));
        let failed = match polled.map_or(Poll::Ready(Err(DropReason::Panicked)), |polled| polled.map(Ok)) {
            Poll::Ready(Ok(Ok(()))) => return self.call(lot, now),
            Poll::Ready(Ok(Err(error))) => Ok(error),
            Poll::Ready(Err(panicked)) => Err(panicked),
            Poll::Pending if now >= patience => Ok(NotReady::new().into()),
            Poll::Pending => {
                self.next = Some((lot, since));
                return match self.desk.watch::<S::Response>(now, cx.waker()) {
                    Choice::Abandoned => self.let_go(),
                    Choice::Discard(reason) => self.discard(reason),
                    Choice::Wait(Some(due)) => Progress::Waits(Some(due.min(patience))),
                    Choice::Wait(None) | Choice::Send(_) | Choice::End => Progress::Waits(Some(patience)),
                };
            }
        };
        let generation = self.desk.sent(&mut lot);
        self.desk.landed(Landed { lot, generation, result: failed.map(Err) }, now);
        Progress::Made
    }

    /// The inner service is ready, and this very instance is called.
    fn call(&mut self, mut lot: Lot<T, An::Answer>, now: Instant) -> Progress
    where
        S::Error: Into<BoxError>,
        Se: Settle<S::Response>,
    {
        let items = if P::KEEPS { lot.items.clone() } else { lot.items.take() };
        let generation = self.desk.sent(&mut lot);
        let (inner, pack) = (&mut self.inner, &self.desk.delivery.pack);
        // A lot has its items until it is sent.
        let called = match items {
            Some(items) => panic::catch(|| inner.call(pack.pack(items))).map_err(|_reported| DropReason::Panicked),
            None => Err(DropReason::Failed),
        };
        match called {
            Ok(future) => self.flights.push(Flight::new(future, lot, generation)),
            Err(reason) => self.desk.landed(Landed { lot, generation, result: Err(reason) }, now),
        }
        Progress::Made
    }

    /// Drops all lots, and goes on.
    fn discard(&mut self, reason: DropReason) -> Progress {
        let mut lots: Vec<_> = self.next.take().map(|(lot, _)| lot).into_iter().collect();
        lots.extend(Pin::new(&mut self.flights).iter_pin_mut().filter_map(Flight::let_go));
        self.flights.clear();
        self.desk.discard::<S::Response>(lots, reason);
        Progress::Made
    }

    /// Lets go of all lots.
    fn let_go(&mut self) -> Progress {
        if let Some((lot, _)) = self.next.take() {
            self.desk.let_go(lot, Seen::No);
        }
        let lots: Vec<_> = Pin::new(&mut self.flights).iter_pin_mut().filter_map(Flight::let_go).collect();
        self.flights.clear();
        lots.into_iter().for_each(|lot| self.desk.let_go(lot, Seen::Maybe));
        self.desk.let_all_go();
        Progress::Ended
    }
}

impl<T, S, Se, P, An, B> Future for Worker<T, S, Se, P, An, B>
where
    S: Service<P::Request>,
    S::Error: Into<BoxError>,
    Se: Settle<S::Response>,
    P: Pack<T>,
    An: Answer<S::Response>,
    B: IntoIterator<Item = Duration> + Clone,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        /// Looks in one poll, so that a service that is always ready does not keep other tasks waiting.
        const LOOKS: usize = 64;

        let this = self.get_mut();
        for _ in 0..LOOKS {
            // Panics of user code are caught where it runs. One that was missed there has dropped the lot in hand, which
            // settled and answered itself; the worker goes on with the next.
            let progress = panic::catch(|| this.look(now(), cx)).unwrap_or_else(|_reported| {
                this.desk.resume(Pin::new(&this.flights).iter_pin_ref().filter_map(Flight::lot));
                Progress::Made
            });
            match progress {
                Progress::Made => {}
                Progress::Ended => return Poll::Ready(()),
                Progress::Waits(due) => {
                    // Armed again where that has changed.
                    if this.timer.poll(due, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// Nothing in it is pinned: the inner service is called where it is, and its futures are pinned by their set.
impl<T, S, Se, P, An, B> Unpin for Worker<T, S, Se, P, An, B>
where
    S: Service<P::Request>,
    P: Pack<T>,
    An: Answer<S::Response>,
    B: IntoIterator<Item = Duration> + Clone,
{
}

impl<T, S, Se, P, An, B> Drop for Worker<T, S, Se, P, An, B>
where
    S: Service<P::Request>,
    P: Pack<T>,
    An: Answer<S::Response>,
    B: IntoIterator<Item = Duration> + Clone,
{
    fn drop(&mut self) {
        let _ended = self.let_go();
        // Counted as `Shutdown`; their callers are answered, and a shutdown under way still reports the items.
        self.desk.shared.abandon_and_recover();
        trace::closed(|| self.desk.shared.totals());
    }
}

impl<T, S, Se, P, An, B> fmt::Debug for Worker<T, S, Se, P, An, B>
where
    S: Service<P::Request>,
    P: Pack<T>,
    An: Answer<S::Response>,
    B: IntoIterator<Item = Duration> + Clone,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("in_flight", &self.flights.len()).finish_non_exhaustive()
    }
}
