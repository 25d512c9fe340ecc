//! What is told to `tracing`; without the feature nothing is.

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::{closed, cut, parked, settled};
#[cfg(feature = "tracing")]
pub(crate) use self::on::{closed, cut, parked, settled};

#[cfg(feature = "tracing")]
mod on {
    use forebay_core::{DropReason, Fate, SplitCause, Totals, panic};
    use forebay_intake::Charge;
    use std::time::Duration;
    use tracing::{Level, debug, enabled};

    const TARGET: &str = "forebay_batch";

    /// A subscriber that panics is not allowed to take the worker along. Called without the lock: a subscriber may hand
    /// its events to this very batcher.
    fn quietly(tell: impl FnOnce()) {
        let _reported = panic::catch(tell);
    }

    /// A batch was refused for what is in it, and goes on in two parts.
    pub(crate) fn cut(items: usize, cause: SplitCause) {
        let cause = match cause {
            SplitCause::TooLarge => "too_large",
            SplitCause::BadItem => "bad_item",
        };
        quietly(|| debug!(target: TARGET, items, cause, "batch split"));
    }

    /// A batch waits aside for another attempt.
    pub(crate) fn parked(items: usize, attempts: u32, hint: Option<Duration>) {
        let hint_s = hint.map(|hint| hint.as_secs_f64());
        quietly(|| debug!(target: TARGET, items, attempts, hint_s, "batch parked"));
    }

    /// Items have met their fates: those that were lost are told, one event for each reason.
    #[inline]
    pub(crate) fn settled(charges: &[(Charge, Fate)]) {
        for (charge, fate) in charges {
            if let Fate::Dropped(reason) = fate {
                let (items, reason) = (charge.items, reason.as_str());
                quietly(|| debug!(target: TARGET, items, reason, "batch settled with losses"));
            }
        }
    }

    /// The worker has gone; told if that cost items.
    pub(crate) fn closed(totals: impl FnOnce() -> Totals) {
        if panic::catch(|| enabled!(target: TARGET, Level::DEBUG)) == Ok(true) {
            let items = totals().dropped.get(DropReason::Shutdown);
            if items > 0 {
                quietly(|| debug!(target: TARGET, items, "batcher closed with losses"));
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
    pub(crate) fn cut(_: usize, _: SplitCause) {}

    #[inline(always)]
    pub(crate) fn parked(_: usize, _: u32, _: Option<Duration>) {}

    #[inline(always)]
    pub(crate) fn settled(_: &[(Charge, Fate)]) {}

    #[inline(always)]
    pub(crate) fn closed(_: impl FnOnce() -> Totals) {}
}
