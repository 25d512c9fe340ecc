//! How a person or a supervisor stops one of these programs, and how the program speaks to them.

use std::io::{self, Write};
use tokio::sync::watch;

/// Counts Ctrl-C and SIGTERM: the first means "finish what you have", the second "stop at once".
#[derive(Clone, Debug)]
pub struct Interrupts(watch::Receiver<u32>);

struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

// === impl Interrupts ===

impl Interrupts {
    /// Listens from now on, on the runtime that it is called in.
    ///
    /// # Errors
    ///
    /// What the system says where signals cannot be had.
    pub fn listen() -> io::Result<Self> {
        let mut signals = Signals::take_over()?;
        let (count, interrupts) = Self::by_hand();
        tokio::spawn(async move {
            while signals.next().await {
                count.send_modify(|count| *count += 1);
            }
        });
        Ok(interrupts)
    }

    /// Counts what the sender is set to, instead of signals.
    #[must_use]
    pub fn by_hand() -> (watch::Sender<u32>, Self) {
        let (count, interrupts) = watch::channel(0);
        (count, Self(interrupts))
    }

    /// Ends with the `count`th interrupt, at once if there were as many.
    pub async fn reached(&self, count: u32) {
        if self.0.clone().wait_for(|so_far| *so_far >= count).await.is_err() {
            // There is nothing left that could interrupt.
            std::future::pending::<()>().await;
        }
    }
}

// === impl Signals ===

#[cfg(unix)]
impl Signals {
    /// The signals are taken over here, not at the first poll: one that comes at once ends nothing unseen.
    fn take_over() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one; `false` if there cannot be any more.
    async fn next(&mut self) -> bool {
        tokio::select! {
            signal = self.interrupt.recv() => signal.is_some(),
            signal = self.terminate.recv() => signal.is_some(),
        }
    }
}

#[cfg(windows)]
impl Signals {
    fn take_over() -> io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    async fn next(&mut self) -> bool {
        self.interrupt.recv().await.is_some()
    }
}

/// Writes `text` to standard output, to the end.
///
/// # Errors
///
/// What the system says: a full disk, a closed pipe.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to standard error, with the name of the program before it.
pub fn complain(program: &str, text: &str) {
    // Where standard error is gone there is no other place to say it; the exit status still says it.
    drop(writeln!(io::stderr(), "{program}: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn two_at_once_are_two() {
        let (count, interrupts) = Interrupts::by_hand();
        assert!(interrupts.reached(1).now_or_never().is_none());
        count.send_modify(|count| *count += 2);
        assert!(interrupts.reached(1).now_or_never().is_some());
        assert!(interrupts.reached(2).now_or_never().is_some());
        assert!(interrupts.reached(3).now_or_never().is_none());
    }
}
