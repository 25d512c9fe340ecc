//! Leases: records are handed out, and then settled as delivered, given back, failed or quarantined.

use super::{Engine, Leased, LeasedFrame, dead::Rejected};
use crate::{
    Disposition, Limit, Order, Record, Settled, SpoolError, Want,
    envelope::{self, Stored},
    fault::Fault,
    manifest::{Lane, SegmentId},
    row::Row,
    segment::Segment,
};
use bytes::Bytes;
use std::ops::ControlFlow;

/// A frame that a lease is about to take.
struct Taken {
    segment: SegmentId,
    seq: u64,
    row: Row,
    bytes: Option<Bytes>,
}

/// What a lease has so far, and what it is to have.
struct Taking {
    want: Want,
    records: Vec<Record>,
    bytes: usize,
}

// === impl Engine ===

impl Engine {
    /// The next records for `destination`, and the id of the lease; `None` while there is nothing to lease.
    ///
    /// # Errors
    ///
    /// `UnknownDestination`; `Full` with [`Limit::Leases`] while too many leases are open. A segment that cannot be read is
    /// passed over, and shows in the [`Stats`](crate::Stats).
    pub fn lease(&mut self, destination: &str, want: Want, now: u64) -> Result<Option<(u64, Vec<Record>)>, SpoolError> {
        let destination = self.destination(destination)?;
        if self.leases.len() >= self.settings.max_leases {
            return Err(SpoolError::full(Limit::Leases));
        }
        self.sweep(now);
        let mut leased = Leased { destination, frames: Vec::new() };
        let mut records = Taking { want, records: Vec::new(), bytes: 0 };
        for lane in [Lane::High, Lane::Normal] {
            let mut ids: Vec<SegmentId> = self
                .lane(lane)
                .filter(|segment| segment.is_open() && segment.pending(destination).records > 0)
                .map(Segment::id)
                .collect();
            if want.order == Order::NewestFirst {
                ids.reverse();
            }
            for id in ids {
                self.lease_from(id, &mut leased, &mut records);
                if records.is_enough() {
                    break;
                }
            }
        }
        let records = records.records;
        if records.is_empty() {
            return Ok(None);
        }
        for frame in &leased.frames {
            self.leased.insert((destination, frame.segment, frame.seq));
        }
        self.next_lease += 1;
        self.leases.insert(self.next_lease, leased);
        Ok(Some((self.next_lease, records)))
    }

    fn lease_from(&mut self, id: SegmentId, leased: &mut Leased, records: &mut Taking) {
        let destination = leased.destination;
        let mut taken: Vec<Taken> = Vec::new();
        let (want, mut count, mut bytes) = (records.want, records.records.len(), records.bytes);
        let Some(segment) = self.segments.get(&id) else { return };
        let read = segment.rows(destination, want.order == Order::NewestFirst, |seq, row, frame| {
            if count >= want.records || (count > 0 && bytes >= want.bytes) {
                return Ok(ControlFlow::Break(()));
            }
            if self.leased.contains(&(destination, id, seq)) {
                return Ok(ControlFlow::Continue(()));
            }
            count += usize::from(row.left);
            bytes += usize::try_from(row.bytes).unwrap_or(usize::MAX);
            taken.push(Taken { segment: id, seq, row, bytes: frame()? });
            Ok(ControlFlow::Continue(()))
        });
        if let Err(fault) = read {
            self.fault_while_reading(id, &fault);
            return;
        }
        for frame in taken {
            self.hand_out(&frame, leased, records);
        }
    }

    /// Hands out the records of a frame that are left, up to what is wanted. Those that cannot be read are quarantined.
    fn hand_out(&mut self, taken: &Taken, leased: &mut Leased, records: &mut Taking) {
        let mut found: Vec<Option<Stored>> = (0..taken.row.count).map(|_| None).collect();
        let whole = taken.bytes.as_ref().map(|bytes| envelope::scan(bytes, self.manifest.tag)).unwrap_or_default();
        for record in whole.into_iter().filter(|record| record.seq == taken.seq) {
            if let Some(place) = found.get_mut(usize::from(record.index)) {
                *place = Some(record);
            }
        }
        let (mut row, mut bad, mut indices) = (taken.row.clone(), 0, Vec::new());
        for (index, found) in (0..taken.row.count).zip(found) {
            if taken.row.is_done(index) {
                continue;
            }
            let Some(record) = found else {
                row.finish(index);
                bad += 1;
                continue;
            };
            if records.is_enough() {
                continue;
            }
            let attempts = u32::from(record.attempts) + u32::from(taken.row.attempts(index));
            records.push(record.into_record(attempts));
            indices.push(index);
        }
        if bad > 0 {
            self.quarantine_frame(taken, leased.destination, row, bad);
        }
        if !indices.is_empty() {
            leased.frames.push(LeasedFrame { segment: taken.segment, seq: taken.seq, indices });
        }
    }

    /// Some records of a frame cannot be read: they are skipped, counted, and kept in a file of their own for a human.
    fn quarantine_frame(&mut self, taken: &Taken, destination: u16, row: Row, bad: u64) {
        self.stats.quarantined += bad;
        if let Some(segment) = self.segments.get_mut(&taken.segment) {
            segment.set_row(destination, taken.seq, &taken.row, Some(row));
        }
        if let Some(bytes) = &taken.bytes {
            let name = format!("damaged-frame-{:016x}", taken.seq);
            // The copy is for a human: what it is a copy of has been counted.
            let _courtesy = self.storage.open(&name, true).and_then(|file| file.write_at(0, bytes));
            self.prune_aside();
        }
        self.remove_if_finished(taken.segment);
    }

    /// Settles a lease, with one disposition for each record in their order. Missing ones are [`Disposition::GiveBack`].
    ///
    /// It holds at once for this process. [`flush`](Self::flush), or the next append, makes it durable.
    pub fn settle(&mut self, lease: u64, dispositions: &[Disposition]) -> Settled {
        let mut settled = Settled::default();
        // A lease that is not there was settled before.
        let Some(leased) = self.leases.remove(&lease) else { return settled };
        let destination = leased.destination;
        let mut dispositions = dispositions.iter();
        let mut rejected = Vec::new();
        for frame in &leased.frames {
            self.leased.remove(&(destination, frame.segment, frame.seq));
            let row = self.segments.get(&frame.segment).map(|segment| segment.row(destination, frame.seq));
            let was = match row {
                Some(Ok(Some(row))) => row,
                // Evicted, or salvaged into another segment, while it was leased.
                Some(Ok(None)) | None => {
                    settled.evicted += frame.indices.iter().zip(&mut dispositions).count() as u64;
                    continue;
                }
                Some(Err(fault)) => {
                    settled.given_back += frame.indices.iter().zip(&mut dispositions).count() as u64;
                    self.fault_while_reading(frame.segment, &fault);
                    continue;
                }
            };
            let mut row = was.clone();
            for &index in &frame.indices {
                match dispositions.next().unwrap_or(&Disposition::GiveBack) {
                    Disposition::Delivered => settled.delivered += u64::from(row.finish(index)),
                    Disposition::GiveBack => settled.given_back += 1,
                    Disposition::Failed if row.fail(index) < self.settings.max_attempts => settled.given_back += 1,
                    Disposition::Failed => rejected.push(Rejected::new(frame.segment, frame.seq, index, "attempts")),
                    Disposition::Quarantine(reason) => {
                        rejected.push(Rejected::new(frame.segment, frame.seq, index, reason));
                    }
                }
            }
            if row != was
                && let Some(segment) = self.segments.get_mut(&frame.segment)
            {
                segment.set_row(destination, frame.seq, &was, Some(row));
            }
        }
        self.stats.delivered += settled.delivered;
        self.dead_letter(destination, rejected, &mut settled);
        let mut touched: Vec<_> = leased.frames.iter().map(|frame| frame.segment).collect();
        touched.dedup();
        for id in touched {
            self.remove_if_finished(id);
        }
        settled
    }

    /// Makes what was settled durable, as the durability of the spool says.
    ///
    /// # Errors
    ///
    /// `Full` or an error of the storage. What was settled holds for this process all the same, and the next flush or append
    /// writes it; after a crash before that it may be leased once more.
    pub fn flush(&mut self) -> Result<(), SpoolError> {
        let dirty = self.segments.values().filter(|segment| segment.is_dirty() && segment.is_open());
        let dirty: Vec<_> = dirty.map(Segment::id).collect();
        let mut first = Ok(());
        for id in dirty {
            let Some(segment) = self.segments.get_mut(&id) else { continue };
            if let Err(fault) = segment.flush() {
                self.after_fault(id, &fault);
                first = first.and(Err(SpoolError::of_io(fault.into_io())));
            }
        }
        first
    }

    /// A segment cannot be read.
    pub(super) fn fault_while_reading(&mut self, id: SegmentId, fault: &Fault) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.close_for_good();
        }
        self.after_fault(id, fault);
    }
}

// === impl Taking ===

impl Taking {
    /// One record is leased whatever its size.
    fn is_enough(&self) -> bool {
        self.records.len() >= self.want.records || (!self.records.is_empty() && self.bytes >= self.want.bytes)
    }

    fn push(&mut self, record: Record) {
        self.bytes += record.payload.len() + record.key.len();
        self.records.push(record);
    }
}
