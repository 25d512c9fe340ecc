//! Looking: what is held, whether it can be read, and the end.

use super::Engine;
use crate::{
    DestinationStats, Record, SpoolError, Stats, Verified, envelope, fault::Fault, manifest::Lane, record::from_millis,
    row::Row, segment::Segment,
};
use bytes::Bytes;
use std::{collections::BTreeMap, ops::ControlFlow};

// === impl Engine ===

impl Engine {
    /// What the spool holds, and what it has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.records = self.segments.values().map(Segment::records).sum();
        stats.bytes = self.bytes();
        stats.segments = self.segments.len() as u64;
        stats.unavailable = self.segments.values().filter(|segment| !segment.is_open()).count() as u64;
        stats.oldest = self.oldest().map(from_millis);
        let waiting = |lane, id| -> u64 { self.lane(lane).map(|segment| segment.pending(id).records).sum() };
        let destination = |known: &crate::manifest::Known| DestinationStats {
            name: known.name.clone(),
            identity: known.identity.clone(),
            is_open: self.own.contains(&known.id),
            pending: waiting(Lane::High, known.id) + waiting(Lane::Normal, known.id),
            dead: waiting(Lane::Dead, known.id),
        };
        stats.destinations = self.manifest.destinations.iter().map(destination).collect();
        stats
    }

    /// The newest record of the oldest frame of each lane, whichever is older.
    fn oldest(&self) -> Option<u64> {
        let mut oldest: Option<u64> = None;
        for lane in Lane::ALL {
            let Some(segment) = self.lane(lane).find(|segment| segment.is_open() && segment.live() > 0) else {
                continue;
            };
            for (destination, _) in segment.counts() {
                // A fault shows when the segment is read to be leased.
                let _later = segment.rows(destination, false, |_, row, _| {
                    oldest = Some(oldest.map_or(row.newest, |known| known.min(row.newest)));
                    Ok(ControlFlow::Break(()))
                });
            }
        }
        oldest
    }

    /// The value that was last committed under `name`.
    #[must_use]
    pub fn mark(&self, name: &str) -> Option<Bytes> {
        self.marks.get(name).map(|(_, value)| value.clone())
    }

    /// Reads every record that is pending, and says what is whole.
    pub fn verify(&mut self) -> Verified {
        self.read_all(|_, _| ControlFlow::Continue(()))
    }

    /// Shows every pending record, and the names of the destinations that wait for it, until `visit` breaks. The oldest of each
    /// lane come first; dead letters come last.
    pub fn read_all(&mut self, mut visit: impl FnMut(&Record, &[String]) -> ControlFlow<()>) -> Verified {
        let mut verified = Verified::default();
        let ids: Vec<_> = Lane::ALL.into_iter().flat_map(|lane| self.lane(lane).map(Segment::id)).collect();
        let mut faults = Vec::new();
        'all: for id in ids {
            let Some(segment) = self.segments.get(&id) else { continue };
            if !segment.is_open() {
                verified.unreadable += 1;
                continue;
            }
            verified.segments += 1;
            match waiting_of(segment) {
                Ok(frames) => {
                    for (seq, waiting) in frames {
                        let bytes = match segment.frame(seq) {
                            Ok(bytes) => bytes,
                            Err(fault) => {
                                verified.unreadable += 1;
                                faults.push((id, fault));
                                break;
                            }
                        };
                        let count = waiting.first().map_or(0, |(_, row)| row.count);
                        let mut found: Vec<_> = (0..count).map(|_| None).collect();
                        for record in envelope::scan(&bytes.unwrap_or_default(), self.manifest.tag) {
                            if record.seq == seq
                                && let Some(place) = found.get_mut(usize::from(record.index))
                            {
                                *place = Some(record);
                            }
                        }
                        for (index, record) in (0..count).zip(found) {
                            let rows = waiting.iter().filter(|(_, row)| !row.is_done(index));
                            let names: Vec<_> = rows.clone().map(|(id, _)| self.destination_name(*id)).collect();
                            let attempts = rows.map(|(_, row)| u32::from(row.attempts(index))).max().unwrap_or(0);
                            match record {
                                _ if names.is_empty() => {}
                                None => verified.bad += 1,
                                Some(record) => {
                                    verified.records += 1;
                                    let before = u32::from(record.attempts);
                                    if visit(&record.into_record(before + attempts), &names).is_break() {
                                        break 'all;
                                    }
                                }
                            }
                        }
                    }
                }
                Err(fault) => {
                    verified.unreadable += 1;
                    faults.push((id, fault));
                }
            }
        }
        for (id, fault) in faults {
            self.fault_while_reading(id, &fault);
        }
        verified
    }

    /// Closes all files in good order. What is leased is pending again for the next process.
    ///
    /// # Errors
    ///
    /// `Full` or an error of the storage. The spool is closed all the same; the next opening verifies it.
    pub fn close(mut self) -> Result<(), SpoolError> {
        let flushed = self.flush();
        self.sweep_finished();
        self.promise_all();
        let mut first = flushed;
        for (_, segment) in std::mem::take(&mut self.segments) {
            if let Err(fault) = segment.close() {
                first = first.and(Err(SpoolError::of_io(fault.into_io())));
            }
        }
        if first.is_ok() {
            self.manifest.clean = true;
            first = self.files.write_both(&mut self.manifest).map_err(SpoolError::of_io);
        }
        self.closed = true;
        self.storage.release();
        first
    }
}

/// The frames that are pending, and who waits for each.
fn waiting_of(segment: &Segment) -> Result<BTreeMap<u64, Vec<(u16, Row)>>, Fault> {
    let mut frames: BTreeMap<u64, Vec<(u16, Row)>> = BTreeMap::new();
    for (destination, _) in segment.counts() {
        segment.rows(destination, false, |seq, row, _| {
            frames.entry(seq).or_default().push((destination, row));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(frames)
}
