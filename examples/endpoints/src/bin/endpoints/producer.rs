use crate::{books::Books, item::Item, options::Options};
use forebay::export::Exporter;
use std::{
    fmt, thread,
    time::{Duration, Instant},
};

/// What it was like to hand over the items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emitted {
    pub(crate) offered: u64,
    /// In nanoseconds, the clock included.
    half: u32,
    most: u32,
    longest: u32,
}

/// One `emit` of so many is timed: a prime, so that the first items of batches, which wake the worker, are timed as often as others.
const SAMPLED: u64 = 61;

/// Hands over items at the rate, a burst each millisecond.
pub(crate) fn run(options: &Options, exporter: &Exporter<Item>, books: &Books) -> Emitted {
    let (begin, mut number, mut samples) = (Instant::now(), 0, Vec::new());
    loop {
        let elapsed = begin.elapsed().min(options.time);
        let due = elapsed.as_nanos() * u128::from(options.rate) / 1_000_000_000;
        while u128::from(number) < due {
            let item = Item { number, at: books.now() };
            if number % SAMPLED == 0 {
                let before = Instant::now();
                exporter.emit(item);
                samples.push(u32::try_from(before.elapsed().as_nanos()).unwrap_or(u32::MAX));
            } else {
                exporter.emit(item);
            }
            number += 1;
        }
        if elapsed == options.time {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    samples.sort_unstable();
    let at = |percent: usize| samples.get((samples.len().saturating_sub(1)) * percent / 100).copied().unwrap_or(0);
    Emitted { offered: number, half: at(50), most: at(99), longest: at(100) }
}

// === impl Emitted ===

impl fmt::Display for Emitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offered, half, most, longest } = self;
        write!(f, "{offered} items; half within {half} ns, 99 % within {most} ns, all within {longest} ns")
    }
}
