//! Dead letters: records that a destination never takes, in a lane of their own until they are requeued or too old.

use super::Engine;
use crate::{
    DeadLetter, Settled, SpoolError,
    envelope::{self, MAX_KEY, Stored},
    manifest::{Lane, SegmentId},
    segment::Segment,
};
use bytes::Bytes;
use std::ops::ControlFlow;

/// A record that is to become a dead letter.
#[derive(Debug)]
pub(super) struct Rejected {
    segment: SegmentId,
    seq: u64,
    index: u16,
    reason: Bytes,
}

/// A dead letter with its place.
struct Found {
    segment: SegmentId,
    destination: u16,
    record: Stored,
}

// === impl Rejected ===

impl Rejected {
    pub(super) fn new(segment: SegmentId, seq: u64, index: u16, reason: &str) -> Self {
        // Cut at a whole character: it is read as text again.
        let reason: String = reason.chars().take(MAX_KEY / 4).collect();
        Self { segment, seq, index, reason: reason.into() }
    }
}

// === impl Engine ===

impl Engine {
    /// Copies records to the dead letters, and then removes them from their frames. A crash between the two leaves both.
    pub(super) fn dead_letter(&mut self, destination: u16, rejected: Vec<Rejected>, settled: &mut Settled) {
        let mut records = Vec::new();
        let mut copied = Vec::new();
        for place in rejected {
            let read = self.read(place.segment, place.seq, place.index);
            let Some((mut record, attempts)) = read.map(|record| (record, self.attempts(destination, &place))) else {
                settled.evicted += 1;
                continue;
            };
            record.attempts = record.attempts.saturating_add(attempts);
            record.destination = destination;
            record.note = place.reason.clone();
            records.push(record);
            copied.push(place);
        }
        if records.is_empty() {
            return;
        }
        let count = records.len() as u64;
        if self.write(Lane::Dead, records).is_err() {
            // There is no room for them: they stay where they are, and are tried again.
            settled.given_back += count;
            return;
        }
        settled.dead += count;
        self.stats.dead_lettered += count;
        for place in copied {
            self.finish(destination, place.segment, place.seq, place.index);
        }
    }

    fn attempts(&self, destination: u16, place: &Rejected) -> u16 {
        let row =
            self.segments.get(&place.segment).and_then(|segment| segment.row(destination, place.seq).ok().flatten());
        row.map_or(0, |row| u16::from(row.attempts(place.index)))
    }

    fn read(&self, segment: SegmentId, seq: u64, index: u16) -> Option<Stored> {
        let bytes = self.segments.get(&segment)?.frame(seq).ok()??;
        envelope::scan(&bytes, self.manifest.tag).into_iter().find(|record| record.seq == seq && record.index == index)
    }

    fn finish(&mut self, destination: u16, segment: SegmentId, seq: u64, index: u16) {
        let Some(found) = self.segments.get_mut(&segment) else { return };
        if let Ok(Some(was)) = found.row(destination, seq) {
            let mut row = was.clone();
            row.finish(index);
            found.set_row(destination, seq, &was, Some(row));
        }
        self.remove_if_finished(segment);
    }

    /// Dead letters of all destinations, or of one, the oldest first, `limit` at most.
    ///
    /// # Errors
    ///
    /// `UnknownDestination`.
    pub fn dead_letters(&mut self, destination: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SpoolError> {
        let found = self.find_dead(destination, limit)?;
        let letter = |found: Found| DeadLetter {
            destination: self.destination_name(found.destination),
            reason: String::from_utf8_lossy(&found.record.note).into_owned(),
            record: {
                let attempts = found.record.attempts;
                found.record.into_record(attempts.into())
            },
        };
        Ok(found.into_iter().map(letter).collect())
    }

    /// Dead letters of all destinations.
    fn dead(&self) -> u64 {
        self.lane(Lane::Dead).flat_map(Segment::counts).map(|(_, count)| count.records).sum()
    }

    fn find_dead(&mut self, destination: Option<&str>, limit: usize) -> Result<Vec<Found>, SpoolError> {
        let only = destination.map(|name| self.destination(name)).transpose()?;
        let ids: Vec<_> = self.lane(Lane::Dead).filter(|segment| segment.is_open()).map(Segment::id).collect();
        let mut found = Vec::new();
        for id in ids {
            let Some(segment) = self.segments.get(&id) else { continue };
            let destinations: Vec<u16> =
                segment.counts().map(|(id, _)| id).filter(|id| only.is_none_or(|only| only == *id)).collect();
            let mut fault = None;
            for destination in destinations {
                let read = segment.rows(destination, false, |seq, row, frame| {
                    let bytes = frame()?.unwrap_or_default();
                    for record in envelope::scan(&bytes, self.manifest.tag) {
                        if record.seq == seq && !row.is_done(record.index) {
                            found.push(Found { segment: id, destination, record });
                        }
                    }
                    Ok(if found.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                });
                fault = fault.or(read.err());
            }
            if let Some(fault) = fault {
                self.fault_while_reading(id, &fault);
            }
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Puts dead letters back into the normal lane of the destination they were for, with no attempt counted: all of them, or
    /// those with the given ids. Returns how many.
    ///
    /// A crash in the middle leaves some in both places, with the same id. `progress` gets the number of each commit.
    ///
    /// # Errors
    ///
    /// `UnknownDestination`; `Full` or an error of the storage, with those that were requeued until then safe.
    pub fn requeue(
        &mut self,
        destination: Option<&str>,
        ids: Option<&[u64]>,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, SpoolError> {
        /// Requeued in one commit.
        const AT_ONCE: usize = 1024;
        let (mut total, mut before) = (0, self.dead());
        let limit = if ids.is_some() { usize::MAX } else { AT_ONCE };
        loop {
            let mut found = self.find_dead(destination, limit)?;
            found.retain(|found| ids.is_none_or(|ids| ids.contains(&found.record.id)));
            if found.is_empty() {
                return Ok(total);
            }
            let places: Vec<_> = found
                .iter()
                .map(|found| (found.destination, found.segment, found.record.seq, found.record.index))
                .collect();
            let records = found.into_iter().map(|found| Stored {
                attempts: 0,
                note: Bytes::new(),
                destination: found.destination,
                ..found.record
            });
            self.write(Lane::Normal, records.collect())?;
            for (destination, segment, seq, index) in &places {
                self.finish(*destination, *segment, *seq, *index);
            }
            self.stats.requeued += places.len() as u64;
            total += places.len() as u64;
            self.flush()?;
            progress(places.len() as u64);
            let left = self.dead();
            if left >= before {
                // A file that cannot be read would be requeued for ever.
                return Err(SpoolError::of_io(std::io::Error::other(
                    "dead letters could not be taken out of their file",
                )));
            }
            before = left;
        }
    }
}
