//! The worker watches the ledger for losses, and says them.

use super::{
    Loudness,
    alarm::{Alarm, Step},
    on::{is_wanted, lost},
};
use forebay_core::Totals;
use forebay_intake::{Registration, Timer, now, wake};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
};

/// Wakes the worker when an item was refused at the door, where it would not see it before it has other work.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    worker: Mutex<Option<Waker>>,
}

/// The worker's part: what was said of losses, and when to look again.
#[derive(Default)]
pub(crate) struct Losses {
    alarm: Alarm,
    timer: Timer,
}

// === impl Bell ===

impl Bell {
    /// One load where the worker knows already, which is all but the first time in a minute.
    #[cold]
    pub(crate) fn ring(&self) {
        if self.rung.load(Ordering::Relaxed) || self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            wake(worker);
        }
    }

    /// CORRECTNESS: the waker is there before the bell is silent again, and the caller reads the ledger after that. So a
    /// loss is either in what it reads, or rings.
    fn listen(&self, waker: &Waker) {
        let mut registration = Registration::new(waker);
        registration.store(&mut self.worker.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.store(false, Ordering::Release);
    }

    /// No wake-up is needed: the worker looks without one.
    fn mute(&self) {
        self.rung.store(true, Ordering::Relaxed);
    }
}

// === impl Losses ===

impl Losses {
    /// Looks at the ledger, and says what was lost, unless it is too early for that: then a timer will wake the worker.
    pub(crate) fn look(
        &mut self,
        name: &str,
        loudness: Loudness,
        bell: &Bell,
        totals: impl Fn() -> Totals,
        cx: &mut Context<'_>,
    ) {
        if !is_wanted(loudness) {
            return;
        }
        bell.listen(cx.waker());
        loop {
            let dropped = totals().dropped;
            if !self.alarm.has_news(&dropped) {
                let _never = self.timer.poll(None, cx);
                return;
            }
            match self.alarm.look(&dropped, now()) {
                Step::Say(items) => lost(name, loudness, &items),
                Step::Wait(until) => {
                    if self.timer.poll(Some(until), cx).is_pending() {
                        bell.mute();
                        return;
                    }
                }
            }
        }
    }
}
