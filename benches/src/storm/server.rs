//! The server of a fleet, which counts the requests that reach it.

use super::{BIN, Outage};
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};

/// How long the server works on a request.
const LATENCY: Duration = Duration::from_millis(50);
/// How long it takes to learn that a connection is refused.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// It takes every request while it is there.
#[derive(Clone)]
pub(super) struct Server(Arc<Shared>);

struct Shared {
    outage: Outage,
    start: Instant,
    away: Instant,
    back: Instant,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    bins: Vec<u32>,
    delivered: usize,
}

/// The number of the bin at `time` since the start.
pub(super) fn bin(time: Duration) -> usize {
    (time.as_nanos() / BIN.as_nanos()) as usize
}

// === impl Server ===

impl Server {
    /// A server that goes away at `away` for as long as the outage lasts.
    pub(super) fn new(outage: Outage, away: Instant, lasts: Duration) -> Self {
        let start = Instant::now();
        Self(Arc::new(Shared { outage, start, away, back: away + lasts, counts: Mutex::default() }))
    }

    /// When it returns.
    pub(super) fn back(&self) -> Instant {
        self.0.back
    }

    /// A request with so many items.
    pub(super) async fn request(&self, items: usize) -> io::Result<()> {
        let Shared { outage, start, away, back, counts } = &*self.0;
        let now = Instant::now();
        {
            let (mut counts, bin) = (counts.lock().expect("no panic"), bin(now - *start));
            if counts.bins.len() <= bin {
                counts.bins.resize(bin + 1, 0);
            }
            counts.bins[bin] += 1;
        }
        if now < *away || now >= *back {
            sleep(LATENCY).await;
            counts.lock().expect("no panic").delivered += items;
            return Ok(());
        }
        Err(match outage {
            Outage::Refuses => {
                sleep(ROUND_TRIP).await;
                io::ErrorKind::ConnectionRefused
            }
            Outage::Hangs => {
                sleep_until(*back).await;
                io::ErrorKind::ConnectionReset
            }
        }
        .into())
    }

    /// The requests in each bin up to now, and how many items were delivered.
    pub(super) fn seen(&self) -> (Vec<u32>, usize) {
        let mut counts = self.0.counts.lock().expect("no panic");
        counts.bins.resize(bin(Instant::now() - self.0.start) + 1, 0);
        (counts.bins.clone(), counts.delivered)
    }
}
