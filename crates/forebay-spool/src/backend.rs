//! The storage as redb sees it.

use crate::storage::StorageFile;
use redb::StorageBackend;
use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// One file below one database.
///
/// The spool's own lock file keeps other processes out, so no range of the file is locked.
pub(crate) struct Backend {
    file: Arc<dyn StorageFile>,
    /// Without it, what is written survives the process and not the power: `Durability::Process`, or a file that is being made.
    sync: Arc<AtomicBool>,
    /// The file is about to be removed: what a closing database still writes is not worth a write.
    muted: Arc<AtomicBool>,
}

// === impl Backend ===

impl Backend {
    pub(crate) fn new(file: Arc<dyn StorageFile>, sync: Arc<AtomicBool>, muted: Arc<AtomicBool>) -> Self {
        Self { file, sync, muted }
    }

    fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("sync", &self.sync).finish_non_exhaustive()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.is_muted() { Ok(()) } else { self.file.set_len(len) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync.load(Ordering::Relaxed) && !self.is_muted() { self.file.sync() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.is_muted() { Ok(()) } else { self.file.write_at(offset, data) }
    }
}
