//! One file: frames that are only ever appended, and what each destination still has to do with them.

use crate::{
    backend::Backend,
    fault::{Fault, guard},
    manifest::{Known, Promise, SegmentId},
    row::Row,
    storage::StorageFile,
};
use bytes::Bytes;
use forebay_core::panic;
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Envelopes, one behind the other, by sequence. A frame is never changed and never removed alone: what can be read from a
/// damaged file is therefore always something that was appended.
const FRAMES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("frames");
/// A [`Row`] for each destination and frame. An acknowledged frame has none.
const PENDING: TableDefinition<'_, (u16, u64), &[u8]> = TableDefinition::new("pending");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const DESTINATIONS: TableDefinition<'_, u16, (&str, &str)> = TableDefinition::new("destinations");
/// The sequence at which a mark was committed, and its value.
const MARKS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("marks");

/// The memory of one database, for reading and for what is not yet written. There are a few dozen at most.
const CACHE: usize = 2 << 20;

/// The frame of a segment before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    pub(crate) count: u16,
    pub(crate) newest: u64,
    /// The one destination it is for, or 0 for all.
    pub(crate) destination: u16,
    pub(crate) bytes: Bytes,
}

/// What is committed together with the frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside<'a> {
    pub(crate) tag: u64,
    pub(crate) destinations: &'a [Known],
    /// Of those, the ones that a frame for all destinations is for.
    pub(crate) own: &'a [u16],
    pub(crate) marks: &'a BTreeMap<String, (u64, Bytes)>,
    pub(crate) two_phase: bool,
}

/// What a destination waits for in this segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) frames: u64,
    pub(crate) records: u64,
}

/// The tag, the destinations and the marks of a file that has no manifest beside it.
pub(crate) type WithoutManifest = (u64, Vec<Known>, BTreeMap<String, (u64, Bytes)>);

/// One file that is open, or was.
#[derive(Debug)]
pub(crate) struct Segment {
    id: SegmentId,
    file: Arc<dyn StorageFile>,
    /// None after a fault: the file has to be opened and verified before it is trusted again.
    db: Option<Database>,
    muted: Arc<AtomicBool>,
    held: Promise,
    /// Bytes of all frames.
    stored: u64,
    /// The length of the file, as of the last commit.
    file_len: u64,
    counts: BTreeMap<u16, Count>,
    /// Rows that were changed in memory, and not yet in the file. They hold whether they can be written or not.
    overlay: BTreeMap<(u16, u64), Option<Row>>,
    /// All marks up to this sequence are in the file.
    marked: u64,
}

// === impl Segment ===

impl Segment {
    /// Makes an empty segment of a new file, with one sync instead of the many of the database.
    ///
    /// CORRECTNESS: no manifest names the file yet, so that a cut before that sync leaves nothing that was promised.
    pub(crate) fn create(id: SegmentId, file: &Arc<dyn StorageFile>, sync: bool) -> Result<Self, Fault> {
        let syncs = Arc::new(AtomicBool::new(false));
        let segment = Self::open_with(id, Arc::clone(file), Arc::clone(&syncs))?;
        if sync {
            file.sync()?;
            syncs.store(true, Ordering::Relaxed);
        }
        Ok(segment)
    }

    /// Opens a file and verifies all of it. An empty file becomes an empty segment.
    pub(crate) fn open(id: SegmentId, file: Arc<dyn StorageFile>, sync: bool) -> Result<Self, Fault> {
        Self::open_with(id, file, Arc::new(AtomicBool::new(sync)))
    }

    fn open_with(id: SegmentId, file: Arc<dyn StorageFile>, syncs: Arc<AtomicBool>) -> Result<Self, Fault> {
        let muted = Arc::default();
        let backend = Backend::new(Arc::clone(&file), syncs, Arc::clone(&muted));
        let db = guard(|| {
            Ok(Builder::new().set_cache_size(CACHE).set_check_integrity_on_open(true).create_with_backend(backend)?)
        })?;
        let mut segment = Self { db: Some(db), muted, ..Self::unavailable(id, file, Promise::default()) };
        let counted = guard(|| segment.count());
        if counted.is_err() {
            segment.close_for_good();
        }
        counted.map(|()| segment)
    }

    /// A file that cannot be opened now, with what it holds by the manifest.
    pub(crate) fn unavailable(id: SegmentId, file: Arc<dyn StorageFile>, held: Promise) -> Self {
        let (muted, file_len, counts, overlay) = Default::default();
        Self { id, file, db: None, muted, held, stored: 0, file_len, counts, overlay, marked: 0 }
    }

    fn count(&mut self) -> Result<(), Fault> {
        let read = self.begin_read()?;
        let Some(meta) = existing(read.open_table(META))? else {
            return self.measure();
        };
        let number = |name| -> Result<u64, Fault> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
        let frames = read.open_table(FRAMES)?;
        self.held.frames = frames.len()?;
        self.held.records = number("records")?;
        self.held.last = frames.last()?.map_or(0, |(seq, _)| seq.value());
        self.stored = number("stored")?;
        if number("frames")? != self.held.frames {
            return Err(Fault::damaged("the file has not as many frames as it says"));
        }
        for row in read.open_table(PENDING)?.iter()? {
            let (key, value) = row?;
            let row = Row::decode(value.value()).ok_or_else(|| Fault::damaged("a row cannot be read"))?;
            add(&mut self.counts, key.value().0, &row);
        }
        self.held.live = self.live();
        self.measure()
    }

    fn measure(&mut self) -> Result<(), Fault> {
        self.file_len = self.file.len()?;
        Ok(())
    }

    fn begin_read(&self) -> Result<ReadTransaction, Fault> {
        let db = self.db.as_ref().ok_or_else(|| Fault::Io(std::io::Error::other("the segment is not open")))?;
        Ok(db.begin_read()?)
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    pub(crate) fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// What it holds, for the manifest.
    pub(crate) fn promise(&self) -> Promise {
        Promise { live: if self.is_open() { self.live() } else { self.held.live }, ..self.held }
    }

    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.file_len
    }

    pub(crate) fn pending(&self, destination: u16) -> Count {
        self.counts.get(&destination).copied().unwrap_or_default()
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = (u16, Count)> {
        self.counts.iter().map(|(destination, count)| (*destination, *count))
    }

    /// Records that the destination with the most of them still waits for.
    pub(crate) fn live(&self) -> u64 {
        if self.db.is_none() {
            return self.held.live;
        }
        self.counts.values().map(|count| count.records).max().unwrap_or(0)
    }

    /// Records that at least one destination still waits for, each counted once.
    pub(crate) fn records(&self) -> u64 {
        let waiting = || self.counts.iter().filter(|(_, count)| count.records > 0).map(|(destination, _)| *destination);
        if waiting().count() < 2 {
            return self.live();
        }
        let mut frames: BTreeMap<u64, Vec<Row>> = BTreeMap::new();
        for destination in waiting() {
            let read = self.rows(destination, false, |seq, row, _| {
                frames.entry(seq).or_default().push(row);
                Ok(ControlFlow::Continue(()))
            });
            if read.is_err() {
                // The fault shows when the segment is leased from; until then this is what is known.
                return self.live();
            }
        }
        frames.values().map(|rows| Row::left_in_any(rows)).sum()
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.overlay.is_empty()
    }

    /// The tag, destinations and marks that stand in the file itself, for when there is no manifest.
    pub(crate) fn beside(&self) -> Result<WithoutManifest, Fault> {
        guard(|| {
            let read = self.begin_read()?;
            let Some(meta) = existing(read.open_table(META))? else {
                return Ok(Default::default());
            };
            let tag = meta.get("tag")?.map_or(0, |tag| tag.value());
            let mut known = Vec::new();
            for row in read.open_table(DESTINATIONS)?.iter()? {
                let (id, names) = row?;
                let (name, identity) = names.value();
                known.push(Known { id: id.value(), name: name.to_owned(), identity: identity.to_owned() });
            }
            let mut marks = BTreeMap::new();
            for row in read.open_table(MARKS)?.iter()? {
                let (name, mark) = row?;
                let (seq, value) = mark.value();
                marks.insert(name.value().to_owned(), (seq, Bytes::copy_from_slice(value)));
            }
            Ok((tag, known, marks))
        })
    }

    /// Commits `frames`, and all changed rows with them. At `Disk` they are synced when this returns.
    ///
    /// After an error the segment is closed, and whether the frames are in the file is not known.
    pub(crate) fn append(&mut self, frames: &[Frame], beside: Beside<'_>) -> Result<(), Fault> {
        let committed = guard(|| self.try_commit(frames, Some(beside)));
        self.after_commit(committed)?;
        self.marked = beside.marks.values().map(|(seq, _)| *seq).max().unwrap_or(0);
        for frame in frames {
            self.held.frames += 1;
            self.held.records += u64::from(frame.count);
            self.held.last = frame.seq;
            self.stored += frame.bytes.len() as u64;
            let row = row_of(frame);
            for destination in destinations_of(frame, beside.own) {
                add(&mut self.counts, destination, &row);
            }
        }
        Ok(())
    }

    /// Commits the changed rows.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        let committed = guard(|| self.try_commit(&[], None));
        self.after_commit(committed)
    }

    fn after_commit(&mut self, committed: Result<(), Fault>) -> Result<(), Fault> {
        match committed.and_then(|()| self.measure()) {
            Ok(()) => {
                self.overlay.clear();
                Ok(())
            }
            Err(fault) => {
                self.held.live = self.live();
                self.close_for_good();
                Err(fault)
            }
        }
    }

    fn try_commit(&self, frames: &[Frame], beside: Option<Beside<'_>>) -> Result<(), Fault> {
        let db = self.db.as_ref().ok_or_else(|| Fault::Io(std::io::Error::other("the segment is not open")))?;
        let mut write = db.begin_write()?;
        write.set_two_phase_commit(beside.is_some_and(|beside| beside.two_phase));
        {
            let mut pending = write.open_table(PENDING)?;
            for (key, row) in &self.overlay {
                match row {
                    Some(row) => pending.insert(key, &*row.encode())?.map(drop),
                    None => pending.remove(key)?.map(drop),
                };
            }
            if let Some(beside) = beside {
                let mut table = write.open_table(FRAMES)?;
                for frame in frames {
                    table.insert(frame.seq, &*frame.bytes)?;
                    let row = row_of(frame).encode();
                    for destination in destinations_of(frame, beside.own) {
                        pending.insert((destination, frame.seq), &*row)?;
                    }
                }
                let mut meta = write.open_table(META)?;
                let (mut records, mut stored) = (self.held.records, self.stored);
                for frame in frames {
                    records += u64::from(frame.count);
                    stored += frame.bytes.len() as u64;
                }
                for (name, value) in [
                    ("tag", beside.tag),
                    ("frames", self.held.frames + frames.len() as u64),
                    ("records", records),
                    ("stored", stored),
                ] {
                    meta.insert(name, value)?;
                }
                let mut known = write.open_table(DESTINATIONS)?;
                if self.held.frames == 0 {
                    for destination in beside.destinations {
                        known.insert(destination.id, (&*destination.name, &*destination.identity))?;
                    }
                }
                let mut marks = write.open_table(MARKS)?;
                for (name, (seq, value)) in beside.marks.iter().filter(|(_, (seq, _))| *seq > self.marked) {
                    marks.insert(&**name, (*seq, &**value))?;
                }
            }
        }
        write.commit()?;
        Ok(())
    }

    /// The rows of `destination` that have records left, from the oldest or from the newest, until `visit` breaks.
    ///
    /// `visit` gets a closure that reads the frame of the row.
    pub(crate) fn rows(
        &self,
        destination: u16,
        newest_first: bool,
        mut visit: impl FnMut(u64, Row, &dyn Fn() -> Result<Option<Bytes>, Fault>) -> Result<ControlFlow<()>, Fault>,
    ) -> Result<(), Fault> {
        guard(|| {
            let read = self.begin_read()?;
            let Some(pending) = existing(read.open_table(PENDING))? else {
                return Ok(());
            };
            let frames = read.open_table(FRAMES)?;
            let mut rows = pending.range((destination, 0)..=(destination, u64::MAX))?;
            while let Some(row) = if newest_first { rows.next_back() } else { rows.next() } {
                let (key, value) = row?;
                let (_, seq) = key.value();
                let row = match self.overlay.get(&(destination, seq)) {
                    Some(None) => continue,
                    Some(Some(row)) => row.clone(),
                    None => Row::decode(value.value()).ok_or_else(|| Fault::damaged("a row cannot be read"))?,
                };
                let frame = || Ok(frames.get(seq)?.map(|bytes| Bytes::copy_from_slice(bytes.value())));
                if visit(seq, row, &frame)?.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The frame with the sequence `seq`.
    pub(crate) fn frame(&self, seq: u64) -> Result<Option<Bytes>, Fault> {
        guard(|| {
            let read = self.begin_read()?;
            let Some(frames) = existing(read.open_table(FRAMES))? else {
                return Ok(None);
            };
            Ok(frames.get(seq)?.map(|bytes| Bytes::copy_from_slice(bytes.value())))
        })
    }

    /// The row of `destination` and `seq`, if anything of it is left.
    pub(crate) fn row(&self, destination: u16, seq: u64) -> Result<Option<Row>, Fault> {
        if let Some(row) = self.overlay.get(&(destination, seq)) {
            return Ok(row.clone());
        }
        guard(|| {
            let read = self.begin_read()?;
            let Some(pending) = existing(read.open_table(PENDING))? else {
                return Ok(None);
            };
            let Some(value) = pending.get((destination, seq))? else {
                return Ok(None);
            };
            Row::decode(value.value()).map(Some).ok_or_else(|| Fault::damaged("a row cannot be read"))
        })
    }

    /// Puts `now` in the place of the row `was`, in memory. The next commit writes it.
    pub(crate) fn set_row(&mut self, destination: u16, seq: u64, was: &Row, now: Option<Row>) {
        let now = now.filter(|row| row.left > 0);
        let count = self.counts.entry(destination).or_default();
        count.records = count.records.saturating_sub(u64::from(was.left));
        match &now {
            Some(row) => count.records += u64::from(row.left),
            None => count.frames = count.frames.saturating_sub(1),
        }
        self.overlay.insert((destination, seq), now);
    }

    /// Takes over what another opening of the same file had changed in memory.
    pub(crate) fn restore(&mut self, overlay: BTreeMap<(u16, u64), Option<Row>>) -> Result<(), Fault> {
        for ((destination, seq), now) in overlay {
            if let Some(was) = self.row(destination, seq)? {
                self.set_row(destination, seq, &was, now);
            }
        }
        Ok(())
    }

    /// Forgets, in memory, the frames behind the sequence `last`: they were written and never promised.
    pub(crate) fn forget_after(&mut self, last: u64) -> Result<(), Fault> {
        let destinations: Vec<u16> = self.counts.keys().copied().collect();
        for destination in destinations {
            let mut found = Vec::new();
            self.rows(destination, true, |seq, row, _| {
                if seq <= last {
                    return Ok(ControlFlow::Break(()));
                }
                found.push((seq, row));
                Ok(ControlFlow::Continue(()))
            })?;
            for (seq, row) in found {
                self.set_row(destination, seq, &row, None);
            }
        }
        Ok(())
    }

    /// After a failed sync the file may show what is not on the disk: no more is promised than before.
    pub(crate) fn promise_no_more_than(&mut self, before: Promise) {
        self.held = before;
    }

    pub(crate) fn put_back_overlay(&mut self, overlay: BTreeMap<(u16, u64), Option<Row>>) {
        self.overlay = overlay;
    }

    pub(crate) fn take_overlay(&mut self) -> BTreeMap<(u16, u64), Option<Row>> {
        std::mem::take(&mut self.overlay)
    }

    /// Drops the database. Nothing that it does on its way reaches the file: neither a file that is removed needs it, nor one
    /// that has failed.
    pub(crate) fn close_for_good(&mut self) {
        self.muted.store(true, Ordering::Relaxed);
        panic::discard(self.db.take());
    }

    /// Closes the file in good order.
    pub(crate) fn close(mut self) -> Result<(), Fault> {
        match self.db.take() {
            Some(db) => guard(|| Ok(db.close()?)),
            None => Ok(()),
        }
    }
}

/// A table that does not exist yet is none; any other error is one.
fn existing<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, Fault> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn row_of(frame: &Frame) -> Row {
    Row::new(frame.count, u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX), frame.newest)
}

/// The destinations that a frame is for.
fn destinations_of<'a>(frame: &'a Frame, own: &'a [u16]) -> impl Iterator<Item = u16> + 'a {
    let one = (frame.destination != 0).then_some(frame.destination);
    let all = if one.is_some() { &[] } else { own };
    one.into_iter().chain(all.iter().copied())
}

fn add(counts: &mut BTreeMap<u16, Count>, destination: u16, row: &Row) {
    let count = counts.entry(destination).or_default();
    count.frames += 1;
    count.records += u64::from(row.left);
}
