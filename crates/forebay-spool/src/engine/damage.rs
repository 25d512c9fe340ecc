//! Damage: a file is set aside, what can be read of it is taken over, and the rest is counted.

use super::{Engine, MAX_ASIDE};
use crate::{
    envelope::{self, Stored},
    manifest::SegmentId,
    segment::Segment,
    storage::StorageFile,
};
use bytes::Bytes;
use std::{collections::BTreeMap, io};

/// No file is larger: see `segment_bytes`, and the size to which a file may grow beyond it.
const MAX_FILE: u64 = 4 << 30;

// === impl Engine ===

impl Engine {
    /// Takes over all whole records of a damaged file, counts those that are missing, and sets the file aside.
    ///
    /// Which of its records were delivered is not known any more, so those are delivered a second time. If there is no room to take them
    /// over, the file stays where it is and is tried again.
    pub(super) fn salvage(&mut self, id: SegmentId) {
        self.salvage_up_to(id, None);
    }

    /// The same, with the frames up to a sequence of its own instead of the promised one.
    pub(super) fn salvage_up_to(&mut self, id: SegmentId, last: Option<u64>) {
        let promise = self.manifest.segments.get(&id).copied().unwrap_or_default();
        let Some(segment) = self.segments.get_mut(&id) else { return };
        segment.close_for_good();
        for active in &mut self.active {
            active.take_if(|active| *active == id);
        }
        let is_promised = promise.frames > 0;
        let records = if promise.live == 0 && is_promised && last.is_none() {
            // All of it was delivered.
            Vec::new()
        } else {
            let read = self.storage.open(&id.file_name(), false).and_then(|file| read_all(&*file));
            let Ok(bytes) = read else { return };
            let bound = last.unwrap_or(if is_promised { promise.last } else { u64::MAX });
            whole_records(&bytes, self.manifest.tag, id.first, bound)
        };
        let found = records.len() as u64;
        let lost = if promise.live == 0 { 0 } else { promise.records.saturating_sub(found) };
        if !records.is_empty() && self.write(id.lane, records).is_err() {
            return;
        }
        self.segments.remove(&id);
        self.manifest.segments.remove(&id);
        // If this fails, the file is salvaged a second time at the next opening: twice is better than never.
        let _again = self.write_manifest_twice();
        self.rename_aside(id);
        self.stats.recovered.damaged_files += 1;
        self.stats.recovered.salvaged += found;
        self.stats.recovered.lost += lost;
    }

    /// Sets all files aside that cannot be read, those included whose storage fails: what can be read of them is taken over, the
    /// rest is counted as lost. Returns how many. By itself a spool only does this with files whose content is wrong.
    pub fn set_aside_unreadable(&mut self) -> u64 {
        let unreadable = |engine: &Self| -> Vec<SegmentId> {
            engine.segments.values().filter(|segment| !segment.is_open()).map(Segment::id).collect()
        };
        let before = self.stats.recovered.damaged_files;
        for id in unreadable(self) {
            self.reopen(id);
        }
        for id in unreadable(self) {
            self.salvage(id);
        }
        for id in unreadable(self) {
            let promise = self.manifest.segments.remove(&id).unwrap_or_default();
            self.segments.remove(&id);
            self.stats.recovered.lost += promise.live;
            self.stats.recovered.damaged_files += 1;
            // The next opening finds the file unnamed, and removes it.
            let _again = self.write_manifest_twice();
            self.rename_aside(id);
        }
        self.stats.recovered.damaged_files - before
    }

    pub(super) fn rename_aside(&mut self, id: SegmentId) {
        let name = id.file_name();
        let aside = format!("damaged-{name}");
        // One that cannot be renamed is not named by the manifest any more, so nothing reads it again.
        let _unnamed = self.storage.rename(&name, &aside);
        self.prune_aside();
    }

    /// Keeps the newest of the files that were set aside.
    pub(super) fn prune_aside(&mut self) {
        let Ok(names) = self.storage.list() else { return };
        let mut aside: Vec<_> = names.into_iter().filter(|name| name.starts_with("damaged-")).collect();
        // Their sequence, behind the last dash, says how old they are.
        aside.sort_by(|a, b| a.rsplit('-').next().cmp(&b.rsplit('-').next()));
        let excess = aside.len().saturating_sub(MAX_ASIDE);
        for name in aside.into_iter().take(excess) {
            // It is tried again with the next file that is set aside.
            let _again = self.storage.remove(&name);
        }
    }
}

/// The records of a damaged file, each place once, in order. Those behind `last` were never acknowledged.
fn whole_records(bytes: &Bytes, tag: u64, first: u64, last: u64) -> Vec<Stored> {
    // Copies of one record may stand in pages that are no longer used; they are equal, for frames are never changed.
    let mut records = BTreeMap::new();
    for record in envelope::scan(bytes, tag) {
        if (first..=last).contains(&record.seq) {
            records.insert((record.seq, record.index), record);
        }
    }
    records.into_values().collect()
}

fn read_all(file: &dyn StorageFile) -> io::Result<Bytes> {
    let len = file.len()?;
    if len > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "no file of a spool is as large"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(0, &mut bytes)?;
    Ok(bytes.into())
}
