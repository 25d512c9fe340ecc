use super::{Lines, input::Source};
use forebay::otlp::{Protocol, Signal};
use forebay_testkit::receiver::{Audit, Faults, Keep, Receiver};
use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Seek},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// The receiver that is started where no endpoint is given.
#[derive(Debug)]
pub(super) struct LocalReceiver {
    receiver: Receiver,
}

// === impl LocalReceiver ===

impl LocalReceiver {
    /// Starts it on a free port of this machine.
    pub(super) async fn start(faults: Faults, seed: u64) -> io::Result<Self> {
        // Of each line only a hash and two counts are kept, so that its books stay small.
        let receiver = Receiver::builder().faults(faults).seed(seed).keep(Keep::Counts).start().await?;
        Ok(Self { receiver })
    }

    pub(super) fn endpoint(&self, protocol: Protocol) -> String {
        match protocol {
            Protocol::Grpc => self.receiver.endpoint(),
            _ => self.receiver.endpoint() + Signal::Logs.path(),
        }
    }

    /// Ends it, and holds its books against what was read; `None` where an input cannot be read again.
    pub(super) async fn audit(self, inputs: &[Source], read: &[AtomicU64]) -> Option<Audit> {
        self.receiver.shutdown().await;
        let files = inputs.iter().map(|input| match input {
            Source::File { file, .. } => Some(file),
            Source::Stream { .. } => None,
        });
        let files: Vec<&File> = files.collect::<Option<_>>()?;
        let failed = Cell::new(false);
        let bodies = files.into_iter().zip(read).flat_map(|(file, read)| again(file, read.load(Relaxed), &failed));
        let audit = self.receiver.audit(bodies);
        (!failed.get()).then_some(audit)
    }
}

/// The lines of the first `read` bytes of `file`, once more.
///
/// No byte after them: the file may have grown since, and reading may have ended early.
fn again<'a>(mut file: &'a File, read: u64, failed: &'a Cell<bool>) -> impl Iterator<Item = Vec<u8>> + 'a {
    failed.set(failed.get() || file.rewind().is_err());
    let mut lines = Lines::new(io::BufReader::new(file.take(read)));
    std::iter::from_fn(move || match lines.next_line() {
        Ok(line) => line.map(|line| line.body),
        Err(_unreadable) => {
            failed.set(true);
            None
        }
    })
}
