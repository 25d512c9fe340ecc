//! The files of a spool. All of its reading and writing goes through here, so that a test can put a disk that fails below it.

mod local;
mod snapshot;

pub use self::{local::LocalStorage, snapshot::SnapshotStorage};
use crate::SpoolError;
use std::{fmt, io, sync::Arc};

/// A flat directory of files that one spool owns.
///
/// [`LocalStorage`] is a directory of the file system. An implementation of your own is for tests: one that forgets what was
/// not synced, that has no room, that fails.
///
/// All calls block. They are made by one thread at a time.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Makes the directory ready, and takes it for this process until [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// `InUse`, `Untrusted`, or an error of the storage.
    fn claim(&self) -> Result<(), SpoolError>;

    /// Gives the directory back. It is called once, when the spool closes.
    fn release(&self);

    /// The names of all files.
    ///
    /// # Errors
    ///
    /// An error of the storage.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing. With `create` it is made where it does not exist.
    ///
    /// # Errors
    ///
    /// `NotFound` without `create`; `PermissionDenied` for a file that cannot be trusted; an error of the storage.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StorageFile>>;

    /// Gives a file another name. A file that has this name is replaced.
    ///
    /// # Errors
    ///
    /// An error of the storage.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// An error of the storage. A file that does not exist is no error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes what was created, renamed and removed survive a power cut.
    ///
    /// # Errors
    ///
    /// An error of the storage.
    fn sync(&self) -> io::Result<()>;
}

/// One file of a [`Storage`].
#[expect(clippy::len_without_is_empty, reason = "the length is read from the storage, and may fail")]
pub trait StorageFile: fmt::Debug + Send + Sync + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// An error of the storage.
    fn len(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` where the file ends before; an error of the storage.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`; the file grows as needed.
    ///
    /// # Errors
    ///
    /// An error of the storage; part of `data` may be written.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts the file, or fills it up with zeros.
    ///
    /// # Errors
    ///
    /// An error of the storage.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes what was written survive a power cut.
    ///
    /// # Errors
    ///
    /// An error of the storage. What was written before is then suspect, and a second call that succeeds means nothing.
    fn sync(&self) -> io::Result<()>;
}
