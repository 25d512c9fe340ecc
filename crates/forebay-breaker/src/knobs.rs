//! What the user of a builder has said, and the defaults of what was not said.

use crate::{Cancelled, Mode, OpenFor, Ramp, Trip, label::KeyLabel};
use std::time::Duration;

/// Every knob but the closures. Nothing of it is checked yet.
#[derive(Clone, Debug)]
pub(crate) struct Knobs {
    pub(crate) keyed: bool,
    pub(crate) name: KeyLabel,
    /// The rules by which the circuit opens; `None` while no call has set them.
    pub(crate) trip: Option<Trip>,
    pub(crate) open_for: OpenFor,
    pub(crate) close_after: u32,
    pub(crate) probes: u32,
    pub(crate) probe_lease: Duration,
    pub(crate) ramp: Option<Ramp>,
    pub(crate) cancelled: Cancelled,
    /// Whether a terminal failure counts as one.
    pub(crate) counts_terminal: bool,
    pub(crate) max_keys: u32,
    pub(crate) idle: Duration,
    pub(crate) max_open_share: f64,
    pub(crate) mode: Mode,
    pub(crate) stripes: Option<u32>,
    pub(crate) seed: Option<u64>,
}

/// How many bytes the counters of all keys may take before they share stripes.
const COUNTERS: usize = 16 << 20;

// === impl Knobs ===

impl Default for Knobs {
    fn default() -> Self {
        Self {
            keyed: false,
            name: KeyLabel::EMPTY,
            trip: None,
            open_for: OpenFor::new(Duration::from_secs(60)),
            close_after: 2,
            probes: 1,
            probe_lease: Duration::from_secs(30),
            ramp: None,
            cancelled: Cancelled::Failure,
            counts_terminal: true,
            max_keys: 10_000,
            idle: Duration::from_secs(600),
            max_open_share: 1.0,
            mode: Mode::Normal,
            stripes: None,
            seed: None,
        }
    }
}

impl Knobs {
    /// The rules by which the circuit opens.
    pub(crate) fn trip(&self) -> Trip {
        self.trip.clone().unwrap_or_else(|| Trip::consecutive(5))
    }

    /// How many stripes each key's `cells` counters have.
    pub(crate) fn stripes(&self, cells: usize) -> usize {
        let keys = if self.keyed { self.max_keys as usize } else { 1 };
        let affordable = COUNTERS / (keys * cells.max(1) * size_of::<u64>()).max(1);
        self.stripes.map_or_else(
            || {
                let cores = std::thread::available_parallelism().map_or(4, usize::from);
                cores.min(16).min(affordable).max(1).next_power_of_two()
            },
            |stripes| stripes as usize,
        )
    }
}
