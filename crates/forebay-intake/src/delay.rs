use forebay_core::time::saturating_add;
use std::time::{Duration, Instant};

/// Says when a queue is overloaded, by how long the items wait that leave it. Pure state: an instant, whatever the load.
///
/// The rule is that of Controlled Delay ([RFC 8289], section 5): a wait below the target shows that the queue drains, and so does
/// an item that leaves no other behind; where neither is seen for an interval, the shortest wait of that interval was above the
/// target, and the queue is overloaded until one of the two is seen again.
///
/// What it sheds is not that of the RFC, whose senders slow down by themselves when single packets are dropped: it sheds each item
/// that waited for twice the target, as the servers of others do that have adopted the rule. So the waits of the items that are
/// processed stay between the target and twice the target while the overload lasts.
///
/// [RFC 8289]: https://www.rfc-editor.org/rfc/rfc8289
#[derive(Clone, Copy, Debug)]
pub struct DelayControl {
    target: Duration,
    interval: Duration,
    /// When the queue is overloaded, if no sign that it drains is seen before; `None` while it drains.
    overloaded_at: Option<Instant>,
}

// === impl DelayControl ===

impl DelayControl {
    /// For a queue without items.
    #[must_use]
    pub const fn new(target: Duration, interval: Duration) -> Self {
        Self { target, interval, overloaded_at: None }
    }

    /// An item leaves the queue at `now`, after it has waited for `wait`; `is_last` says that it leaves none behind. Returns
    /// whether it is shed.
    #[must_use]
    pub fn sheds(&mut self, wait: Duration, is_last: bool, now: Instant) -> bool {
        if wait < self.target || is_last {
            self.overloaded_at = None;
            return false;
        }
        let interval = self.interval;
        let overloaded_at = *self.overloaded_at.get_or_insert_with(|| saturating_add(now, interval));
        now >= overloaded_at && wait >= self.target.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// Every item that has left so far: when, after how long, and whether it was the last.
    type Left = Vec<(u32, u32, bool)>;

    /// The rule as it is said: over a whole interval up to `now` items have left, each after the target or more, and each left
    /// another behind.
    fn is_overloaded(left: &Left, target: u32, interval: u32) -> bool {
        let (now, ..) = left[left.len() - 1];
        let run = left.iter().rev().take_while(|(_, wait, is_last)| *wait >= target && !is_last);
        run.last().is_some_and(|(begin, ..)| now - begin >= interval)
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    fn start() -> Instant {
        Instant::now()
    }

    proptest! {
        #[test]
        fn d07_it_sheds_by_the_rule(
            target in 1_u32..20,
            interval in 1_u32..200,
            steps in prop::collection::vec((0_u32..30, 0_u32..60, prop::bool::weighted(0.05)), 1..200),
        ) {
            let (start, mut now, mut left) = (start(), 0, Left::new());
            let mut control = DelayControl::new(MS * target, MS * interval);
            for (later, wait, is_last) in steps {
                now += later;
                left.push((now, wait, is_last));
                let sheds = control.sheds(MS * wait, is_last, start + MS * now);
                prop_assert_eq!(sheds, is_overloaded(&left, target, interval) && wait >= 2 * target);
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_of_time_are_borne() {
        for (target, interval) in [(Duration::MAX, MS), (MS, Duration::MAX), (MS, Duration::ZERO)] {
            let mut control = DelayControl::new(target, interval);
            let sheds: Vec<_> = (0..3).map(|_| control.sheds(Duration::MAX, false, start())).collect();
            assert_eq!(sheds, [interval.is_zero(); 3]);
        }
    }
}
