//! Windows over a time: rings of buckets, counted without a lock.
//!
//! A counter says in its upper half what it counts: a generation of the breaker, and which stretch of time. The first thread that
//! arrives with a later stretch or generation starts it again from one, so no task turns the ring, an idle key costs nothing, and a
//! new generation starts empty.
//!
//! A result counts from the moment it is recorded until its bucket leaves, that is for more than `buckets - 1` and at
//! most `buckets` widths. Each thread counts on a stripe of its own as far as stripes go, so that no result is
//! estimated: a tally is the sum over all stripes, and misses only what is being recorded while it is taken.

use crate::{policy::TimeWindow, snapshot::WindowStatus};
use forebay_core::support::sync::atomic::{AtomicU64, Ordering};

/// As many counters as share a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Line([AtomicU64; PER_LINE]);

/// All counters of one key: stripe after stripe, and in each, rule after rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters<'a> {
    pub(crate) lines: &'a [Line],
    pub(crate) layout: Layout,
}

/// How the counters of one key are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// How many lines one stripe takes.
    per_stripe: usize,
    /// A power of two.
    stripes: usize,
}

/// Where one stretch of time is counted on one stripe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    line: usize,
    cell: usize,
    epoch: u32,
}

/// One stretch of time in one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag {
    generation: u32,
    epoch: u32,
}

pub(crate) const PER_LINE: usize = 8;
const COUNT_BITS: u32 = 28;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const EPOCH_BITS: u32 = 26;
const GENERATION_BITS: u32 = 10;

// === impl Counters ===

impl Counters<'_> {
    /// Records one result of `generation` at `now` for the window.
    #[inline(always)]
    pub(crate) fn record(&self, window: &TimeWindow, stripe: usize, generation: u32, now: u64, bad: bool) {
        let epoch = self.epoch(window, stripe, now);
        let (tag, cell) = (Tag::new(generation, epoch), window.cell(epoch));
        // The call is counted before the failure, so that a sum never holds more bad results than calls.
        self.cell(stripe, cell).into_iter().for_each(|calls| bump(calls, tag));
        if bad {
            self.cell(stripe, cell + 1).into_iter().for_each(|bad| bump(bad, tag));
        }
    }

    /// Where results of `epoch` are counted on this stripe.
    pub(crate) fn spot(&self, window: &TimeWindow, stripe: usize, epoch: u64) -> Spot {
        let cell = window.cell(epoch);
        let line = stripe * self.layout.per_stripe + cell / PER_LINE;
        Spot { line, cell: cell % PER_LINE, epoch: Tag::new(0, epoch).epoch }
    }

    /// Records one good result of `generation` there.
    #[inline(always)]
    pub(crate) fn record_good(&self, spot: Spot, generation: u32) {
        if let Some(cell) = self.lines.get(spot.line).and_then(|line| line.0.get(spot.cell)) {
            bump(cell, Tag::new(generation, spot.epoch.into()));
        }
    }

    /// Which bucket `now` falls into, counted from the build of the breaker.
    ///
    /// It is most likely the one that was used last. So that is looked up and checked, which a processor does ahead of
    /// the clock; a division by the width would have to wait for the clock, and the counter for the division.
    #[inline(always)]
    fn epoch(&self, window: &TimeWindow, stripe: usize, now: u64) -> u64 {
        let Some(latest) = self.cell(stripe, window.first) else { return now / window.width };
        let epoch = latest.load(Ordering::Relaxed);
        if now.wrapping_sub(epoch.wrapping_mul(window.width)) < window.width {
            return epoch;
        }
        let epoch = now / window.width;
        // A store that another thread overwrites costs the next result a division, and no count.
        latest.store(epoch, Ordering::Relaxed);
        epoch
    }

    /// What the window holds at `now`.
    pub(crate) fn tally(&self, window: &TimeWindow, generation: u32, now: u64) -> WindowStatus {
        let epoch = now / window.width;
        let current = Tag::new(generation, epoch);
        let mut tally = WindowStatus::default();
        for stripe in 0..self.layout.stripes {
            for bucket in 0..u64::from(window.buckets) {
                let cell = window.cell(bucket);
                let bad = self.read(stripe, cell + 1, current, window.buckets);
                tally.bad += bad;
                tally.calls += self.read(stripe, cell, current, window.buckets).max(bad);
            }
        }
        tally
    }

    /// The stripe of the thread with this number.
    #[inline(always)]
    pub(crate) fn stripe(&self, thread: usize) -> usize {
        thread & (self.layout.stripes - 1)
    }

    #[inline(always)]
    fn cell(&self, stripe: usize, cell: usize) -> Option<&AtomicU64> {
        self.lines.get(stripe * self.layout.per_stripe + cell / PER_LINE)?.0.get(cell % PER_LINE)
    }

    fn read(&self, stripe: usize, cell: usize, current: Tag, buckets: u32) -> u64 {
        let Some(cell) = self.cell(stripe, cell) else { return 0 };
        let value = cell.load(Ordering::Relaxed);
        if Tag::of(value).is_within(current, buckets) { value & COUNT } else { 0 }
    }
}

/// One more of what `tag` says.
#[inline(always)]
fn bump(cell: &AtomicU64, tag: Tag) {
    // Relaxed: a counter guards no other memory, and a sum may miss what is being recorded while it is taken.
    let mut value = cell.load(Ordering::Relaxed);
    loop {
        let next = if value & !COUNT == tag.bits() {
            // CORRECTNESS: a full counter stays full, since one more would run into the tag above it.
            if value & COUNT == COUNT {
                return;
            }
            value + 1
        } else if Tag::of(value).is_after(tag) && value & COUNT != 0 {
            // CORRECTNESS: this thread was held up while the ring went on. Its result is older than the window;
            // starting the bucket again would throw away what it holds now.
            return;
        } else {
            tag.bits() + 1
        };
        // CORRECTNESS: a compare-and-swap, for another thread may start the bucket again between load and store.
        match cell.compare_exchange_weak(value, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(changed) => value = changed,
        }
    }
}

// === impl Tag ===

impl Tag {
    #[inline(always)]
    const fn new(generation: u32, epoch: u64) -> Self {
        let epoch = (epoch & ((1 << EPOCH_BITS) - 1)) as u32;
        Self { generation: generation & ((1 << GENERATION_BITS) - 1), epoch }
    }

    const fn of(value: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "26 and 10 bits are left")]
        Self {
            generation: (value >> (COUNT_BITS + EPOCH_BITS)) as u32,
            epoch: (value >> COUNT_BITS) as u32 & ((1 << EPOCH_BITS) - 1),
        }
    }

    /// As it stands above a count.
    const fn bits(self) -> u64 {
        (self.generation as u64) << (COUNT_BITS + EPOCH_BITS) | (self.epoch as u64) << COUNT_BITS
    }

    /// How far `this` is ahead of `other`, both of which wrap around.
    fn ahead(this: u32, other: u32, bits: u32) -> u32 {
        this.wrapping_sub(other) & ((1 << bits) - 1)
    }

    /// Of a later generation, or a later time in the same one.
    fn is_after(self, other: Self) -> bool {
        let (ahead, bits) = if self.generation == other.generation {
            (Self::ahead(self.epoch, other.epoch, EPOCH_BITS), EPOCH_BITS)
        } else {
            (Self::ahead(self.generation, other.generation, GENERATION_BITS), GENERATION_BITS)
        };
        ahead != 0 && ahead < 1 << (bits - 1)
    }

    /// Of the same generation, and one of the last `buckets` epochs up to `current`.
    fn is_within(self, current: Self, buckets: u32) -> bool {
        self.generation == current.generation && Self::ahead(current.epoch, self.epoch, EPOCH_BITS) < buckets
    }
}

// === impl Line ===

impl Line {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

// === impl Layout ===

impl Layout {
    /// Room for `cells` counters on each of so many stripes; a power of two.
    pub(crate) fn new(cells: usize, stripes: usize) -> Self {
        Self { per_stripe: cells.div_ceil(PER_LINE), stripes: stripes.next_power_of_two() }
    }

    /// How many lines one key takes.
    pub(crate) fn lines(&self) -> usize {
        self.per_stripe * self.stripes
    }
}
