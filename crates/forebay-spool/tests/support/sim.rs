//! A disk that forgets what was not synced, that has no room, and that fails.

use super::Rng;
use forebay_spool::{
    SpoolError,
    storage::{Storage, StorageFile},
};
use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex},
};

/// A disk and the operating system above it. A clone is another handle.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Disk>>);

#[derive(Clone, Default)]
struct Disk {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    /// The directory as it survives a power cut, and what was done to it since.
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Naming>,
    faults: Faults,
    pub syncs: u64,
    is_dead: bool,
}

/// A file as it reads, as it is on the disk, and what lies between the two.
#[derive(Clone, Default)]
struct Node {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Data { at: usize, data: Vec<u8> },
    Len(usize),
}

#[derive(Clone)]
enum Naming {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

/// What goes wrong, and when.
#[derive(Clone, Default)]
pub struct Faults {
    /// The power is cut before this sync.
    pub cut_at_sync: Option<u64>,
    /// Bytes that all files together may have.
    pub capacity: Option<usize>,
    /// These syncs, counted from the first one of all, fail, and what they were to make safe is lost.
    pub bad_syncs: Vec<u64>,
    /// So many writes from now on succeed; those after fail, until this is set again.
    pub writes_left: Option<u64>,
    /// Reads fail.
    pub bad_reads: bool,
}

/// What survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    Nothing,
    All,
    /// Any part, in pieces of a sector.
    Some(u64),
}

struct SimFile {
    disk: SimDisk,
    node: usize,
}

const SECTOR: usize = 512;

impl SimDisk {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Another disk with the same content.
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }

    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().unwrap().faults = faults;
    }

    pub fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    pub fn is_dead(&self) -> bool {
        self.0.lock().unwrap().is_dead
    }

    /// The power is on again.
    pub fn reboot(&self, survives: Survives) {
        let mut disk = self.0.lock().unwrap();
        let disk = &mut *disk;
        let mut rng = Rng::new(if let Survives::Some(seed) = survives { seed } else { 0 });
        for node in &mut disk.nodes {
            for write in std::mem::take(&mut node.unsynced) {
                match survives {
                    Survives::Nothing => {}
                    Survives::All => write.apply(&mut node.durable),
                    Survives::Some(_) => write.apply_some(&mut node.durable, &mut rng),
                }
            }
            node.now.clone_from(&node.durable);
        }
        let namings = std::mem::take(&mut disk.unsynced_names);
        // A journal keeps the order of what was done to names, and loses its end.
        let kept = match survives {
            Survives::Nothing => 0,
            Survives::All => namings.len(),
            Survives::Some(_) => rng.below(namings.len() + 1),
        };
        for naming in namings.into_iter().take(kept) {
            naming.apply(&mut disk.durable_names);
        }
        disk.names = disk.durable_names.clone();
        disk.is_dead = false;
        disk.faults = Faults::default();
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().names.keys().cloned().collect()
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        let disk = self.0.lock().unwrap();
        disk.nodes[disk.names[name]].now.clone()
    }

    pub fn set_content(&self, name: &str, content: &[u8]) {
        let mut disk = self.0.lock().unwrap();
        let node = disk.names[name];
        let node = &mut disk.nodes[node];
        node.now = content.to_vec();
        node.durable = content.to_vec();
        node.unsynced.clear();
    }

    pub fn delete(&self, name: &str) {
        let mut disk = self.0.lock().unwrap();
        disk.names.remove(name);
        disk.durable_names.remove(name);
    }

    pub fn bytes(&self) -> usize {
        self.0.lock().unwrap().bytes()
    }
}

impl Disk {
    fn alive(&self) -> io::Result<()> {
        if self.is_dead { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn bytes(&self) -> usize {
        self.names.values().map(|node| self.nodes[*node].now.len()).sum()
    }

    fn write(&mut self, node: usize, write: Write) -> io::Result<()> {
        self.alive()?;
        if let Some(left) = &mut self.faults.writes_left {
            if *left == 0 {
                return Err(io::Error::other("the disk is broken"));
            }
            *left -= 1;
        }
        let len = self.nodes[node].now.len();
        let grown = write.end().saturating_sub(len);
        if grown > 0 && self.faults.capacity.is_some_and(|capacity| self.bytes() + grown > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let node = &mut self.nodes[node];
        write.apply(&mut node.now);
        node.unsynced.push(write);
        Ok(())
    }

    /// Counts a sync; whether the power goes, or the sync fails.
    fn sync(&mut self) -> io::Result<bool> {
        self.alive()?;
        self.syncs += 1;
        if self.faults.cut_at_sync == Some(self.syncs) {
            self.is_dead = true;
            self.alive()?;
        }
        Ok(self.faults.bad_syncs.contains(&self.syncs))
    }
}

impl Write {
    fn end(&self) -> usize {
        match self {
            Self::Data { at, data } => at + data.len(),
            Self::Len(len) => *len,
        }
    }

    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Data { at, data } => {
                if content.len() < at + data.len() {
                    content.resize(at + data.len(), 0);
                }
                content[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Len(len) => content.resize(*len, 0),
        }
    }

    /// Each sector survives or not.
    fn apply_some(&self, content: &mut Vec<u8>, rng: &mut Rng) {
        match self {
            Self::Data { at, data } => {
                // Often the whole of it, for then what is missing is more telling.
                let whole = rng.below(2) == 0;
                let survives = rng.below(2) == 0;
                let mut from = 0;
                while from < data.len() {
                    let to = data.len().min((at + from) / SECTOR * SECTOR + SECTOR - at);
                    if if whole { survives } else { rng.below(2) == 0 } {
                        Self::Data { at: at + from, data: data[from..to].to_vec() }.apply(content);
                    }
                    from = to;
                }
            }
            Self::Len(_) => {
                if rng.below(2) == 0 {
                    self.apply(content);
                }
            }
        }
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, node) => {
                names.insert(name, node);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(&from) {
                    names.insert(to, node);
                }
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl Storage for SimDisk {
    fn claim(&self) -> Result<(), SpoolError> {
        Ok(())
    }

    fn release(&self) {}

    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.0.lock().unwrap();
        disk.alive()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StorageFile>> {
        let mut disk = self.0.lock().unwrap();
        disk.alive()?;
        let node = match disk.names.get(name) {
            Some(node) => *node,
            None if create => {
                let node = disk.nodes.len();
                disk.nodes.push(Node::default());
                disk.names.insert(name.to_owned(), node);
                disk.unsynced_names.push(Naming::Create(name.to_owned(), node));
                node
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile { disk: self.clone(), node }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.name(Naming::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.name(Naming::Remove(name.to_owned()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.sync()? {
            return Err(io::Error::other("the directory cannot be synced"));
        }
        disk.durable_names = disk.names.clone();
        disk.unsynced_names.clear();
        Ok(())
    }
}

impl SimDisk {
    fn name(&self, naming: Naming) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.alive()?;
        naming.clone().apply(&mut disk.names);
        disk.unsynced_names.push(naming);
        Ok(())
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("node", &self.node).finish_non_exhaustive()
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let disk = self.disk.0.lock().unwrap();
        disk.alive()?;
        Ok(disk.nodes[self.node].now.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.0.lock().unwrap();
        disk.alive()?;
        if disk.faults.bad_reads {
            return Err(io::Error::other("the disk cannot be read"));
        }
        let start = usize::try_from(offset).unwrap();
        let from = disk.nodes[self.node].now.get(start..start.saturating_add(out.len()));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let write = Write::Data { at: usize::try_from(offset).unwrap(), data: data.to_vec() };
        self.disk.0.lock().unwrap().write(self.node, write)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.0.lock().unwrap().write(self.node, Write::Len(usize::try_from(len).unwrap()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.0.lock().unwrap();
        let is_bad = disk.sync()?;
        let node = &mut disk.nodes[self.node];
        if is_bad {
            // The kernel marks the pages clean all the same: a later sync does not write them.
            node.unsynced.clear();
            return Err(io::Error::other("the file cannot be synced"));
        }
        for write in std::mem::take(&mut node.unsynced) {
            write.apply(&mut node.durable);
        }
        Ok(())
    }
}
