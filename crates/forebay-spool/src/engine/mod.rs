//! All that a spool does, one call after the other, without a thread or a clock.

mod damage;
mod dead;
mod inspect;
mod leasing;
mod open;
mod room;
mod write;

use crate::{
    EvictReason, SpoolError, Stats,
    builder::Settings,
    manifest::{Lane, Manifest, ManifestFiles, SegmentId},
    segment::Segment,
    storage::Storage,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

/// A spool without a thread: every call blocks until the storage has done what it was asked for.
///
/// [`DiskSpool`](crate::DiskSpool) runs one on a thread of its own. Tools, and tests that want every step in their hands, use
/// it directly. Times of the wall clock are arguments.
pub struct Engine {
    storage: Arc<dyn Storage>,
    settings: Settings,
    manifest: Manifest,
    files: ManifestFiles,
    segments: BTreeMap<SegmentId, Segment>,
    /// The segment of each lane that is written to.
    active: [Option<SegmentId>; 3],
    /// The destinations that this spool was opened with, as ids.
    own: Vec<u16>,
    /// The newest mark of each name, and the sequence at which it was committed.
    marks: BTreeMap<String, (u64, Bytes)>,
    leases: HashMap<u64, Leased>,
    /// The frames of all leases. A frame is leased as a whole, even if the lease hands out a part of it.
    leased: HashSet<(u16, SegmentId, u64)>,
    next_lease: u64,
    /// Counters; what is held is computed when it is asked for.
    stats: Stats,
    /// When rows were last looked through for their age, and segments that failed were last tried again.
    last_sweep: u64,
    /// The wall clock, as the last call gave it, and when the manifest was last synced.
    now: u64,
    last_sync: u64,
    closed: bool,
}

/// The records of one lease, in the order in which they were handed out.
#[derive(Debug)]
struct Leased {
    destination: u16,
    frames: Vec<LeasedFrame>,
}

#[derive(Debug)]
struct LeasedFrame {
    segment: SegmentId,
    seq: u64,
    /// Which records of the frame were handed out.
    indices: Vec<u16>,
}

/// How many damaged files are kept for a human to look at. What could be read of them has been taken over.
const MAX_ASIDE: usize = 8;
/// How often, in milliseconds, the age of records is looked at, a segment that failed is tried again, and the manifest is synced.
const SWEEP: u64 = 1000;

// === impl Engine ===

impl Engine {
    fn synced(&self) -> bool {
        self.settings.durability.is_synced()
    }

    /// The segments of `lane`, from the oldest.
    fn lane(&self, lane: Lane) -> impl DoubleEndedIterator<Item = &Segment> {
        let (first, last) = (SegmentId { lane, first: 0 }, SegmentId { lane, first: u64::MAX });
        self.segments.range(first..=last).map(|(_, segment)| segment)
    }

    fn destination(&self, name: &str) -> Result<u16, SpoolError> {
        let known = self.manifest.destinations.iter().find(|known| known.name == name && self.own.contains(&known.id));
        known.map(|known| known.id).ok_or_else(|| {
            SpoolError::new(crate::SpoolErrorKind::UnknownDestination { name: name.chars().take(128).collect() })
        })
    }

    fn destination_name(&self, id: u16) -> String {
        let known = self.manifest.destinations.iter().find(|known| known.id == id);
        known.map_or_else(|| format!("#{id}"), |known| known.name.clone())
    }

    /// Brings the promises of the manifest up to what the segments hold.
    fn promise_all(&mut self) {
        for (id, segment) in &self.segments {
            if segment.is_open() {
                self.manifest.segments.insert(*id, segment.promise());
            }
        }
        self.manifest.marks =
            self.marks.iter().map(|(name, (seq, value))| (name.clone(), mark_bytes(*seq, value))).collect();
    }

    /// Writes the manifest once, to the copy whose turn it is. Once a second it is synced as well.
    fn write_manifest(&mut self) -> Result<(), SpoolError> {
        self.promise_all();
        let is_due = self.now.abs_diff(self.last_sync) >= SWEEP;
        self.files.write(&mut self.manifest, is_due).map_err(SpoolError::of_io)?;
        if is_due {
            self.last_sync = self.now;
        }
        Ok(())
    }

    /// Whether a second from now there is something to do, though nothing is asked for.
    pub(crate) fn wants_tick(&self) -> bool {
        self.settings.max_age.is_some()
            || self.files.is_unsynced()
            || self.segments.values().any(|segment| !segment.is_open())
    }

    /// Writes both copies, where the names of files have changed.
    fn write_manifest_twice(&mut self) -> Result<(), SpoolError> {
        self.promise_all();
        self.files.write_both(&mut self.manifest).map_err(SpoolError::of_io)
    }

    /// Removes a file of which nothing is pending, or what is pending is evicted.
    ///
    /// CORRECTNESS: both copies of the manifest forget the file before it is removed. Otherwise a crash between the two, or the
    /// loss of the newer copy, would make a file that was removed look like one that was lost.
    fn remove_segment(&mut self, id: SegmentId) -> Result<(), SpoolError> {
        let promise = self.manifest.segments.remove(&id);
        let segment = self.segments.remove(&id);
        if let Err(error) = self.write_manifest_twice() {
            // It stays, and is removed another time.
            self.segments.extend(segment.map(|segment| (id, segment)));
            self.manifest.segments.extend(promise.map(|promise| (id, promise)));
            return Err(error);
        }
        for active in &mut self.active {
            active.take_if(|active| *active == id);
        }
        if let Some(mut segment) = segment {
            segment.close_for_good();
        }
        self.storage.remove(&id.file_name()).map_err(SpoolError::of_io)
    }

    fn evict(&mut self, reason: EvictReason, records: u64) {
        self.stats.evicted.add(reason, records);
    }
}

/// A mark in the manifest: the sequence at which it was committed stands in front of it.
fn mark_bytes(seq: u64, value: &Bytes) -> Bytes {
    [&seq.to_le_bytes()[..], value].concat().into()
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("segments", &self.segments.len())
            .field("leases", &self.leases.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // An engine that was not closed leaves what a crash leaves; the next open verifies it. Its files must not be written
        // to after the lock is released.
        for segment in self.segments.values_mut() {
            segment.close_for_good();
        }
        if !self.closed {
            self.storage.release();
        }
    }
}
