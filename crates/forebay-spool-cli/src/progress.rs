//! How far a command is, on a terminal.

use forebay_spool::{
    SpoolError,
    storage::{Storage, StorageFile},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{io, sync::Arc};

/// A storage that moves a bar by each file of records that is opened for the first time.
#[derive(Debug)]
pub(crate) struct Watched {
    storage: Arc<dyn Storage>,
    bar: ProgressBar,
}

/// A bar of `len` things, named in the plural. It shows on a terminal only.
pub(crate) fn bar(len: u64, things: &str) -> ProgressBar {
    let bar = ProgressBar::new(len);
    let template = format!("{{bar:40}} {{pos}}/{{len}} {things}, {{per_sec}}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

// === impl Watched ===

impl Watched {
    pub(crate) fn new(storage: Arc<dyn Storage>, bar: ProgressBar) -> Self {
        Self { storage, bar }
    }
}

impl Storage for Watched {
    fn claim(&self) -> Result<(), SpoolError> {
        self.storage.claim()
    }

    fn release(&self) {
        self.storage.release();
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StorageFile>> {
        // A file that is opened a second time, for what can be read of it, is beyond the length of the bar.
        if name.ends_with(".redb") && self.bar.length().is_none_or(|len| self.bar.position() < len) {
            self.bar.inc(1);
        }
        self.storage.open(name, create)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_spool::{DiskSpool, Group, NewRecord, SpoolBuilder, storage::SnapshotStorage};
    use std::time::SystemTime;

    #[test]
    fn the_bar_moves_by_each_file_that_is_opened() {
        let dir = std::env::temp_dir().join(format!("forebay-spool-cli-progress-{}", std::process::id()));
        let open = || DiskSpool::builder(&dir).destination("main", "https://a.example").segment_bytes(64 << 10);
        let mut engine = open().open_engine(SystemTime::UNIX_EPOCH).unwrap();
        for _ in 0..8 {
            engine.append(vec![Group::new([NewRecord::new(vec![7; 30_000])])], 0).remove(0).unwrap();
        }
        let files = engine.stats().segments;
        engine.close().unwrap();
        let bar = ProgressBar::hidden();
        bar.set_length(files);
        let watched = Watched::new(Arc::new(SnapshotStorage::new(&dir)), bar.clone());
        let engine = SpoolBuilder::on(Arc::new(watched)).open_engine(SystemTime::UNIX_EPOCH).unwrap();
        assert!(files > 2 && bar.position() == files, "{} of {files}", bar.position());
        engine.close().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
