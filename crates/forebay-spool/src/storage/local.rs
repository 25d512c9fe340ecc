use super::{Storage, StorageFile};
use crate::{SpoolError, SpoolErrorKind};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// A directory of the file system: 0700, its files 0600, owned by this user, no symbolic links, one process at a time.
#[derive(Debug)]
pub struct LocalStorage {
    dir: PathBuf,
    /// Held from `claim` to `release`: the operating system lets it go when the process dies.
    lock: Mutex<Option<File>>,
}

#[derive(Debug)]
struct LocalFile(File);

/// The file whose lock says that the spool is in use.
const LOCK: &str = "lock";

// === impl LocalStorage ===

impl LocalStorage {
    /// The spool in `dir`, which is made when it is claimed. Its parent must exist.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), lock: Mutex::new(None) }
    }

    fn untrusted(&self, path: &Path, why: &'static str) -> SpoolError {
        SpoolError::new(SpoolErrorKind::Untrusted { path: path.to_owned(), why })
    }

    fn prepare(&self) -> Result<(), SpoolError> {
        match make_dir(&self.dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(SpoolError::of_io(error)),
        }
        let found = fs::symlink_metadata(&self.dir).map_err(SpoolError::of_io)?;
        if found.is_symlink() {
            return Err(self.untrusted(&self.dir, "it is a symbolic link"));
        }
        if !found.is_dir() {
            return Err(self.untrusted(&self.dir, "it is no directory"));
        }
        if let Err(why) = owner(&found) {
            return Err(self.untrusted(&self.dir, why));
        }
        keep_private(&self.dir, &found).map_err(SpoolError::of_io)
    }
}

impl Storage for LocalStorage {
    fn claim(&self) -> Result<(), SpoolError> {
        self.prepare()?;
        let path = self.dir.join(LOCK);
        let mut file = match open_file(&path, true) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(self.untrusted(&path, "it is a symbolic link, has another owner, or is shared"));
            }
            Err(error) => return Err(SpoolError::of_io(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The process id is a courtesy: without it the error says less, and is still right.
                let _read = (&mut file).take(20).read_to_string(&mut text);
                let holder = text.trim().parse().ok();
                return Err(SpoolError::new(SpoolErrorKind::InUse { holder }));
            }
            Err(TryLockError::Error(error)) => return Err(SpoolError::of_io(error)),
        }
        let pid = std::process::id();
        // A full disk must not keep a spool from opening, for opening it is the way to drain it.
        let _courtesy = file.set_len(0).and_then(|()| writeln!(file, "{pid}"));
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    fn release(&self) {
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(file) = held {
            // CORRECTNESS: a process that is being started by another thread holds a copy of the descriptor until it has loaded its
            // program, so closing ours would not release the lock yet. Where unlocking fails, closing still does, if later.
            let _closed_all_the_same = file.unlock();
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if let (Ok(name), true) = (entry.file_name().into_string(), entry.file_type()?.is_file()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(LocalFile(open_file(&self.dir.join(name), create)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync(&self) -> io::Result<()> {
        sync_dir(&self.dir)
    }
}

fn open_file(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create);
    no_links(&mut options);
    let file = match options.open(path) {
        Err(error) if is_link(&error) => {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is a symbolic link"));
        }
        other => other?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is no plain file"));
    }
    owner(&found).map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))?;
    keep_file_private(&file, &found)?;
    Ok(file)
}

fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    DirBuilder::new().mode(0o700).create(dir)
}

fn no_links(options: &mut OpenOptions) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600).custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed());
}

/// What `O_NOFOLLOW` says of a link.
fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn owner(found: &fs::Metadata) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user");
    }
    // Through a second name, in a directory of another user, what is written here could be seen.
    if found.is_file() && found.nlink() > 1 {
        return Err("it has a second name");
    }
    Ok(())
}

fn keep_private(dir: &Path, found: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if found.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

fn keep_file_private(file: &File, found: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if found.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

// === impl LocalFile ===

impl StorageFile for LocalFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, out, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
