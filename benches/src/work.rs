//! One sample of a contender.

use crate::alloc::{self, Allocated};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// What a contender is asked for: so many operations, measured.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// How many operations; a multiple of the table's [unit](crate::runner::Table::unit).
    pub ops: u64,
    counting: bool,
}

/// What one sample was found to cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Time that passed.
    pub wall: Duration,
    /// Time that all threads of the process worked.
    pub cpu: Duration,
    /// What was allocated; only while counting.
    pub allocated: Allocated,
}

// === impl Work ===

impl Work {
    /// So many operations, timed.
    #[must_use]
    pub const fn timed(ops: u64) -> Self {
        Self { ops, counting: false }
    }

    /// So many operations, whose allocations are counted.
    #[must_use]
    pub const fn counted(ops: u64) -> Self {
        Self { ops, counting: true }
    }

    /// Measures `work`; what comes before and after it in the contender is not.
    #[inline]
    pub fn measure<R>(self, work: impl FnOnce() -> R) -> Sample {
        if self.counting {
            let (result, allocated) = alloc::count(work);
            drop(std::hint::black_box(result));
            return Sample { allocated, ..Sample::default() };
        }
        let (cpu, wall) = (cpu_time(), Instant::now());
        let result = work();
        let sample = Sample { wall: wall.elapsed(), cpu: cpu_time() - cpu, allocated: Allocated::default() };
        drop(std::hint::black_box(result));
        sample
    }
}

/// The processor time of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

// === impl Sample ===

impl Sample {
    /// How many cores were busy on average.
    #[must_use]
    pub fn cores(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}
