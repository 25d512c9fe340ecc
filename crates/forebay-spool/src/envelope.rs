//! How one record stands on disk, complete in itself: it can be found and checked without the file around it.
//!
//! ```text
//!  0 magic "FBSP"   4 tag of the spool   12 version   13 flags   14 index   16 sequence   24 id   32 first seen
//! 40 attempts  42 key length  44 note length  46 destination  48 payload length  52 crc32 of all but itself
//! 56 key, note, payload
//! ```
//!
//! All numbers are little-endian. The tag is random for each spool, so that no payload can contain a record of its own.

use crate::record::{Record, from_millis};
use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::Priority;
use memchr::memmem;

/// Bytes of a record beside its key, note and payload.
pub(crate) const HEAD: usize = 56;
/// The version that is written. A reader takes all versions up to this one.
pub(crate) const VERSION: u8 = 1;
/// No payload is larger, whatever the builder allows.
pub(crate) const MAX_PAYLOAD: usize = 16 << 20;
/// No key and no note is longer.
pub(crate) const MAX_KEY: usize = 1024;

const MAGIC: [u8; 4] = *b"FBSP";
const HIGH: u8 = 1;

/// A record with its place: what stands in an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The sequence of the frame it stands in, and its place there.
    pub(crate) seq: u64,
    pub(crate) index: u16,
    pub(crate) id: u64,
    pub(crate) first_seen: u64,
    pub(crate) attempts: u16,
    pub(crate) priority: Priority,
    /// The one destination it is for, or 0 for all.
    pub(crate) destination: u16,
    pub(crate) key: Bytes,
    /// Why it is a dead letter.
    pub(crate) note: Bytes,
    pub(crate) payload: Bytes,
}

// === impl Stored ===

impl Stored {
    /// The bytes that [`encode`](Self::encode) writes.
    pub(crate) fn encoded_len(&self) -> usize {
        HEAD + self.key.len() + self.note.len() + self.payload.len()
    }

    /// Writes the envelope. Key, note and payload have been checked against their limits.
    pub(crate) fn encode(&self, tag: u64, out: &mut BytesMut) {
        let start = out.len();
        out.put_slice(&MAGIC);
        out.put_u64_le(tag);
        out.put_u8(VERSION);
        out.put_u8(if self.priority == Priority::High { HIGH } else { 0 });
        out.put_u16_le(self.index);
        out.put_u64_le(self.seq);
        out.put_u64_le(self.id);
        out.put_u64_le(self.first_seen);
        out.put_u16_le(self.attempts);
        out.put_u16_le(clamped(self.key.len()));
        out.put_u16_le(clamped(self.note.len()));
        out.put_u16_le(self.destination);
        out.put_u32_le(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        let mut crc = crc32fast::Hasher::new();
        crc.update(out.get(start..).unwrap_or_default());
        for part in [&self.key, &self.note, &self.payload] {
            crc.update(part);
        }
        out.put_u32_le(crc.finalize());
        out.put_slice(&self.key);
        out.put_slice(&self.note);
        out.put_slice(&self.payload);
    }

    /// The record, for the caller.
    pub(crate) fn into_record(self, attempts: u32) -> Record {
        let first_seen = from_millis(self.first_seen);
        Record { id: self.id, key: self.key, attempts, first_seen, priority: self.priority, payload: self.payload }
    }
}

fn clamped(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// The whole records in `bytes`, in the order in which they stand there, whatever stands between them.
///
/// A frame and a damaged file are read by the same routine. Nothing is allocated for what has not passed its checksum.
pub(crate) fn scan(bytes: &Bytes, tag: u64) -> Vec<Stored> {
    let mut needle = [0; 12];
    needle[..4].copy_from_slice(&MAGIC);
    needle[4..].copy_from_slice(&tag.to_le_bytes());
    let finder = memmem::Finder::new(&needle);
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) = bytes.get(at..).and_then(|rest| finder.find(rest)) {
        let start = at + next;
        match decode(bytes, start) {
            Some((record, len)) => {
                found.push(record);
                at = start + len;
            }
            None => at = start + 1,
        }
    }
    found
}

/// The record that begins at `start`, and its length, if it is whole.
fn decode(bytes: &Bytes, start: usize) -> Option<(Stored, usize)> {
    let head: &[u8; HEAD] = bytes.get(start..start.checked_add(HEAD)?)?.first_chunk()?;
    let (key_len, note_len) = (usize::from(u16_at(head, 42)?), usize::from(u16_at(head, 44)?));
    let payload_len = usize::try_from(u32_at(head, 48)?).ok()?;
    if head[12] == 0 || head[12] > VERSION || key_len > MAX_KEY || note_len > MAX_KEY || payload_len > MAX_PAYLOAD {
        return None;
    }
    let key_at = start + HEAD;
    let note_at = key_at + key_len;
    let payload_at = note_at + note_len;
    let end = payload_at + payload_len;
    if end > bytes.len() {
        return None;
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(head.get(..HEAD - 4)?);
    crc.update(bytes.get(key_at..end)?);
    if crc.finalize() != u32_at(head, HEAD - 4)? {
        return None;
    }
    let record = Stored {
        index: u16_at(head, 14)?,
        seq: u64_at(head, 16)?,
        id: u64_at(head, 24)?,
        first_seen: u64_at(head, 32)?,
        attempts: u16_at(head, 40)?,
        destination: u16_at(head, 46)?,
        priority: if head[13] & HIGH == 0 { Priority::Normal } else { Priority::High },
        key: bytes.slice(key_at..note_at),
        note: bytes.slice(note_at..payload_at),
        payload: bytes.slice(payload_at..end),
    };
    Some((record, end - start))
}

/// The number that stands at `at`, if it is there.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The number that stands at `at`, if it is there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The number that stands at `at`, if it is there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAG: u64 = 0x0123_4567_89ab_cdef;

    fn stored(index: u16, payload: Vec<u8>) -> Stored {
        Stored {
            seq: 7,
            index,
            id: 1000 + u64::from(index),
            first_seen: 1_700_000_000_000,
            attempts: 2,
            priority: Priority::High,
            destination: 0,
            key: Bytes::from_static(b"tenant"),
            note: Bytes::new(),
            payload: payload.into(),
        }
    }

    fn encoded(records: &[Stored]) -> Bytes {
        let mut out = BytesMut::new();
        for record in records {
            record.encode(TAG, &mut out);
        }
        out.freeze()
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let records = [stored(0, b"first".to_vec()), stored(1, Vec::new()), stored(2, vec![7; 9000])];
        let bytes = encoded(&records);
        assert_eq!(bytes.len(), records.iter().map(Stored::encoded_len).sum::<usize>());
        assert_eq!(scan(&bytes, TAG), records);
        assert_eq!(scan(&bytes, TAG + 1), [], "the records of another spool are no records of this one");
    }

    #[test]
    fn s03_a_flipped_byte_costs_one_record_and_the_next_is_read() {
        let records = [stored(0, b"first".to_vec()), stored(1, b"second".to_vec()), stored(2, b"third".to_vec())];
        let whole = encoded(&records);
        let len = records[0].encoded_len();
        for at in 0..len {
            for bit in 0..8 {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 1 << bit;
                assert_eq!(scan(&bytes.into(), TAG), records[1..], "byte {at}, bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn s03_no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..300) {
            let mut all = encoded(&[stored(0, vec![1; 40])]).to_vec();
            let at = at.min(all.len());
            all.splice(at..at, bytes);
            for found in scan(&all.into(), TAG) {
                prop_assert_eq!(found, stored(0, vec![1; 40]));
            }
        }
    }
}
