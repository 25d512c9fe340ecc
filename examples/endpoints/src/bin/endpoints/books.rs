use crate::{item::Item, load::LIVE};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// What has arrived, at whichever receiver.
#[derive(Debug)]
pub(crate) struct Books {
    start: Instant,
    /// A bit for each item.
    seen: Box<[AtomicU64]>,
    arrived: AtomicU64,
    twice: AtomicU64,
    doubtful: AtomicU64,
    /// When the newest item that has arrived was handed over, in microseconds since the start.
    newest: AtomicU64,
    /// How many items took how long: below 2^n microseconds.
    delays: [AtomicU64; 40],
}

/// What a request has brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered {
    pub(crate) items: u64,
    /// The items among them that are no catch-up: see [`Load`](crate::load::Load).
    pub(crate) live: u64,
}

/// The books at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    /// Different items.
    pub(crate) arrived: u64,
    /// Items that arrived again.
    pub(crate) twice: u64,
    /// Items of requests whose response a death or a timeout has cut off: their sender cannot know.
    pub(crate) doubtful: u64,
}

// === impl Books ===

impl Books {
    pub(crate) fn new(items: u64) -> Self {
        let words = usize::try_from(items / 64 + 1).unwrap_or(usize::MAX);
        Self {
            start: Instant::now(),
            seen: (0..words).map(|_| AtomicU64::new(0)).collect(),
            arrived: AtomicU64::new(0),
            twice: AtomicU64::new(0),
            doubtful: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            delays: [const { AtomicU64::new(0) }; 40],
        }
    }

    /// Microseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Enters the items of a body.
    pub(crate) fn enter(&self, body: &[u8]) -> Entered {
        let (now, mut items, mut live, mut newest) = (self.now(), 0, 0, 0);
        for Item { number, at } in Item::all(body) {
            items += 1;
            let took = now.saturating_sub(at);
            live += u64::from(u128::from(took) <= LIVE.as_micros());
            let (word, bit) = (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64));
            // An item that was never sent is nothing that this program could mend.
            let Some(word) = self.seen.get(word) else { continue };
            if word.fetch_or(bit, Relaxed) & bit != 0 {
                self.twice.fetch_add(1, Relaxed);
                continue;
            }
            self.arrived.fetch_add(1, Relaxed);
            newest = newest.max(at);
            let below = u64::BITS - took.leading_zeros();
            if let Some(count) = self.delays.get(usize::try_from(below).unwrap_or(usize::MAX)) {
                count.fetch_add(1, Relaxed);
            }
        }
        self.newest.fetch_max(newest, Relaxed);
        Entered { items, live }
    }

    /// The response to a request of so many items was cut off.
    pub(crate) fn doubt(&self, items: u64) {
        self.doubtful.fetch_add(items, Relaxed);
    }

    /// How old the newest item is that has arrived.
    pub(crate) fn age_of_newest(&self) -> Duration {
        Duration::from_micros(self.now().saturating_sub(self.newest.load(Relaxed)))
    }

    /// The time within which so many of a hundred items arrived, up to a factor of two.
    pub(crate) fn delay(&self, percent: u64) -> Duration {
        let counts: Vec<u64> = self.delays.iter().map(|count| count.load(Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let mut rest = (all * percent).div_ceil(100);
        for (power, count) in counts.iter().enumerate() {
            rest = rest.saturating_sub(*count);
            if rest == 0 {
                return Duration::from_micros(1 << power);
            }
        }
        Duration::MAX
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            arrived: self.arrived.load(Relaxed),
            twice: self.twice.load(Relaxed),
            doubtful: self.doubtful.load(Relaxed),
        }
    }
}
