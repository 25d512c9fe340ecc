//! A dead letter on disk: one line of text, then the request as it was received.

use super::name::Name;
use crate::{batch::Batch, batch::Facts};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::Arc,
};

const MAGIC: &str = "forebay-dead-letter/1 ";

/// The first line of the letter of `batch`.
pub(super) fn head(batch: &Batch) -> String {
    let Facts { has_error, has_slow, .. } = batch.facts;
    let tenant = utf8_percent_encode(&batch.tenant, NON_ALPHANUMERIC);
    format!("{MAGIC}error={} slow={} tenant={tenant}\n", u8::from(has_error), u8::from(has_slow))
}

/// How long the letter of `batch` is.
pub(super) fn length(batch: &Batch) -> u64 {
    (head(batch).len() + batch.body.len()) as u64
}

/// Writes a letter so that it is there in full or not at all, also after a crash; [`sync`] makes sure of its name.
pub(super) fn write(folder: &Path, name: Name, head: &str, body: &[u8]) -> io::Result<()> {
    let (partial, complete) = (folder.join(format!("{name}.partial")), folder.join(name.to_string()));
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&partial)?;
        file.write_all(head.as_bytes())?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(&partial, &complete)
    })();
    if written.is_err() {
        // What is left of it is swept away at the next start, if not now.
        drop(fs::remove_file(&partial));
    }
    written
}

/// Writes a file of `bytes` into `folder`, and removes it: whether letters can be written there.
pub(super) fn probe(folder: &Path, bytes: u64) -> io::Result<()> {
    // As long as a whole letter, so that a disk without room for it is seen; the suffix is swept away at a start.
    let path = folder.join("probe.otlp.partial");
    let written = (|| {
        let mut file = File::create(&path)?;
        io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
        file.sync_all()
    })();
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// Makes a change of names in `folder` survive a crash.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened as a file, and the system sees to it.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Gives a letter its new name.
pub(super) fn rename(folder: &Path, from: Name, to: Name) -> io::Result<()> {
    fs::rename(folder.join(from.to_string()), folder.join(to.to_string()))
}

/// Reads a letter back.
pub(super) fn read(folder: &Path, name: Name) -> io::Result<Batch> {
    let whole = Bytes::from(fs::read(folder.join(name.to_string()))?);
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not a dead letter");
    let end = whole.iter().position(|byte| *byte == b'\n').ok_or_else(wrong)?;
    let head = std::str::from_utf8(&whole[..end]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut tenant = "".into();
    let mut facts = Facts { records: name.records, ..Facts::default() };
    for word in head.strip_prefix(MAGIC).ok_or_else(wrong)?.split(' ') {
        match word.split_once('=') {
            Some(("error", value)) => facts.has_error = value == "1",
            Some(("slow", value)) => facts.has_slow = value == "1",
            Some(("tenant", value)) => tenant = Arc::from(percent_decode_str(value).decode_utf8_lossy()),
            // A later version may say more.
            _ => {}
        }
    }
    let Name { received, id, signal, .. } = name;
    Ok(Batch { id, signal, tenant, body: whole.slice(end + 1..), facts, received })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchId;
    use forebay::otlp::Signal;

    #[test]
    fn a_letter_has_its_name_only_when_it_is_whole() {
        let folder = std::env::temp_dir().join(format!("forebay-letter-{}", std::process::id()));
        let name = Name { received: 7, id: BatchId(1), signal: Signal::Logs, records: 1, attempts: 0 };
        // A letter cannot be begun where a folder lies in the way of its partial name.
        fs::create_dir_all(folder.join(format!("{name}.partial"))).unwrap();
        assert!(write(&folder, name, "head\n", b"body").is_err());
        assert!(!folder.join(name.to_string()).exists(), "no letter was written under its own name");
        fs::remove_dir(folder.join(format!("{name}.partial"))).unwrap();
        write(&folder, name, "head\n", b"body").unwrap();
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, [&*name.to_string()]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
