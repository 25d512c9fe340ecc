//! Events: handed to the observer and to `tracing` after every lock is released.

use crate::{
    BreakerEvent, OVERFLOW,
    core::Core,
    directory::{Place, Writing},
    label::KeyLabel,
    refusal::Refusal,
    state::{Event, Transition},
};
use forebay_core::{event, event_enabled, panic};
use std::hash::Hash;

/// The target of the events of this crate.
const TARGET: &str = "forebay_breaker";

// === impl Core ===

impl<K> Core<K> {
    /// Whether an observer or a subscriber of `tracing` wants events: one load, where none does.
    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some() || event_enabled!(TARGET)
    }

    /// Emits what has happened to the slot at `index`.
    #[inline]
    pub(crate) fn emit_event(&self, index: u32, event: Option<Box<Event>>) {
        if let Some(event) = event {
            self.emit_event_of(index, *event);
        }
    }

    fn emit_event_of(&self, index: u32, Event { transition, label, mode, generation }: Event) {
        let key = label.unwrap_or_else(|| match index {
            index if index != Place::SINGLE.index => KeyLabel::EMPTY,
            _ if self.directory.is_some() => KeyLabel::new(OVERFLOW),
            _ => self.name.clone(),
        });
        let event = match transition {
            Transition::State { from, to, reason } => BreakerEvent::Changed { key, from, to, reason, mode, generation },
            Transition::ProbesLost(probes) => BreakerEvent::ProbesLost { key, probes },
            Transition::HeldBack(reason) => BreakerEvent::HeldBack { key, reason },
        };
        // No lock is held: an observer may use a handle, and a subscriber may call back.
        trace(&event);
        self.emit(|| event);
    }

    pub(crate) fn emit_rejected(&self, refusal: Refusal, label: impl FnOnce() -> KeyLabel) {
        let (state, mode, retry_in) = (refusal.state(), refusal.mode(), refusal.wait());
        self.emit(|| BreakerEvent::Rejected { key: label(), state, retry_in, mode });
    }

    /// Hands an event to the observer, if there is one.
    #[inline]
    pub(crate) fn emit(&self, event: impl FnOnce() -> BreakerEvent) {
        let Some(observer) = &self.observer else { return };
        let event = event();
        if std::thread::panicking() {
            // A call that has panicked is being dropped. A second panic would end the process; the hook has reported it.
            let _reported = panic::catch(|| observer.observe(&event));
        } else {
            observer.observe(&event);
        }
    }
}

impl<K: Hash + Eq> Core<K> {
    /// Releases the directory, then emits what was done to it.
    pub(crate) fn release(&self, writing: Writing<'_, K>) {
        // CORRECTNESS: `finish` releases the lock before the first event is emitted, since an observer is user code.
        for event in writing.finish() {
            self.emit_event_of(Place::NOWHERE, event);
        }
    }
}

/// Records an event in `tracing`. What happens to single calls is left out: there may be millions of them.
fn trace(event: &BreakerEvent) {
    match event {
        BreakerEvent::Changed { key, from, to, reason, mode, generation } => event!(
            TARGET,
            "breaker changed state",
            key = key.as_str(),
            from = from.as_str(),
            to = to.as_str(),
            reason = reason.to_string(),
            mode = mode.as_str(),
            generation = generation,
        ),
        BreakerEvent::ProbesLost { key, probes } => event!(TARGET, "probes lost", key = key.as_str(), probes = probes),
        BreakerEvent::HeldBack { key, reason } => {
            event!(TARGET, "breaker held back", key = key.as_str(), reason = reason.to_string());
        }
        BreakerEvent::Rejected { .. } | BreakerEvent::Overflow { .. } => {}
    }
}
