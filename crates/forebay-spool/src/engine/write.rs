//! Appending: room, sequences, one commit for each lane, and then the promise.

use super::Engine;
use crate::{
    Appended, Group, SpoolError, SpoolErrorKind,
    envelope::{MAX_KEY, Stored},
    fault::Fault,
    manifest::{Lane, Promise, SegmentId},
    record::to_millis,
    segment::{Beside, Frame, Segment},
};
use bytes::{Bytes, BytesMut};
use forebay_core::Priority;
use std::sync::Arc;

/// What one call appends to one lane.
#[derive(Debug, Default)]
pub(super) struct Batch {
    lane: Option<Lane>,
    pub(super) records: Vec<Stored>,
    pub(super) bytes: u64,
    marks: Vec<(String, Bytes)>,
}

/// A frame is closed at this size: with what redb adds, it fills a page of 64 KiB, which is the next power of two.
const FRAME_BYTES: usize = (64 << 10) - 256;
/// And at so many records, so that a row stays small.
const FRAME_RECORDS: usize = 2048;
const MAX_MARKS: usize = 64;

// === impl Engine ===

impl Engine {
    /// Appends groups, each as a whole or not at all, with one commit for each lane.
    ///
    /// When it returns, the groups are as durable as the durability of the spool says. `now` is the wall clock, in milliseconds
    /// since 1970.
    pub fn append(&mut self, groups: Vec<Group>, now: u64) -> Vec<Result<Appended, SpoolError>> {
        self.sweep(now);
        let mut results = Vec::with_capacity(groups.len());
        let mut lanes: [Batch; 2] = Default::default();
        for group in groups {
            let lane = lane_of(group.priority);
            let admitted = self.check(&group).and_then(|destination| {
                self.admit(lane, &group, &mut lanes)?;
                Ok(self.take_in(group, destination, &mut lanes[lane as usize], now))
            });
            results.push(admitted.map(|appended| (lane, appended)));
        }
        let outcome = lanes.map(|batch| self.write_batch(batch));
        results
            .into_iter()
            .map(|result| {
                let (lane, appended) = result?;
                outcome[lane as usize].clone()?;
                self.stats.appended += appended.records;
                Ok(appended)
            })
            .collect()
    }

    /// Writes the groups of one lane. Its marks are committed with it, and not with another lane that may be written first.
    fn write_batch(&mut self, batch: Batch) -> Result<(), SpoolError> {
        if batch.records.is_empty() && batch.marks.is_empty() {
            return Ok(());
        }
        let before = (!batch.marks.is_empty()).then(|| self.marks.clone());
        for (name, value) in batch.marks {
            self.marks.insert(name, (self.manifest.next_seq, value));
            self.manifest.next_seq += 1;
        }
        let lane = batch.lane.unwrap_or(Lane::Normal);
        let written = self.write(lane, batch.records);
        if let (Err(_), Some(before)) = (&written, before) {
            // A mark says that its group is safe, so it must not outlive a group that was refused.
            self.marks = before;
        }
        written
    }

    /// The id of the destination that `group` is for, 0 for all, if it may be appended at all.
    fn check(&self, group: &Group) -> Result<u16, SpoolError> {
        let too_large = |bytes, max| Err(SpoolError::new(SpoolErrorKind::TooLarge { bytes, max }));
        for record in &group.records {
            if record.payload.len() > self.settings.max_record_bytes {
                return too_large(record.payload.len(), self.settings.max_record_bytes);
            }
            if record.key.len() > MAX_KEY {
                return too_large(record.key.len(), MAX_KEY);
            }
        }
        if let Some(mark) = &group.mark {
            let bytes = mark.name.len() + mark.value.len();
            if bytes > MAX_KEY || (!self.marks.contains_key(&mark.name) && self.marks.len() >= MAX_MARKS) {
                return too_large(bytes, MAX_KEY);
            }
        }
        group.destination.as_deref().map_or(Ok(0), |name| self.destination(name))
    }

    /// Gives the records of an admitted group their ids.
    fn take_in(&mut self, group: Group, destination: u16, batch: &mut Batch, now: u64) -> Appended {
        batch.lane = Some(lane_of(group.priority));
        let appended = Appended { first_id: self.manifest.next_id, records: group.records.len() as u64 };
        for record in group.records {
            batch.records.push(Stored {
                seq: 0,
                index: 0,
                id: self.manifest.next_id,
                first_seen: record.first_seen.map_or(now, to_millis),
                attempts: 0,
                priority: group.priority,
                destination,
                key: record.key,
                note: Bytes::new(),
                payload: record.payload,
            });
            self.manifest.next_id += 1;
        }
        batch.marks.extend(group.mark.map(|mark| (mark.name, mark.value)));
        appended
    }

    /// Commits `records` to `lane`, and promises them.
    pub(super) fn write(&mut self, lane: Lane, records: Vec<Stored>) -> Result<(), SpoolError> {
        let incoming = records.iter().map(|record| record.encoded_len() as u64).sum();
        let id = self.writable(lane, incoming)?;
        let frames = self.frames(records);
        let beside = Beside {
            tag: self.manifest.tag,
            destinations: &self.manifest.destinations,
            own: &self.own,
            marks: &self.marks,
            two_phase: self.settings.two_phase,
        };
        let Some(segment) = self.segments.get_mut(&id) else {
            return Err(SpoolError::of_io(std::io::Error::other("the segment is not there")));
        };
        if let Err(fault) = segment.append(&frames, beside) {
            self.after_fault(id, &fault);
            return Err(SpoolError::of_io(fault.into_io()));
        }
        // CORRECTNESS: the promise is written after the commit. Between the two the file holds more than was promised, which is
        // fine, and no caller has seen it acknowledged.
        if let Err(error) = self.write_manifest() {
            self.forget(id, &frames);
            return Err(error);
        }
        Ok(())
    }

    fn frames(&mut self, records: Vec<Stored>) -> Vec<Frame> {
        let tag = self.manifest.tag;
        let mut frames: Vec<Frame> = Vec::new();
        let mut open: Option<Frame> = None;
        let mut bytes = BytesMut::new();
        let mut left: usize = records.iter().map(Stored::encoded_len).sum();
        for mut record in records {
            let is_full = open.as_ref().is_some_and(|frame| {
                bytes.len() + record.encoded_len() > FRAME_BYTES
                    || usize::from(frame.count) >= FRAME_RECORDS
                    || frame.destination != record.destination
            });
            if is_full && let Some(mut frame) = open.take() {
                frame.bytes = bytes.split().freeze();
                frames.push(frame);
            }
            let frame = open.get_or_insert_with(|| {
                // At once as much as the frame may need, so that no record is copied for a buffer that grows.
                bytes.reserve(left.min(FRAME_BYTES.max(record.encoded_len())));
                let seq = self.manifest.next_seq;
                self.manifest.next_seq += 1;
                Frame { seq, count: 0, newest: 0, destination: record.destination, bytes: Bytes::new() }
            });
            record.seq = frame.seq;
            record.index = frame.count;
            left -= record.encoded_len();
            record.encode(tag, &mut bytes);
            frame.count += 1;
            frame.newest = frame.newest.max(record.first_seen);
        }
        if let Some(mut frame) = open {
            frame.bytes = bytes.freeze();
            frames.push(frame);
        }
        frames
    }

    /// The segment of `lane` that takes `incoming` bytes: the active one, or a new one if that is full or has failed.
    fn writable(&mut self, lane: Lane, incoming: u64) -> Result<SegmentId, SpoolError> {
        let limit = self.settings.segment_bytes();
        if let Some(id) = self.active[lane as usize]
            && let Some(segment) = self.segments.get(&id)
            && segment.is_open()
            && (segment.stored() == 0 || segment.stored() + incoming <= limit)
        {
            return Ok(id);
        }
        let id = SegmentId { lane, first: self.manifest.next_seq };
        self.manifest.next_seq += 1;
        let created = self.create(id);
        if created.is_err() {
            self.segments.remove(&id);
            self.manifest.segments.remove(&id);
            // A file that nothing was promised in: the next opening removes it, if this does not.
            let _retried = self.storage.remove(&id.file_name());
        }
        created?;
        let before = self.active[lane as usize].replace(id);
        if let Some(before) =
            before.filter(|before| self.segments.get(before).is_some_and(|segment| segment.live() == 0))
        {
            // It is full and done: a later acknowledgement would have removed it. A sweep tries again.
            let _swept = self.remove_segment(before);
        }
        Ok(id)
    }

    fn create(&mut self, id: SegmentId) -> Result<(), SpoolError> {
        let file = self.storage.open(&id.file_name(), true).map_err(SpoolError::of_io)?;
        let segment = Segment::create(id, &file, self.synced()).map_err(|fault| SpoolError::of_io(fault.into_io()))?;
        if self.synced() {
            self.storage.sync().map_err(SpoolError::of_io)?;
        }
        self.segments.insert(id, segment);
        self.manifest.segments.insert(id, Promise::default());
        self.write_manifest_twice()
    }

    /// What could not be promised was refused: it must not be leased. After a crash it may be there again.
    fn forget(&mut self, id: SegmentId, frames: &[Frame]) {
        let own = self.own.clone();
        let Some(segment) = self.segments.get_mut(&id) else { return };
        for frame in frames {
            for destination in own.iter().copied().chain([frame.destination]) {
                if let Ok(Some(row)) = segment.row(destination, frame.seq) {
                    segment.set_row(destination, frame.seq, &row, None);
                }
            }
        }
    }

    /// A segment has failed and is closed: it is opened and verified again before it is trusted, and not written to any more.
    pub(super) fn after_fault(&mut self, id: SegmentId, fault: &Fault) {
        for active in &mut self.active {
            active.take_if(|active| *active == id);
        }
        match fault {
            Fault::Damaged(_) => self.salvage(id),
            Fault::Io(_) => self.reopen(id),
        }
    }

    /// Opens a segment that has failed. If that fails too, it is tried again a second later.
    pub(super) fn reopen(&mut self, id: SegmentId) {
        let promise = self.manifest.segments.get(&id).copied().unwrap_or_default();
        let Some(mut before) = self.segments.remove(&id) else { return };
        before.close_for_good();
        let overlay = before.take_overlay();
        let opened = self
            .storage
            .open(&id.file_name(), false)
            .map_err(Fault::from)
            .and_then(|file| Segment::open(id, Arc::clone(&file), self.synced()));
        match opened {
            Ok(mut segment) => {
                let held = segment.promise();
                let unpromised = segment.forget_after(promise.last);
                let restored = segment.restore(overlay);
                segment.promise_no_more_than(promise);
                self.segments.insert(id, segment);
                let is_short = held.frames < promise.frames || held.records < promise.records;
                if is_short || unpromised.is_err() || restored.is_err() {
                    self.salvage(id);
                }
            }
            Err(Fault::Io(_)) => {
                before.put_back_overlay(overlay);
                self.segments.insert(id, before);
            }
            Err(Fault::Damaged(_)) => {
                self.segments.insert(id, before);
                self.salvage(id);
            }
        }
    }
}

pub(super) fn lane_of(priority: Priority) -> Lane {
    match priority {
        Priority::High => Lane::High,
        Priority::Normal => Lane::Normal,
    }
}
