//! What the engine must hold, written outside of it: a file with fewer than promised is damaged, and never empty.
//!
//! There are two copies, `manifest-a` and `manifest-b`, which are written in turn: a torn write leaves the other one. After each
//! commit one copy is written, and it is synced once a second. So the promise is exact when a process dies, and at most a second
//! behind when the power is cut: then a file may hold more than was promised, which is kept.

use crate::{
    envelope::{u32_at, u64_at},
    storage::{Storage, StorageFile},
};
use bytes::{BufMut, Bytes};
use std::{collections::BTreeMap, io, sync::Arc};

/// The lanes, each with segments of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Lane {
    High,
    Normal,
    Dead,
}

/// Names a segment: its lane, and the first sequence that it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SegmentId {
    pub(crate) lane: Lane,
    pub(crate) first: u64,
}

/// What a segment holds at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) frames: u64,
    pub(crate) records: u64,
    pub(crate) last: u64,
    /// Records that a destination still waits for.
    pub(crate) live: u64,
}

/// A destination that the spool knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) identity: String,
}

/// What the spool promises to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) generation: u64,
    pub(crate) tag: u64,
    /// No sequence from here on has been used.
    pub(crate) next_seq: u64,
    /// No id from here on has been used.
    pub(crate) next_id: u64,
    pub(crate) clean: bool,
    pub(crate) destinations: Vec<Known>,
    pub(crate) segments: BTreeMap<SegmentId, Promise>,
    pub(crate) marks: BTreeMap<String, Bytes>,
}

/// The two files, and whose turn it is.
#[derive(Debug)]
pub(crate) struct ManifestFiles {
    files: [Arc<dyn StorageFile>; 2],
    turn: usize,
    sync: bool,
    /// The copy whose turn it is was written, and not synced.
    unsynced: bool,
}

const NAMES: [&str; 2] = ["manifest-a", "manifest-b"];
const MAGIC: &[u8; 8] = b"FBSMANI\x01";
/// A manifest is a few kilobytes; more is damage, and is not allocated.
const MAX: u64 = 4 << 20;

// === impl Lane ===

impl Lane {
    pub(crate) const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Dead];

    fn letter(self) -> char {
        match self {
            Self::High => 'h',
            Self::Normal => 'n',
            Self::Dead => 'd',
        }
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| *lane as u8 == number)
    }
}

// === impl SegmentId ===

impl SegmentId {
    pub(crate) fn file_name(self) -> String {
        format!("{}-{:016x}.redb", self.lane.letter(), self.first)
    }

    pub(crate) fn of_file_name(name: &str) -> Option<Self> {
        let (lane, first) = name.strip_suffix(".redb")?.split_once('-')?;
        let lane = Lane::ALL.into_iter().find(|known| lane.chars().eq([known.letter()]))?;
        if first.len() != 16 {
            return None;
        }
        Some(Self { lane, first: u64::from_str_radix(first, 16).ok()? })
    }
}

// === impl Manifest ===

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + 48 * self.segments.len());
        out.put_slice(MAGIC);
        // Length and checksum are written here when all else is known.
        out.put_u64_le(0);
        for number in [self.generation, self.tag, self.next_seq, self.next_id, u64::from(self.clean)] {
            out.put_u64_le(number);
        }
        put_len(&mut out, self.destinations.len());
        for known in &self.destinations {
            out.put_u16_le(known.id);
            put(&mut out, known.name.as_bytes());
            put(&mut out, known.identity.as_bytes());
        }
        put_len(&mut out, self.segments.len());
        for (id, promise) in &self.segments {
            out.put_u8(id.lane as u8);
            for number in [id.first, promise.frames, promise.records, promise.last, promise.live] {
                out.put_u64_le(number);
            }
        }
        put_len(&mut out, self.marks.len());
        for (name, value) in &self.marks {
            put(&mut out, name.as_bytes());
            put(&mut out, value);
        }
        let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out[8..12].copy_from_slice(&len.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let len = usize::try_from(u32_at(bytes, 8)?).ok()?;
        let mut bytes = bytes.get(..len)?.to_vec();
        let crc = u32_at(&bytes, 12)?;
        bytes.get_mut(12..16)?.fill(0);
        if !bytes.starts_with(MAGIC) || crc32fast::hash(&bytes) != crc {
            return None;
        }
        let mut rest = bytes.get(16..)?;
        let mut manifest = Self {
            generation: take_u64(&mut rest)?,
            tag: take_u64(&mut rest)?,
            next_seq: take_u64(&mut rest)?,
            next_id: take_u64(&mut rest)?,
            clean: take_u64(&mut rest)? != 0,
            ..Self::default()
        };
        for _ in 0..take_u32(&mut rest)? {
            let id = u16::from_le_bytes(*take(&mut rest, 2)?.first_chunk()?);
            let (name, identity) = (take_text(&mut rest)?, take_text(&mut rest)?);
            manifest.destinations.push(Known { id, name, identity });
        }
        for _ in 0..take_u32(&mut rest)? {
            let lane = Lane::of(*take(&mut rest, 1)?.first()?)?;
            let id = SegmentId { lane, first: take_u64(&mut rest)? };
            let promise = Promise {
                frames: take_u64(&mut rest)?,
                records: take_u64(&mut rest)?,
                last: take_u64(&mut rest)?,
                live: take_u64(&mut rest)?,
            };
            manifest.segments.insert(id, promise);
        }
        for _ in 0..take_u32(&mut rest)? {
            let name = take_text(&mut rest)?;
            let len = usize::try_from(take_u32(&mut rest)?).ok()?;
            manifest.marks.insert(name, Bytes::copy_from_slice(take(&mut rest, len)?));
        }
        Some(manifest)
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    u32_at(take(rest, 4)?, 0)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    u64_at(take(rest, 8)?, 0)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(take_u32(rest)?).ok()?;
    String::from_utf8(take(rest, len)?.to_vec()).ok()
}

// === impl ManifestFiles ===

impl ManifestFiles {
    /// Opens both, and returns the newer one that is whole, if there is one.
    pub(crate) fn open(storage: &dyn Storage, sync: bool) -> io::Result<(Self, Option<Manifest>)> {
        let files = [storage.open(NAMES[0], true)?, storage.open(NAMES[1], true)?];
        let found = files.each_ref().map(|file| read(&**file));
        let turn = match &found {
            [Some(a), Some(b)] if a.generation >= b.generation => 1,
            [Some(_), None] => 1,
            _ => 0,
        };
        let newest = found.into_iter().flatten().max_by_key(|manifest| manifest.generation);
        Ok((Self { files, turn, sync, unsynced: false }, newest))
    }

    /// Writes the copy whose turn it is, and syncs it or leaves that for later.
    ///
    /// CORRECTNESS: the turn passes only when the copy is safe. Until then the other copy stays as it is, for a power cut may
    /// leave nothing of what was not synced.
    pub(crate) fn write(&mut self, manifest: &mut Manifest, sync: bool) -> io::Result<()> {
        manifest.generation += 1;
        let bytes = manifest.encode();
        let file = &self.files[self.turn];
        file.write_at(0, &bytes)?;
        self.unsynced = self.sync && !sync;
        if self.unsynced {
            return Ok(());
        }
        if self.sync {
            file.sync()?;
        }
        self.turn = 1 - self.turn;
        Ok(())
    }

    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Writes both copies: for what must hold even when one of them is lost, the names of the files.
    pub(crate) fn write_both(&mut self, manifest: &mut Manifest) -> io::Result<()> {
        self.write(manifest, true)?;
        self.write(manifest, true)
    }
}

/// The copy in `file`, if it is whole. One that cannot be read is as good as none: the other one counts.
fn read(file: &dyn StorageFile) -> Option<Manifest> {
    let len = file.len().ok()?;
    if len == 0 || len > MAX {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    file.read_at(0, &mut bytes).ok()?;
    Manifest::decode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let id = SegmentId { lane: Lane::Normal, first: 3 };
        Manifest {
            generation: 9,
            tag: 77,
            next_seq: 12,
            next_id: 40,
            clean: true,
            destinations: vec![Known { id: 1, name: "main".into(), identity: "https://a.example/v1/logs".into() }],
            segments: [(id, Promise { frames: 2, records: 64, last: 11, live: 5 })].into(),
            marks: [("file".into(), Bytes::from_static(b"1234"))].into(),
        }
    }

    #[test]
    fn it_reads_as_it_was_written_and_a_longer_older_text_behind_it_does_no_harm() {
        let mut bytes = manifest().encode();
        bytes.extend(b"what a longer manifest has left behind");
        assert_eq!(Manifest::decode(&bytes), Some(manifest()));
    }

    #[test]
    fn s03_each_flipped_byte_and_each_cut_is_seen() {
        let whole = manifest().encode();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert_eq!(Manifest::decode(&bytes), None, "byte {at}");
            assert_eq!(Manifest::decode(&whole[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_file_name_says_which_segment_it_is() {
        for lane in Lane::ALL {
            let id = SegmentId { lane, first: 0xabc };
            assert_eq!(SegmentId::of_file_name(&id.file_name()), Some(id));
        }
        for name in ["manifest-a", "lock", "n-1.redb", "x-0000000000000abc.redb", "damaged-n-0000000000000abc.redb"] {
            assert_eq!(SegmentId::of_file_name(name), None, "{name}");
        }
    }
}
