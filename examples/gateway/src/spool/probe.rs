//! Whether there is room on the disk of the spool.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Writes a file of `bytes` beside the folder of the spool, and removes it: a disk without room for that has none for a batch.
pub(super) fn room(folder: &Path, bytes: u64) -> io::Result<()> {
    let path = folder.with_extension("probe");
    let written = (|| {
        let mut file = File::create(&path)?;
        io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
        file.sync_all()
    })();
    let removed = fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let folder = std::env::temp_dir().join(format!("forebay-probe-{}", std::process::id()));
        room(&folder, 10_000).unwrap();
        assert!(!folder.with_extension("probe").exists());
        assert!(room(Path::new("/nowhere/spool"), 1).is_err());
    }
}
