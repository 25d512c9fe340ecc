use crate::{GaveUp, RetriesExhausted, attempts::Attempts, budget::Withdrawal};
use forebay_core::{BoxError, Seen, time::saturating_add};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

pin_project! {
    /// What a response future needs once it has to wait, and not before: it is allocated then.
    ///
    /// CANCEL: dropping it refunds a retry that was paid for and not sent.
    #[derive(Debug)]
    pub(crate) struct Session {
        // The timer of the wait that is under way.
        #[pin]
        sleep: Option<Sleep>,
        // What decides.
        pub(crate) attempts: Attempts,
        // What the next attempt has cost.
        pub(crate) hold: Option<Withdrawal>,
        // The error of the last attempt; its response is not kept, because it may hold a connection.
        last: Option<BoxError>,
    }
}

/// Where a future keeps its session, once it has one.
#[derive(Debug, Default)]
pub(crate) struct Slot(Option<Pin<Box<Session>>>);

// === impl Slot ===

impl Slot {
    pub(crate) const EMPTY: Self = Self(None);

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn get(&mut self) -> Option<Pin<&mut Session>> {
        self.0.as_mut().map(Pin::as_mut)
    }

    pub(crate) fn get_or_insert(&mut self, attempts: impl FnOnce() -> Attempts) -> Pin<&mut Session> {
        let session = || Box::pin(Session { sleep: None, attempts: attempts(), hold: None, last: None });
        self.0.get_or_insert_with(session).as_mut()
    }

    /// How many attempts were begun, as far as the session knows.
    pub(crate) fn begun(&self) -> Option<u32> {
        self.0.as_ref().map(|session| session.attempts.begun())
    }
}

/// Most calls end without a session, and do not pay for the code that drops one.
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

    /// The next attempt was sent: what it cost is spent.
    pub(crate) fn sent(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.sleep.set(None);
        if let Some(hold) = this.hold.take() {
            hold.spend();
        }
    }

    /// Keeps the error of the last attempt; a response is dropped before this is called.
    pub(crate) fn keep(self: Pin<&mut Self>, error: Option<BoxError>) {
        *self.project().last = error;
    }

    /// What is returned in place of the last error.
    pub(crate) fn exhausted(self: Pin<&mut Self>, gave_up: GaveUp) -> BoxError {
        let this = self.project();
        // CANCEL: a retry that was paid for and is not sent any more is refunded here.
        drop(this.hold.take());
        RetriesExhausted::new(gave_up, this.attempts.seen(), this.last.take()).into()
    }

    /// The inner service failed before the next attempt was sent.
    pub(crate) fn not_ready(mut self: Pin<&mut Self>, error: BoxError) {
        let seen = Seen::of(&*error);
        self.as_mut().project().attempts.learn(seen);
        self.keep(Some(error));
    }
}
