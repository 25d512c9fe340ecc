use std::{fmt, time::Duration};

/// What each receiver was sent beyond the catch-up, beside what is normal for it.
///
/// **Live load** is what arrives within [`LIVE`] of its emission, repeated items included. What is older is the catch-up: it has waited
/// until an endpoint was back.
///
/// **Normal** under a balance is an equal share of what is offered, among the receivers that carry the load: those that live, and
/// have done so for [`BACK`]. Before that an exporter need not have noticed that a receiver is back. Under a failover one endpoint
/// receives everything, so that all of the offer is normal for each.
///
/// Both are summed over every stretch of [`STRETCH`] in which the receiver lives; time in which it is dead is left out.
#[derive(Debug)]
pub(crate) struct Load {
    /// How much time there is between two looks.
    look: Duration,
    shared: bool,
    offered: u64,
    receivers: Vec<Received>,
}

/// One receiver, as it is at a look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) lives: bool,
    /// All of its live load so far.
    pub(crate) live: u64,
}

#[derive(Debug)]
struct Received {
    last: Seen,
    /// For so many looks it has lived.
    age: usize,
    /// Of each look in which it lived: the live load, and the normal one.
    looks: Vec<(u64, f64)>,
}

/// What arrives later than that is catch-up.
pub(crate) const LIVE: Duration = Duration::from_millis(200);

/// A receiver carries its share of the load once it has been back for so long.
const BACK: Duration = Duration::from_millis(1500);

/// The time over which live and normal load are compared. An endpoint that responds late for a moment, as on a machine whose processors
/// are busy, receives less for some seconds, and the others its share: that is what a balance is for.
const STRETCH: Duration = Duration::from_secs(10);

/// The live load of a receiver is at most so many times its normal load.
const MOST: f64 = 1.2;

// === impl Load ===

impl Load {
    /// Nothing was offered yet. `shared` says whether the receivers share the load.
    pub(crate) fn new(receivers: usize, shared: bool, look: Duration) -> Self {
        let received = || Received { last: Seen { lives: true, live: 0 }, age: usize::MAX, looks: Vec::new() };
        Self { look, shared, offered: 0, receivers: (0..receivers).map(|_| received()).collect() }
    }

    /// Looks at the receivers once `offered` items were offered.
    pub(crate) fn look(&mut self, offered: u64, receivers: impl IntoIterator<Item = Seen>) {
        let new = offered.saturating_sub(self.offered);
        self.offered = offered;
        let back = looks_in(BACK, self.look);
        let mut took = Vec::with_capacity(self.receivers.len());
        for (received, seen) in self.receivers.iter_mut().zip(receivers) {
            // One that has died since the last look has lived through a part of this one.
            let lived = received.last.lives || seen.lives;
            took.push(lived.then(|| seen.live.saturating_sub(received.last.live)));
            received.age = if seen.lives { received.age.saturating_add(1) } else { 0 };
            received.last = seen;
        }
        let carries: Vec<bool> = self.receivers.iter().map(|received| received.age >= back).collect();
        for (index, (received, live)) in self.receivers.iter_mut().zip(took).enumerate() {
            let Some(live) = live else { continue };
            let others = carries.iter().enumerate().filter(|(other, carries)| *other != index && **carries).count();
            let sharing = if self.shared { others + 1 } else { 1 };
            received.looks.push((live, as_float(new) / as_float(sharing as u64)));
        }
    }

    /// Whether no receiver had more live load than it may.
    pub(crate) fn is_kept(&self) -> bool {
        self.most() <= MOST
    }

    /// The most live load of any receiver in any stretch of its life, relative to the normal load.
    fn most(&self) -> f64 {
        let looks = looks_in(STRETCH, self.look);
        let stretches = self.receivers.iter().flat_map(|received| received.looks.windows(looks));
        stretches.map(ratio).fold(0.0, f64::max)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let normal = if self.shared { "an equal share among those that are up" } else { "all of the offer" };
        let (most, stretch) = (self.most(), STRETCH.as_secs());
        write!(f, "in any {stretch} s a receiver that was up had at most {most:.2} times its normal load, {normal}")?;
        write!(f, " (what arrived within {} ms of its emission)", LIVE.as_millis())
    }
}

fn ratio(looks: &[(u64, f64)]) -> f64 {
    let live: u64 = looks.iter().map(|(live, _)| live).sum();
    let normal: f64 = looks.iter().map(|(_, normal)| normal).sum();
    as_float(live) / normal.max(1.0)
}

fn looks_in(time: Duration, look: Duration) -> usize {
    usize::try_from(time.as_millis() / look.as_millis().max(1)).unwrap_or(usize::MAX).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(100);

    /// Looks that bring 30 items each; `seen` says who lives, and how many each receiver has taken.
    fn most(shared: bool, seen: impl Fn(u64) -> [(bool, u64); 3]) -> f64 {
        let mut load = Load::new(3, shared, LOOK);
        let mut taken = [0; 3];
        for look in 1..=300 {
            let seen = seen(look);
            for (taken, (_, new)) in taken.iter_mut().zip(seen) {
                *taken += new;
            }
            load.look(30 * look, seen.iter().zip(taken).map(|((lives, _), live)| Seen { lives: *lives, live }));
        }
        load.most()
    }

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() < 0.01
    }

    #[test]
    fn an_equal_share_is_normal_and_that_of_a_survivor_is_larger() {
        assert!(is_near(most(true, |_| [(true, 10); 3]), 1.0));
        assert!(is_near(most(true, |_| [(true, 30), (true, 0), (true, 0)]), 3.0));
        assert!(is_near(most(true, |_| [(true, 30), (false, 0), (false, 0)]), 1.0));
        assert!(is_near(most(false, |_| [(true, 30), (true, 0), (true, 0)]), 1.0));
    }

    #[test]
    fn a_receiver_that_is_back_may_receive_nothing_for_a_while_and_not_for_long() {
        let back = |unused: u64| {
            most(true, move |look| match look {
                0..150 => [(true, 15), (true, 15), (false, 0)],
                _ if look < 150 + unused => [(true, 15), (true, 15), (true, 0)],
                _ => [(true, 10); 3],
            })
        };
        assert!(is_near(back(15), 1.0), "{}", back(15));
        // For five of ten seconds the others have half of the load in place of a third.
        assert!(is_near(back(65), 1.25), "{}", back(65));
    }
}
