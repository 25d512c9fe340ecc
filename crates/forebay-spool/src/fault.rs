//! What can go wrong with a segment, in the two kinds that are handled apart.

use forebay_core::panic;
use std::io;

/// A segment cannot be used.
#[derive(Debug)]
pub(crate) enum Fault {
    /// What stands in the file is wrong: it is set aside, and what can be read is taken over.
    Damaged(String),
    /// The file may be fine, the storage is not: it is tried again later.
    Io(io::Error),
}

// === impl Fault ===

impl Fault {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Damaged(what) => io::Error::new(io::ErrorKind::InvalidData, what),
            Self::Io(error) => error,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A file that ends too early, or says what no file says, is damaged however often it is read.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Self::Damaged(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            redb::Error::PreviousIo => Self::Io(io::Error::other("an earlier input or output failed")),
            other => Self::Damaged(other.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
from_redb!(CommitError DatabaseError StorageError TableError TransactionError);

/// Runs what calls redb. A damaged file can make it panic: then the file is damaged, and the program goes on.
pub(crate) fn guard<R>(run: impl FnOnce() -> Result<R, Fault>) -> Result<R, Fault> {
    panic::catch(run).unwrap_or_else(|panic| Err(Fault::damaged(panic.to_string())))
}
