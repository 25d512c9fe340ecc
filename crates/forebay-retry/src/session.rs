use crate::{GaveUp, RetriesExhausted, Why, backoff::Delays, budget::Hold, limits::End};
use forebay_core::{BoxError, Seen, time::saturating_add};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

pin_project! {
    /// What a request needs once it has to wait, and not before: it is allocated then.
    ///
    /// CANCEL: dropping it refunds a retry that was paid for and not sent.
    #[derive(Debug)]
    pub(crate) struct Session {
        #[pin]
        sleep: Option<Sleep>,
        pub(crate) delays: Delays,
        // What the next attempt has cost.
        pub(crate) hold: Option<Hold>,
        // Since when the next attempt is held back.
        held_since: Option<Instant>,
        // The error of the last attempt; its response is not kept, because it may hold a connection.
        pub(crate) last: Option<BoxError>,
        // The most that is known of all attempts.
        pub(crate) seen: Seen,
        pub(crate) end: Option<End>,
    }
}

/// Where a future keeps its session, once it has one.
#[derive(Debug, Default)]
pub(crate) struct Slot(Option<Pin<Box<Session>>>);

// === impl Slot ===

impl Slot {
    pub(crate) const EMPTY: Self = Self(None);

    pub(crate) fn get(&mut self) -> Option<Pin<&mut Session>> {
        self.0.as_mut().map(Pin::as_mut)
    }

    pub(crate) fn get_or_insert(&mut self, delays: impl FnOnce() -> Delays) -> Pin<&mut Session> {
        self.0.get_or_insert_with(|| Session::new(delays())).as_mut()
    }
}

/// Most calls end without a session, and should not pay for what it takes to drop one.
impl Drop for Slot {
    #[inline]
    fn drop(&mut self) {
        #[cold]
        #[inline(never)]
        fn end(session: Pin<Box<Session>>) {
            drop(session);
        }
        if self.0.is_some() {
            self.0.take().into_iter().for_each(end);
        }
    }
}

// === impl Session ===

impl Session {
    fn new(delays: Delays) -> Pin<Box<Self>> {
        let seen = Seen::No;
        Box::pin(Self { sleep: None, delays, hold: None, held_since: None, last: None, seen, end: None })
    }

    /// Waits for `wait`, which is over at once if it is zero.
    pub(crate) fn wait_for(self: Pin<&mut Self>, now: Instant, wait: Duration) {
        if !wait.is_zero() {
            self.wait_until(Instant::from_std(saturating_add(now.into_std(), wait)));
        }
    }

    /// Waits until `at`.
    pub(crate) fn wait_until(self: Pin<&mut Self>, at: Instant) {
        self.project().sleep.set(Some(sleep_until(at)));
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.sleep.is_some()
    }

    /// Whether the wait is over; without one it is.
    pub(crate) fn poll_wait(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleep = self.project().sleep;
        if let Some(running) = sleep.as_mut().as_pin_mut() {
            std::task::ready!(running.poll(cx));
            sleep.set(None);
        }
        Poll::Ready(())
    }

    /// Whether the next attempt may be held back for `wait` more.
    pub(crate) fn hold_back(self: Pin<&mut Self>, now: Instant, wait: Duration, patience: Duration) -> Result<(), Why> {
        let this = self.project();
        let since = *this.held_since.get_or_insert(now);
        if now.saturating_duration_since(since).saturating_add(wait) > patience {
            return Err(Why::Throttled);
        }
        End::check(*this.end, now, wait)
    }

    /// The next attempt is on its way.
    pub(crate) fn sent(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.sleep.set(None);
        *this.held_since = None;
        if let Some(hold) = this.hold.take() {
            hold.spend();
        }
    }

    /// An attempt ended with this error, or with a response that may be improved upon.
    pub(crate) fn learn(self: Pin<&mut Self>, error: Option<BoxError>) {
        let this = self.project();
        let seen = match &error {
            None => Seen::Yes,
            Some(error) => Seen::of(&**error),
        };
        *this.seen = match (*this.seen, seen) {
            (Seen::Yes, _) | (_, Seen::Yes) => Seen::Yes,
            (Seen::Maybe, _) | (_, Seen::Maybe) => Seen::Maybe,
            (Seen::No, Seen::No) => Seen::No,
        };
        *this.last = error;
    }

    /// What is returned in place of the last error.
    pub(crate) fn exhausted(self: Pin<&mut Self>, gave_up: GaveUp) -> BoxError {
        let this = self.project();
        // CANCEL: a retry that was paid for and is not sent any more is refunded here.
        drop(this.hold.take());
        RetriesExhausted::new(gave_up, *this.seen, this.last.take()).into()
    }
}
