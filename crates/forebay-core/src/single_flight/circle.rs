//! Circles: work that waits for itself, within one poll of one thread.
//!
//! Waiters poll the work they wait for, so work that waits for other work polls it in its own poll. A thread that reaches work
//! which it already polls has found a circle. Work that waits for itself by way of a spawned task is not found like this: it is
//! an ordinary wait, which a timeout ends.

use crate::panic;
use std::{cell::RefCell, fmt::Debug, sync::Arc};

/// What is polled, as an error names it.
pub type Name = Arc<dyn Debug + Send + Sync>;

thread_local! {
    /// The work that this thread polls now, the outermost first: its address, and its name.
    static POLLED: RefCell<Vec<(usize, Name)>> = const { RefCell::new(Vec::new()) };
}

/// Ends the entry in the list of what this thread polls, also on a panic.
#[derive(Debug)]
pub(super) struct Entered {
    /// Whether there is an entry.
    listed: bool,
}

/// Notes that this thread polls the work at `address` from now on.
///
/// `Err` names the circle, if the thread polls that work already.
pub(super) fn enter(address: usize, name: &Name) -> Result<Entered, Arc<str>> {
    if cfg!(any(loom, shuttle)) {
        // The threads of a model share one real thread, which would see circles where there are none.
        return Ok(Entered { listed: false });
    }
    // A thread that ends has no list any more, and finds no circles.
    let found = POLLED.try_with(|polled| {
        let mut polled = polled.borrow_mut();
        match polled.iter().position(|(known, _)| *known == address) {
            Some(first) => Some(polled[first..].iter().map(|(_, name)| Arc::clone(name)).collect::<Vec<_>>()),
            None => {
                polled.push((address, Arc::clone(name)));
                None
            }
        }
    });
    match found {
        Ok(None) => Ok(Entered { listed: true }),
        Ok(Some(circle)) => Err(path(&circle, name)),
        Err(_) => Ok(Entered { listed: false }),
    }
}

/// The names are those of users: their `Debug` runs while the list is not borrowed.
fn path(circle: &[Name], again: &Name) -> Arc<str> {
    let named = |name: &Name| panic::catch(|| format!("{name:?}")).unwrap_or_else(|panic| panic.to_string());
    circle.iter().chain([again]).map(named).collect::<Vec<_>>().join(" -> ").into()
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.listed {
            // The entry leaves the closure, so that its name is dropped while the list is not borrowed.
            let _left = POLLED.try_with(|polled| polled.borrow_mut().pop());
        }
    }
}
