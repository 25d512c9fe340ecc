//! Room: which records are evicted, the oldest first, and which groups are refused.

use super::{
    Engine, SWEEP,
    write::{Batch, lane_of},
};
use crate::{
    EvictReason, Group, Limit, Overflow, SpoolError,
    envelope::HEAD,
    fault::Fault,
    manifest::{Lane, SegmentId},
    segment::Segment,
};
use std::ops::ControlFlow;

/// What an empty file takes.
const FILE: u64 = 72 << 10;

// === impl Engine ===

impl Engine {
    /// Makes room for `group`, beside what `lanes` hold already, or refuses it.
    pub(super) fn admit(&mut self, lane: Lane, group: &Group, lanes: &mut [Batch; 2]) -> Result<(), SpoolError> {
        let records = group.records.len() as u64;
        // Pages are powers of two, and a frame fills at least half of its own.
        let bytes: u64 =
            group.records.iter().map(|record| 2 * (record.payload.len() + record.key.len() + HEAD) as u64).sum();
        if 2 * FILE + 2 * bytes > self.settings.max_bytes {
            // Nothing is evicted for a group that would not fit into an empty spool.
            return Err(SpoolError::full(Limit::Bytes));
        }
        let waiting: u64 = lanes.iter().map(|batch| batch.records.len() as u64).sum();
        while self.live().saturating_add(waiting).saturating_add(records) > self.settings.max_records {
            if records > self.settings.max_records
                || !self.may_evict(lane)
                || !self.evict_frame(lane, EvictReason::Records)
            {
                return Err(SpoolError::full(Limit::Records));
            }
        }
        let batch = &mut lanes[lane_of(group.priority) as usize];
        batch.bytes += bytes;
        let incoming = lanes.iter().map(|batch| batch.bytes).sum();
        while self.bytes_after(lane, incoming) > self.settings.max_bytes {
            if !self.may_evict(lane) || !self.evict_segment(lane) {
                lanes[lane_of(group.priority) as usize].bytes -= bytes;
                return Err(SpoolError::full(Limit::Bytes));
            }
        }
        Ok(())
    }

    /// Under `Refuse` only the high lane takes the place of others, under `RefuseAll` no lane does.
    fn may_evict(&self, lane: Lane) -> bool {
        match self.settings.overflow {
            Overflow::DropOldest => true,
            Overflow::Refuse => lane == Lane::High,
            Overflow::RefuseAll => false,
        }
    }

    /// The lanes whose oldest records are evicted to make room for `lane`.
    fn victims(&self, lane: Lane) -> &'static [Lane] {
        match (self.settings.overflow, lane) {
            (Overflow::Refuse | Overflow::RefuseAll, _) => &[Lane::Normal, Lane::Dead],
            // A normal record never takes the place of a high one.
            (Overflow::DropOldest, Lane::Normal | Lane::Dead) => &[Lane::Normal, Lane::Dead],
            (Overflow::DropOldest, Lane::High) => &[Lane::Normal, Lane::Dead, Lane::High],
        }
    }

    /// Records that are pending, in the measure of `max_records`.
    pub(super) fn live(&self) -> u64 {
        self.segments.values().map(Segment::live).sum()
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(Segment::file_len).sum()
    }

    /// What the files would take with `incoming` more bytes in `lane`: a file grows to twice its size.
    fn bytes_after(&self, lane: Lane, incoming: u64) -> u64 {
        let active =
            self.active[lane as usize].and_then(|id| self.segments.get(&id)).filter(|segment| segment.is_open());
        let grown = match active {
            Some(segment) if segment.stored() + incoming / 2 <= self.settings.segment_bytes() => {
                let len = segment.file_len();
                let used = 2 * segment.stored() + FILE;
                if used + incoming <= len { 0 } else { len.max(2 * incoming) }
            }
            _ => FILE + 2 * incoming,
        };
        self.bytes() + grown
    }

    /// Drops the oldest file of the first lane that has one; whether there was one.
    fn evict_segment(&mut self, lane: Lane) -> bool {
        let oldest = |lane: &Lane| self.lane(*lane).next().map(|segment| (segment.id(), segment.live()));
        let Some((id, live)) = self.victims(lane).iter().find_map(oldest) else { return false };
        if self.remove_segment(id).is_err() && self.segments.contains_key(&id) {
            return false;
        }
        self.evict(EvictReason::Bytes, live);
        true
    }

    /// Drops the oldest frame of the first lane that has one; whether there was one.
    fn evict_frame(&mut self, lane: Lane, reason: EvictReason) -> bool {
        let victims = self.victims(lane);
        let oldest =
            victims.iter().find_map(|lane| self.lane(*lane).find(|segment| segment.live() > 0).map(Segment::id));
        oldest.is_some_and(|id| self.evict_oldest_of(id, reason, u64::MAX))
    }

    /// Drops the oldest frame of one segment, if its newest record was first seen before `until`; whether it was dropped.
    fn evict_oldest_of(&mut self, id: SegmentId, reason: EvictReason, until: u64) -> bool {
        let Some(segment) = self.segments.get_mut(&id) else { return false };
        if !segment.is_open() {
            // It cannot be read, so it goes as a whole, and only to make room.
            let live = segment.live();
            return reason != EvictReason::Age && self.remove_segment(id).is_ok() && {
                self.evict(reason, live);
                true
            };
        }
        match oldest_frame(segment) {
            Ok(Some((seq, newest))) if newest < until => {
                let mut evicted = 0;
                let waiting: Vec<u16> = segment.counts().map(|(destination, _)| destination).collect();
                let mut fault = None;
                for destination in waiting {
                    match segment.row(destination, seq) {
                        Ok(Some(row)) => {
                            evicted = evicted.max(u64::from(row.left));
                            segment.set_row(destination, seq, &row, None);
                        }
                        Ok(None) => {}
                        Err(error) => fault = Some(error),
                    }
                }
                self.evict(reason, evicted);
                if let Some(fault) = fault {
                    self.fault_while_reading(id, &fault);
                }
                self.remove_if_finished(id);
                true
            }
            Ok(_) => false,
            Err(fault) => {
                self.fault_while_reading(id, &fault);
                false
            }
        }
    }

    /// Drops what is too old, tries files again that have failed, and syncs the manifest. For a time in which nothing is appended
    /// or leased.
    pub fn tick(&mut self, now: u64) {
        self.sweep(now);
        if self.files.is_unsynced() && now.abs_diff(self.last_sync) >= SWEEP {
            // If it fails, the promise of the last second is not safe from a power cut yet; the next tick tries again.
            let _next_tick = self.write_manifest();
        }
    }

    /// Once a second: drops what is too old, and tries segments again that have failed.
    pub(super) fn sweep(&mut self, now: u64) {
        self.now = now;
        if now.abs_diff(self.last_sweep) < SWEEP {
            return;
        }
        self.last_sweep = now;
        let failed: Vec<_> = self.segments.values().filter(|segment| !segment.is_open()).map(Segment::id).collect();
        for id in failed {
            self.reopen(id);
        }
        let Some(max_age) = self.settings.max_age else { return };
        let until = now.saturating_sub(u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX));
        let ids: Vec<_> = self.segments.keys().copied().collect();
        for id in ids {
            while self.evict_oldest_of(id, EvictReason::Age, until) {}
        }
    }

    /// Removes a segment of which nothing is pending, unless it is being written to and has room.
    pub(super) fn remove_if_finished(&mut self, id: SegmentId) {
        let Some(segment) = self.segments.get(&id) else { return };
        let is_active = self.active.contains(&Some(id));
        if segment.is_open()
            && segment.live() == 0
            && (!is_active || segment.stored() >= self.settings.segment_bytes() / 4)
        {
            // If it cannot be removed now, the next sweep or opening removes it.
            let _swept = self.remove_segment(id);
        }
    }

    pub(super) fn sweep_finished(&mut self) {
        let ids: Vec<_> = self.segments.keys().copied().collect();
        for id in ids {
            self.remove_if_finished(id);
        }
    }
}

/// The oldest frame that any destination waits for, and when its newest record was first seen.
fn oldest_frame(segment: &Segment) -> Result<Option<(u64, u64)>, Fault> {
    let mut oldest: Option<(u64, u64)> = None;
    for (destination, count) in segment.counts() {
        if count.frames == 0 {
            continue;
        }
        segment.rows(destination, false, |seq, row, _| {
            if oldest.is_none_or(|(known, _)| seq < known) {
                oldest = Some((seq, row.newest));
            }
            Ok(ControlFlow::Break(()))
        })?;
    }
    Ok(oldest)
}
