//! Which broker is next, pure: chance is an argument.

use forebay_core::chance::SplitMix64;
use std::sync::Arc;

/// The addresses of a cluster: those that a program names, and those that the cluster itself names.
///
/// One broker is chosen at random and kept until it fails; then the next one is tried. The brokers of the cluster come before
/// the bootstrap list, which stays the way back for a cluster that has moved, or whose advertised addresses cannot be reached
/// from here.
#[derive(Debug)]
pub(super) struct Brokers {
    /// What the program named; never empty.
    bootstrap: Vec<Arc<str>>,
    /// What the cluster named last, sorted; empty until a broker has responded.
    discovered: Vec<Arc<str>>,
    /// The brokers in the order in which they are tried, each once.
    ring: Vec<Arc<str>>,
    /// The broker in use, or the one that is tried next.
    current: usize,
    random: SplitMix64,
}

/// The most brokers of a cluster that are remembered; a client needs one that works, not all.
const MOST: usize = 256;

// === impl Brokers ===

impl Brokers {
    /// The bootstrap list alone, from a random one on.
    pub(super) fn new(bootstrap: Vec<Arc<str>>, seed: u64) -> Self {
        let mut brokers = Self {
            ring: distinct(&[], &bootstrap),
            bootstrap,
            discovered: Vec::new(),
            current: 0,
            random: SplitMix64::new(seed),
        };
        brokers.current = brokers.any_of(brokers.ring.len());
        brokers
    }

    /// The broker in use, or the one that is tried next.
    pub(super) fn current(&self) -> Arc<str> {
        Arc::clone(&self.ring[self.current])
    }

    /// The current broker failed: the next one takes its turn.
    pub(super) fn fail(&mut self) {
        self.current = (self.current + 1) % self.ring.len();
    }

    /// The cluster has named its brokers. Returns whether another broker than the current one is to be used from now on.
    ///
    /// The first list decides at random, so that clients with one bootstrap address spread over the cluster. After that the
    /// current broker stays, unless it has left the cluster. A list that is known already changes nothing, so a client that came
    /// back to the bootstrap list, since it could reach none of the advertised addresses, stays there.
    pub(super) fn discover(&mut self, addresses: Vec<String>) -> bool {
        let mut discovered: Vec<Arc<str>> = addresses.into_iter().map(Arc::from).collect();
        discovered.sort_unstable();
        discovered.dedup();
        // Not always the same ones: a cluster that is larger than this is used as a whole by its clients together.
        while discovered.len() > MOST {
            let at = self.any_of(discovered.len());
            discovered.swap_remove(at);
        }
        if discovered.is_empty() || discovered == self.discovered {
            return false;
        }
        let before = self.current();
        let is_first = self.discovered.is_empty();
        self.ring = distinct(&discovered, &self.bootstrap);
        self.discovered = discovered;
        let known = self.ring.iter().take(self.discovered.len()).position(|broker| *broker == before);
        self.current = match known {
            Some(at) if !is_first => at,
            _ => self.any_of(self.discovered.len()),
        };
        self.current() != before
    }

    /// The broker at this address stays in use: the one that was chosen in its place cannot be reached.
    pub(super) fn keep(&mut self, address: &str) {
        if let Some(at) = self.ring.iter().position(|broker| &**broker == address) {
            self.current = at;
        }
    }

    fn any_of(&mut self, count: usize) -> usize {
        let count = count.max(1);
        usize::try_from(self.random.between(0, (count - 1) as u64)).unwrap_or_default()
    }
}

/// `first`, then those of `then` that are not in it.
fn distinct(first: &[Arc<str>], then: &[Arc<str>]) -> Vec<Arc<str>> {
    let mut ring: Vec<Arc<str>> = Vec::with_capacity(first.len() + then.len());
    for broker in first.iter().chain(then) {
        if !ring.contains(broker) {
            ring.push(Arc::clone(broker));
        }
    }
    ring
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn list(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_first_broker_is_any_of_the_list() {
        let first = |seed| Brokers::new(list(&["a:1", "b:1", "c:1"]), seed).current();
        let chosen: BTreeSet<_> = (0..64).map(first).collect();
        assert_eq!(chosen.len(), 3, "{chosen:?}");
    }

    #[test]
    fn clients_with_one_bootstrap_address_spread_over_the_cluster() {
        let chosen: BTreeSet<_> = (0..64)
            .map(|seed| {
                let mut brokers = Brokers::new(list(&["a:1"]), seed);
                brokers.discover(owned(&["c:1", "a:1", "b:1"]));
                brokers.current()
            })
            .collect();
        assert_eq!(chosen.len(), 3, "{chosen:?}");
    }

    #[test]
    fn a_broker_that_works_is_kept_until_it_leaves_the_cluster() {
        let mut brokers = Brokers::new(list(&["boot:1"]), 7);
        assert!(brokers.discover(owned(&["a:1", "b:1"])), "the bootstrap address is no broker of the cluster");
        let current = brokers.current();
        assert!(!brokers.discover(owned(&["a:1", "b:1", "c:1"])));
        assert_eq!(brokers.current(), current, "a larger cluster moves no client");
        assert!(brokers.discover(owned(&["c:1", "d:1"])));
        assert_ne!(brokers.current(), current);
    }

    #[test]
    fn advertised_addresses_that_cannot_be_reached_lead_back_to_the_bootstrap_list() {
        let mut brokers = Brokers::new(list(&["boot:1"]), 7);
        brokers.discover(owned(&["inside-a:1", "inside-b:1"]));
        for _ in 0..4 {
            if &*brokers.current() == "boot:1" {
                break;
            }
            brokers.fail();
        }
        assert_eq!(&*brokers.current(), "boot:1");
        assert!(!brokers.discover(owned(&["inside-b:1", "inside-a:1"])), "it is not sent away again");
        assert_eq!(&*brokers.current(), "boot:1");
    }

    proptest! {
        /// Whatever a cluster says and whatever fails: there is always a broker, and as many failures as there are brokers
        /// try each of them once.
        #[test]
        fn every_broker_has_its_turn(
            seed in any::<u64>(),
            bootstrap in prop::collection::vec("[a-d]:1", 1..4),
            steps in prop::collection::vec(prop::option::of(prop::collection::vec("[a-f]:1", 0..6)), 0..20),
        ) {
            let mut brokers = Brokers::new(bootstrap.iter().map(|name| Arc::from(name.as_str())).collect(), seed);
            let mut cluster = Vec::new();
            for step in steps {
                match step {
                    Some(named) => {
                        if !named.is_empty() {
                            cluster.clone_from(&named);
                        }
                        brokers.discover(named);
                    }
                    None => brokers.fail(),
                }
                let expected: BTreeSet<String> = cluster.iter().chain(&bootstrap).cloned().collect();
                let mut tried = BTreeSet::new();
                for _ in 0..expected.len() {
                    prop_assert!(tried.insert(brokers.current().to_string()));
                    brokers.fail();
                }
                prop_assert_eq!(tried, expected);
            }
        }
    }
}
