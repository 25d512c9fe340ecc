use super::{Lines, options::Input};
use forebay::otlp::{Protocol, Signal};
use forebay_testkit::receiver::{Audit, Faults, Keep, Receiver};
use std::{fs::File, io, path::PathBuf};

/// The receiver that is started where no endpoint is given.
#[derive(Debug)]
pub(super) struct FarSide {
    receiver: Receiver,
}

// === impl FarSide ===

impl FarSide {
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

    /// Ends it, and holds its books against `inputs`; `None` where these cannot be read again.
    pub(super) async fn audit(self, inputs: &[Input]) -> Option<Audit> {
        self.receiver.shutdown().await;
        let files = inputs.iter().map(|input| match input {
            Input::Standard => None,
            Input::File(path) => Some(path.clone()),
        });
        let files: Vec<PathBuf> = files.collect::<Option<_>>()?;
        // A file that has gone since is as good as one that cannot be read again.
        let readers: Vec<_> = files.into_iter().map(File::open).collect::<io::Result<_>>().ok()?;
        let bodies = readers.into_iter().flat_map(|file| {
            let mut lines = Lines::new(io::BufReader::new(file));
            std::iter::from_fn(move || lines.next_line().ok().flatten()).map(|line| line.body)
        });
        Some(self.receiver.audit(bodies))
    }
}
