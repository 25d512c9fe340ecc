//! What the result of a call moves, and how it is known that it moves nothing.

use crate::{
    admitted::Admitted,
    core::Core,
    observation::{Grade, Observation},
    policy::Window,
    recent::Recent,
    slot::Env,
    window::{Counters, Line},
    word::Pattern,
};
use forebay_core::support::thread_number;
use tokio::time::Instant;

// === impl Core ===

impl<K> Core<K> {
    /// Takes in the result of a call. `now` is given where the clock was read already.
    #[cold]
    pub(crate) fn settle(&self, admitted: &Admitted, grade: Grade, hint: Option<u64>, now: Option<u64>) {
        let Some((slot, lines)) = self.slot(admitted.index()) else { return };
        // The environment reads the clock once, however many parts of the settlement ask for it.
        let env = self.env().at(now);
        let took = self.policy.stopwatch.then(|| env.now().saturating_sub(admitted.started));
        let event = slot.settle(admitted.ticket(), &Observation { grade, took, hint }, &self.ctx(lines, &env));
        self.emit_event(admitted.index(), event);
    }

    /// Takes in the success of a call: in most cases there is nothing to do, or only something to record.
    #[inline(always)]
    pub(crate) fn settle_success(&self, admitted: &Admitted) {
        if admitted.is_ordinary_single() {
            let word = self.single.slot.word();
            // CORRECTNESS: whatever generation let the call through. In the one that stands nothing is counted, and a
            // success of an earlier one is late.
            if word.is(Pattern::PRISTINE) {
                return;
            }
            if word == admitted.word && word.is(Pattern::TIMED) {
                return self.record_success(admitted, &self.single.lines);
            }
        }
        self.settle_success_of(admitted);
    }

    /// The same, where there may be something to do. Not written into every caller, and not cold either: each call of a
    /// breaker with keys takes this path.
    #[inline(never)]
    fn settle_success_of(&self, admitted: &Admitted) {
        let Some((slot, lines)) = self.slot(admitted.index()) else { return };
        // The word of an ordinary call is closed or ramping, so only the payload is left to look at.
        if admitted.probe() == 0 && slot.word() == admitted.word {
            if admitted.word.is(Pattern::EMPTY) {
                return;
            }
            if admitted.word.is(Pattern::EMPTY_TIMED) {
                return self.record_success(admitted, lines);
            }
        }
        self.settle(admitted, Grade::Success, None, None);
    }

    /// The success of an ordinary call that concerns windows over a time alone, unless it was slow.
    #[inline(never)]
    fn record_success(&self, admitted: &Admitted, lines: &[Line]) {
        let now = Instant::now();
        match Recent::spot_of(self.id, now) {
            Some(spot) => Counters { lines, layout: self.layout }.record_good(spot, admitted.word.generation()),
            None => self.record_success_at(now, admitted, lines),
        }
    }

    #[inline(never)]
    fn record_success_at(&self, now: Instant, admitted: &Admitted, lines: &[Line]) {
        let now = self.clock.micros_at(now);
        if self.policy.stopwatch {
            let took = Some(now.saturating_sub(admitted.started));
            if self.policy.is_bad(&Observation { grade: Grade::Success, took, hint: None }) {
                return self.settle(admitted, Grade::Success, None, Some(now));
            }
        }
        let counters = Counters { lines, layout: self.layout };
        let (stripe, generation) = (counters.stripe(thread_number()), admitted.word.generation());
        for rule in &self.policy.rules {
            if let Window::Time(window) = &rule.window {
                counters.record(window, stripe, generation, now, false);
            }
        }
        if let Some(window) = &self.policy.only {
            let epoch = now / window.width;
            let edge = |epoch: u64| epoch.checked_mul(window.width).and_then(|edge| self.clock.at(edge));
            if let (Some(since), Some(until)) = (edge(epoch), edge(epoch + 1)) {
                Recent::remember(self.id, since, until, counters.spot(window, stripe, epoch));
            }
        }
    }
}
