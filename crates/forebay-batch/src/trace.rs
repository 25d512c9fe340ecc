//! What is emitted as `tracing` events; without the feature nothing is.

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::{closed, parked, settled, split};
#[cfg(feature = "tracing")]
pub(crate) use self::on::{closed, parked, settled, split};

#[cfg(feature = "tracing")]
mod on {
    use forebay_core::{DropReason, Fate, SplitCause, Totals, panic};
    use forebay_intake::Charge;
    use std::time::Duration;
    use tracing::{Level, debug, enabled};

    const TARGET: &str = "forebay_batch";

    /// Emits one event; a panic of a subscriber does not reach the worker.
    ///
    /// CORRECTNESS: called without the lock, since a subscriber may hand its events to this very batcher.
    fn emit_event(emit: impl FnOnce()) {
        let _reported = panic::catch(emit);
    }

    /// A batch was refused for what is in it, and is sent in two parts.
    pub(crate) fn split(items: usize, cause: SplitCause) {
        let cause = match cause {
            SplitCause::TooLarge | SplitCause::TooLargeForOne => "too_large",
            SplitCause::BadItem => "bad_item",
        };
        emit_event(|| debug!(target: TARGET, items, cause, "batch split"));
    }

    /// A batch waits for another attempt.
    pub(crate) fn parked(items: usize, attempts: u32, hint: Option<Duration>) {
        let hint_s = hint.map(|hint| hint.as_secs_f64());
        emit_event(|| debug!(target: TARGET, items, attempts, hint_s, "batch parked"));
    }

    /// Items have met their fates: one event for each reason for which some were lost.
    #[inline]
    pub(crate) fn settled(charges: &[(Charge, Fate)]) {
        for (charge, fate) in charges {
            if let Fate::Dropped(reason) = fate {
                let (items, reason) = (charge.items, reason.as_str());
                emit_event(|| debug!(target: TARGET, items, reason, "batch settled with losses"));
            }
        }
    }

    /// The worker has ended; emitted only if that cost items.
    pub(crate) fn closed(totals: impl FnOnce() -> Totals) {
        if panic::catch(|| enabled!(target: TARGET, Level::DEBUG)) == Ok(true) {
            let items = totals().dropped.get(DropReason::Shutdown);
            if items > 0 {
                emit_event(|| debug!(target: TARGET, items, "batcher closed with losses"));
            }
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use forebay_core::{Fate, SplitCause, Totals};
    use forebay_intake::Charge;
    use std::time::Duration;

    #[inline(always)]
    pub(crate) fn split(_: usize, _: SplitCause) {}

    #[inline(always)]
    pub(crate) fn parked(_: usize, _: u32, _: Option<Duration>) {}

    #[inline(always)]
    pub(crate) fn settled(_: &[(Charge, Fate)]) {}

    #[inline(always)]
    pub(crate) fn closed(_: impl FnOnce() -> Totals) {}
}
