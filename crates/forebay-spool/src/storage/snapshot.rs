use super::{LocalStorage, Storage, StorageFile};
use crate::SpoolError;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A spool's directory that is read and never changed: what is written stays in memory, and is forgotten with it.
///
/// Opening a spool verifies and repairs it. On a snapshot a tool may look at a damaged spool without touching it. No other
/// process may have the spool open meanwhile.
#[derive(Debug)]
pub struct SnapshotStorage {
    local: LocalStorage,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    removed: BTreeSet<String>,
    /// Files that were created, renamed or written to.
    files: HashMap<String, Arc<SnapshotFile>>,
}

#[derive(Debug)]
struct SnapshotFile {
    below: Option<Arc<dyn StorageFile>>,
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    len: u64,
    /// Bytes of the file below from here on are not seen any more: it was cut, and may have grown again.
    seen: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

const PAGE: u64 = PAGE_BYTES as u64;
const PAGE_BYTES: usize = 4096;

// === impl SnapshotStorage ===

impl SnapshotStorage {
    /// The spool in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { local: LocalStorage::new(dir), names: Mutex::default() }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, names: &mut Names, name: &str, create: bool) -> io::Result<Arc<SnapshotFile>> {
        if let Some(file) = names.files.get(name) {
            return Ok(Arc::clone(file));
        }
        let below = if names.removed.contains(name) {
            Err(io::Error::from(io::ErrorKind::NotFound))
        } else {
            self.local.open(name, false)
        };
        let below = match below {
            Ok(below) => Some(below),
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => None,
            Err(error) => return Err(error),
        };
        let len = below.as_ref().map_or(Ok(0), |below| below.len())?;
        let content = Mutex::new(Content { len, seen: len, pages: BTreeMap::new() });
        let file = Arc::new(SnapshotFile { below, content });
        names.files.insert(name.to_owned(), Arc::clone(&file));
        names.removed.remove(name);
        Ok(file)
    }
}

impl Storage for SnapshotStorage {
    fn claim(&self) -> Result<(), SpoolError> {
        self.local.claim()
    }

    fn release(&self) {
        self.local.release();
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.names();
        let mut all: BTreeSet<_> = self.local.list()?.into_iter().collect();
        all.retain(|name| !names.removed.contains(name));
        all.extend(names.files.keys().cloned());
        Ok(all.into_iter().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(&mut self.names(), name, create)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names();
        let file = self.file(&mut names, from, false)?;
        names.files.remove(from);
        names.removed.insert(from.to_owned());
        names.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut names = self.names();
        names.files.remove(name);
        names.removed.insert(name.to_owned());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

// === impl SnapshotFile ===

impl SnapshotFile {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page `number` as it reads now.
    fn page(&self, content: &Content, number: u64) -> io::Result<Box<[u8]>> {
        if let Some(page) = content.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE_BYTES].into_boxed_slice();
        let start = number * PAGE;
        let seen = usize::try_from(content.seen.saturating_sub(start).min(PAGE)).unwrap_or(0);
        if let (Some(below), Some(part)) = (&self.below, page.get_mut(..seen))
            && seen > 0
        {
            below.read_at(start, part)?;
        }
        Ok(page)
    }
}

impl StorageFile for SnapshotFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.content();
        if offset.saturating_add(out.len() as u64) > content.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let page = self.page(&content, at / PAGE)?;
            let from = page.get((at % PAGE) as usize..).unwrap_or_default();
            let len = from.len().min(rest.len());
            let (part, left) = rest.split_at_mut(len);
            part.copy_from_slice(&from[..len]);
            rest = left;
            at += len as u64;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut content = self.content();
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let mut page = self.page(&content, at / PAGE)?;
            let to = page.get_mut((at % PAGE) as usize..).unwrap_or_default();
            let (part, left) = rest.split_at(to.len().min(rest.len()));
            to[..part.len()].copy_from_slice(part);
            content.pages.insert(at / PAGE, page);
            rest = left;
            at += part.len() as u64;
        }
        content.len = content.len.max(at);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.content();
        if len < content.len {
            content.seen = content.seen.min(len);
            let last = len / PAGE;
            content.pages.retain(|number, _| *number <= last);
            if let Some(page) = content.pages.get_mut(&last)
                && let Some(cut) = page.get_mut((len % PAGE) as usize..)
            {
                cut.fill(0);
            }
        }
        content.len = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
