use super::{fault::Fault, faults::Faults};
use std::collections::VecDeque;

/// Which request gets which fault.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) faults: Faults,
    /// Played first, in order.
    pub(super) script: VecDeque<Fault>,
    requests: usize,
}

// === impl Plan ===

impl Plan {
    pub(super) fn new(seed: u64, faults: Faults, script: VecDeque<Fault>) -> Self {
        Self { seed, faults, script, requests: 0 }
    }

    /// The number of the next request, from 0, and its fault.
    ///
    /// A scripted request uses up its draw, so that the n-th request gets the n-th draw whatever was scripted before.
    pub(super) fn next(&mut self) -> (usize, Fault) {
        let number = self.requests;
        self.requests += 1;
        let scripted = self.script.pop_front();
        (number, scripted.unwrap_or_else(|| self.faults.draw(self.seed, number as u64).clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_uses_up_the_draws_of_its_requests() {
        let faults: Faults = "slow:50".parse().unwrap();
        let scripted = VecDeque::from([Fault::Deaf, Fault::None]);
        let drawn: Vec<_> = (2..20).map(|n| faults.draw(7, n).clone()).collect();
        let mut plan = Plan::new(7, faults, scripted);
        assert_eq!(plan.next(), (0, Fault::Deaf));
        assert_eq!(plan.next(), (1, Fault::None));
        assert_eq!((2..20).map(|_| plan.next().1).collect::<Vec<_>>(), drawn);
    }
}
