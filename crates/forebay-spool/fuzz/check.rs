//! What must hold for a spool in which any bytes stand in the place of a file, or of a part of it.

use forebay_spool::{
    Disposition, Group, NewRecord, SpoolBuilder, SpoolError, Want,
    storage::{Storage, StorageFile},
};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// A directory in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<String, Arc<File>>>);

#[derive(Debug, Default)]
struct File(Mutex<Vec<u8>>);

/// Records of the spool under test, all but the dead letter and the urgent one, are in this file.
const SEGMENT: &str = "n-0000000000100001.redb";
const NOW: u64 = 1_700_000_000_000;

/// The first byte says what the others are: the whole file, or a place in it, in four bytes, and what stands there.
///
/// Returns how many records were found.
pub(crate) fn check(data: &[u8]) -> usize {
    let Some((kind, data)) = data.split_first() else { return 0 };
    let memory = Memory::fixture();
    if kind % 2 == 0 {
        *memory.file(SEGMENT).content() = data.to_vec();
    } else {
        let Some((at, bytes)) = data.split_first_chunk() else { return 0 };
        let file = memory.file(SEGMENT);
        let mut content = file.content();
        let at = usize::try_from(u32::from_le_bytes(*at)).unwrap_or(0) % content.len();
        for (place, byte) in content[at..].iter_mut().zip(bytes) {
            *place = *byte;
        }
    }
    let opened = SpoolBuilder::on(Arc::new(memory)).destination("main", "https://a.example").open_engine(now());
    let mut engine = opened.expect("no start is refused");
    let (mut found, mut bytes) = (0, 0);
    while let Some((lease, records)) = engine.lease("main", Want::default(), NOW).expect("it can be leased from") {
        found += records.len();
        bytes += records.iter().map(|record| record.payload.len() + record.key.len()).sum::<usize>();
        engine.settle(lease, &vec![Disposition::Delivered; records.len()]);
        engine.flush().expect("it can be written");
    }
    // What was read stands in the file, each place once; the other file adds a record.
    assert!(bytes <= data.len().max(73_728) + 6, "{bytes} bytes out of {}", data.len());
    let next = Group::new([NewRecord::new("next")]);
    assert!(engine.append(vec![next], NOW).iter().all(Result::is_ok), "it goes on");
    let leased = engine.lease("main", Want::default(), NOW).expect("it can be leased from");
    let payloads: Vec<_> = leased.iter().flat_map(|(_, records)| records).map(|record| &record.payload[..]).collect();
    assert_eq!(payloads, [b"next"]);
    found
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(NOW)
}

// === impl Memory ===

impl Memory {
    /// The spool of the tests that a version of this crate has written.
    fn fixture() -> Self {
        let memory = Self::default();
        for (name, content) in [
            ("manifest-a", &include_bytes!("../tests/fixtures/v1/manifest-a")[..]),
            ("manifest-b", include_bytes!("../tests/fixtures/v1/manifest-b")),
            (SEGMENT, include_bytes!("../tests/fixtures/v1/n-0000000000100001.redb")),
            ("h-0000000000100003.redb", include_bytes!("../tests/fixtures/v1/h-0000000000100003.redb")),
            ("d-0000000000100006.redb", include_bytes!("../tests/fixtures/v1/d-0000000000100006.redb")),
        ] {
            *memory.file(name).content() = content.to_vec();
        }
        memory
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<File>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str) -> Arc<File> {
        Arc::clone(self.files().entry(name.to_owned()).or_default())
    }
}

impl Storage for Memory {
    fn claim(&self) -> Result<(), SpoolError> {
        Ok(())
    }

    fn release(&self) {}

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StorageFile>> {
        if !create && !self.files().contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.file(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files().remove(name);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

// === impl File ===

impl File {
    fn content(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.content();
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = content.get(at..at.saturating_add(out.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut content = self.content();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at + data.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[at..end].copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.content().resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
