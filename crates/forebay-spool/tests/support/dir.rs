//! A directory that goes with its owner.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("forebay-spool-{name}-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it, where a spool can be made.
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    pub fn copy(from: &Path, name: &str) -> io::Result<Self> {
        let dir = Self::new(name);
        fs::create_dir_all(dir.spool())?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::copy(entry.path(), dir.spool().join(entry.file_name()))?;
        }
        Ok(dir)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}
