//! Opening: what is on disk is compared with what was promised, and a start is never refused for damage.

use super::Engine;
use crate::{
    SpoolError, Stats,
    builder::Settings,
    envelope::u64_at,
    fault::Fault,
    manifest::{Known, Lane, ManifestFiles, Promise, SegmentId},
    segment::Segment,
    storage::Storage,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Sequences and ids start this much further on after each opening.
///
/// CORRECTNESS: a process that died may have used some that the manifest does not know of yet. Were they used again, two
/// different frames in one damaged file could bear the same sequence, and two records the same id. No process uses as many in the
/// second that the manifest may be behind.
const JUMP: u64 = 1 << 32;

// === impl Engine ===

impl Engine {
    pub(crate) fn open(storage: &Arc<dyn Storage>, settings: Settings, now: u64, tag: u64) -> Result<Self, SpoolError> {
        storage.claim()?;
        Self::open_claimed(Arc::clone(storage), settings, now, tag).inspect_err(|_| storage.release())
    }

    fn open_claimed(storage: Arc<dyn Storage>, settings: Settings, now: u64, tag: u64) -> Result<Self, SpoolError> {
        let sync = settings.durability.is_synced();
        let (files, manifest) = ManifestFiles::open(&*storage, sync).map_err(SpoolError::of_io)?;
        let is_promised = manifest.is_some();
        let mut manifest = manifest.unwrap_or_default();
        if manifest.tag == 0 {
            manifest.tag = tag.max(1);
        }
        let mut names = storage.list().map_err(SpoolError::of_io)?;
        names.sort_unstable();
        let present: Vec<_> = names.iter().filter_map(|name| SegmentId::of_file_name(name)).collect();
        if is_promised {
            for id in present.iter().filter(|id| !manifest.segments.contains_key(id)) {
                // Both copies name a file before it holds anything that was promised, and forget it before it is removed: a
                // crash came between. It is no harm if it cannot be removed now.
                let _retried = storage.remove(&id.file_name());
            }
        } else {
            // Without a manifest each file says itself what it holds.
            manifest.segments.extend(present.iter().map(|id| (*id, Promise::default())));
        }
        let promised = manifest.segments.clone();
        let was_clean = manifest.clean || promised.is_empty();
        let mut engine = Self {
            storage,
            settings,
            manifest,
            files,
            segments: BTreeMap::new(),
            active: [None; 3],
            own: Vec::new(),
            marks: BTreeMap::new(),
            leases: HashMap::new(),
            leased: HashSet::new(),
            next_lease: 0,
            stats: Stats::default(),
            last_sweep: now,
            now,
            last_sync: 0,
            closed: false,
        };
        engine.stats.recovered.clean = was_clean;
        let damaged = engine.open_segments(&promised, &present, is_promised);
        engine.take_over_marks();
        engine.know_destinations()?;
        let last = engine.segments.values().map(|segment| segment.promise().last).chain([engine.manifest.next_seq]);
        engine.manifest.next_seq = last.max().unwrap_or(0).saturating_add(JUMP) / JUMP * JUMP;
        engine.manifest.next_id =
            engine.manifest.next_id.max(engine.manifest.next_seq).saturating_add(JUMP) / JUMP * JUMP;
        engine.manifest.clean = false;
        for lane in Lane::ALL {
            let newest = engine.lane(lane).next_back().filter(|segment| segment.is_open()).map(Segment::id);
            engine.active[lane as usize] = newest;
        }
        // A disk that is full or read-only does not refuse the start: what is there can be leased, and the first append says
        // what is wrong.
        let wrote = engine.write_manifest_twice();
        if wrote.is_ok() && engine.synced() {
            let _first_append_fails = engine.storage.sync();
        }
        for id in damaged {
            // After a power cut the promise may be a second behind, and what lies beyond it was acknowledged as well.
            engine.salvage_up_to(id, if was_clean { None } else { Some(u64::MAX) });
        }
        engine.sweep_finished();
        engine.stats.recovered.records = engine.segments.values().map(Segment::records).sum();
        Ok(engine)
    }

    /// Opens each promised file; returns those that are damaged.
    fn open_segments(
        &mut self,
        promised: &BTreeMap<SegmentId, Promise>,
        present: &[SegmentId],
        is_promised: bool,
    ) -> Vec<SegmentId> {
        let mut damaged = Vec::new();
        for (id, promise) in promised {
            if !present.contains(id) {
                self.stats.recovered.lost += promise.live;
                self.stats.recovered.damaged_files += u64::from(promise.live > 0);
                self.manifest.segments.remove(id);
                continue;
            }
            let file = match self.storage.open(&id.file_name(), false) {
                Ok(file) => file,
                // A link in the place of a file, or one of another owner: it is not read, and what it held is lost.
                Err(error) => {
                    self.stats.recovered.lost += promise.live;
                    self.stats.recovered.damaged_files += 1;
                    self.manifest.segments.remove(id);
                    let _counted = error;
                    self.rename_aside(*id);
                    continue;
                }
            };
            match Segment::open(*id, Arc::clone(&file), self.synced()) {
                Ok(mut segment) => {
                    let held = segment.promise();
                    if held.frames < promise.frames || held.records < promise.records || held.last < promise.last {
                        // Closed before the manifest is written, which would promise no more than what was found.
                        segment.close_for_good();
                        segment = Segment::unavailable(*id, file, *promise);
                        damaged.push(*id);
                    } else if !is_promised {
                        self.take_over_identity(&segment);
                    }
                    self.segments.insert(*id, segment);
                }
                Err(Fault::Damaged(_)) => {
                    damaged.push(*id);
                    self.segments.insert(*id, Segment::unavailable(*id, file, *promise));
                }
                Err(Fault::Io(_)) => {
                    self.segments.insert(*id, Segment::unavailable(*id, file, *promise));
                }
            }
        }
        damaged
    }

    /// Without a manifest: the tag and the destinations that a segment knows.
    fn take_over_identity(&mut self, segment: &Segment) {
        let Ok((tag, known, _)) = segment.beside() else { return };
        if tag != 0 {
            self.manifest.tag = tag;
        }
        for destination in known {
            if !self.manifest.destinations.iter().any(|other| other.id == destination.id) {
                self.manifest.destinations.push(destination);
            }
        }
    }

    /// The newest of each mark: a segment has those that were committed just before a crash.
    fn take_over_marks(&mut self) {
        for (name, bytes) in &self.manifest.marks {
            if let Some(seq) = u64_at(bytes, 0) {
                self.marks.insert(name.clone(), (seq, bytes.slice(8..)));
            }
        }
        for segment in self.segments.values() {
            let Ok((_, _, marks)) = segment.beside() else { continue };
            for (name, (seq, value)) in marks {
                if self.marks.get(&name).is_none_or(|(known, _)| *known < seq) {
                    self.marks.insert(name, (seq, value));
                }
            }
        }
    }

    /// Finds the destinations among those that are known by name and identity, and adds those that are new.
    fn know_destinations(&mut self) -> Result<(), SpoolError> {
        let known = &mut self.manifest.destinations;
        if self.settings.destinations.is_empty() {
            self.own = known.iter().map(|known| known.id).collect();
            return Ok(());
        }
        for (name, identity) in &self.settings.destinations {
            if let Some(found) = known.iter().find(|known| known.name == *name && known.identity == *identity) {
                self.own.push(found.id);
                continue;
            }
            let id = known.iter().map(|known| known.id).max().unwrap_or(0).checked_add(1);
            let Some(id) = id.filter(|_| known.len() < 1024) else {
                return Err(SpoolError::of_io(std::io::Error::other("the spool has had 1,024 destinations")));
            };
            known.push(Known { id, name: name.clone(), identity: identity.clone() });
            self.own.push(id);
        }
        // A destination that is not configured any more and has nothing left is forgotten.
        let waiting: HashSet<u16> =
            self.segments.values().flat_map(|segment| segment.counts().map(|(id, _)| id)).collect();
        let all_open = self.segments.values().all(Segment::is_open);
        self.manifest
            .destinations
            .retain(|known| !all_open || self.own.contains(&known.id) || waiting.contains(&known.id));
        Ok(())
    }
}
