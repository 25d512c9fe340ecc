//! When it is said that items were lost. Pure: no clock, no lock.

use forebay_core::{DropReason, Drops};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// The least time between two warnings of one exporter.
pub(crate) const AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// Remembers what was said of losses, and when.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    said: Drops,
    not_before: Option<Instant>,
}

/// Items that were lost since the last warning, by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost(Vec<(DropReason, u64)>);

/// What is to be done about the losses so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Say(Lost),
    /// It is too early for another warning: look again at this instant.
    Wait(Instant),
}

// === impl Alarm ===

impl Alarm {
    /// Whether there is anything to say of `dropped`, all that was dropped so far.
    pub(crate) fn has_news(&self, dropped: &Drops) -> bool {
        DropReason::ALL.into_iter().any(|reason| is_loss(reason) && dropped.get(reason) != self.said.get(reason))
    }

    /// What to do about `dropped`, of which there is something to say.
    pub(crate) fn look(&mut self, dropped: &Drops, now: Instant) -> Step {
        if let Some(not_before) = self.not_before
            && now < not_before
        {
            return Step::Wait(not_before);
        }
        let since = |reason| dropped.get(reason).saturating_sub(self.said.get(reason));
        let lost = DropReason::ALL.into_iter().filter(|reason| is_loss(*reason));
        let lost = lost.map(|reason| (reason, since(reason))).filter(|(_, items)| *items > 0).collect();
        self.said = *dropped;
        self.not_before = now.checked_add(AT_MOST_EVERY);
        Step::Say(Lost(lost))
    }
}

/// What the host has asked for is no loss: it switched the exporter off, or shut it down, its own rule let an item go, or its
/// own caller went away.
fn is_loss(reason: DropReason) -> bool {
    !matches!(reason, DropReason::Disabled | DropReason::Shutdown | DropReason::Filtered | DropReason::Cancelled)
}

// === impl Lost ===

impl Lost {
    pub(crate) fn items(&self) -> u64 {
        self.0.iter().map(|(_, items)| items).sum()
    }
}

/// `3 full, 2 expired`.
impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (reason, items)) in self.0.iter().enumerate() {
            write!(f, "{}{items} {reason}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::{Fate, Ledger};
    use proptest::prelude::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn dropped(reasons: &[(DropReason, u64)]) -> Drops {
        let mut ledger = Ledger::default();
        reasons.iter().for_each(|(reason, items)| ledger.refuse(*reason, *items));
        ledger.totals().dropped
    }

    #[test]
    fn what_the_host_has_asked_for_is_no_loss() {
        let alarm = Alarm::default();
        let asked = [DropReason::Disabled, DropReason::Shutdown, DropReason::Filtered, DropReason::Cancelled];
        let asked = asked.map(|reason| (reason, 3));
        assert!(!alarm.has_news(&dropped(&asked)));
        assert!(alarm.has_news(&dropped(&[(DropReason::Full, 1)])));
    }

    #[test]
    fn a_warning_counts_from_the_last_one_and_no_other_comes_within_a_minute() {
        let (mut alarm, start) = (Alarm::default(), now());
        let first = dropped(&[(DropReason::Full, 3), (DropReason::Shutdown, 9)]);
        let Step::Say(lost) = alarm.look(&first, start) else { panic!("the first loss is said at once") };
        assert_eq!((lost.items(), lost.to_string().as_str()), (3, "3 full"));
        assert!(!alarm.has_news(&first));

        let second = dropped(&[(DropReason::Full, 5), (DropReason::Expired, 2)]);
        assert!(alarm.has_news(&second));
        assert_eq!(alarm.look(&second, start + AT_MOST_EVERY / 2), Step::Wait(start + AT_MOST_EVERY));
        let Step::Say(lost) = alarm.look(&second, start + AT_MOST_EVERY) else { panic!("a minute is over") };
        assert_eq!((lost.items(), lost.to_string().as_str()), (4, "2 full, 2 expired"));
    }

    proptest! {
        /// Whatever is lost and whenever it is looked at: nothing is said twice, nothing is left out, and never too often.
        #[test]
        fn all_that_is_said_is_all_that_was_lost(steps in prop::collection::vec((0..DropReason::ALL.len(), 0..9_u64, 0..90_u64), 1..99)) {
            let (mut alarm, mut ledger, mut now) = (Alarm::default(), Ledger::default(), now());
            let (mut said, mut last) = (0, None);
            for (reason, items, seconds) in steps {
                ledger.accept(items);
                ledger.settle(Fate::Dropped(DropReason::ALL[reason]), items);
                now += Duration::from_secs(seconds);
                let dropped = ledger.totals().dropped;
                if !alarm.has_news(&dropped) {
                    continue;
                }
                if let Step::Say(lost) = alarm.look(&dropped, now) {
                    prop_assert!(lost.items() > 0);
                    prop_assert!(last.is_none_or(|last| now.duration_since(last) >= AT_MOST_EVERY));
                    said += lost.items();
                    last = Some(now);
                }
            }
            let dropped = ledger.totals().dropped;
            if alarm.has_news(&dropped)
                && let Step::Say(lost) = alarm.look(&dropped, now + AT_MOST_EVERY)
            {
                said += lost.items();
            }
            let asked = [DropReason::Disabled, DropReason::Shutdown, DropReason::Filtered, DropReason::Cancelled];
            prop_assert_eq!(said, dropped.total() - asked.map(|reason| dropped.get(reason)).iter().sum::<u64>());
        }
    }
}
