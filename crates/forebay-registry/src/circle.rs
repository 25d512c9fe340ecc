//! Circles: work that waits for itself, within one poll of one thread.
//!
//! Work is polled by those that wait for it, so work that waits for other work polls it in its own poll. A thread that comes
//! to work which it is polling already has found a circle. Work that waits for itself by way of a spawned task is not found
//! so: it is an ordinary wait, which a timeout around it ends.

use std::{fmt::Debug, rc::Rc};

/// What is polled, as an error names it.
pub(crate) type Name = Rc<dyn Debug>;

#[cfg(any(loom, shuttle))]
pub(crate) use self::model::enter;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use self::real::enter;

#[cfg(not(any(loom, shuttle)))]
mod real {
    use super::Name;
    use forebay_core::panic::catch;
    use std::{cell::RefCell, rc::Rc, sync::Arc};

    thread_local! {
        /// The work that this thread polls now, the outermost first: its address, and its name.
        static POLLED: RefCell<Vec<(usize, Name)>> = const { RefCell::new(Vec::new()) };
    }

    /// Takes the work off the list of what is polled, also on a panic.
    #[derive(Debug)]
    pub(crate) struct Entered(bool);

    /// Notes that the work at `address` is polled from now on.
    ///
    /// `Err` names the circle, if this thread polls that work already.
    pub(crate) fn enter(address: usize, name: &Name) -> Result<Entered, Arc<str>> {
        // A thread that ends has no list any more, and finds no circles.
        let found = POLLED.try_with(|polled| {
            let mut polled = polled.borrow_mut();
            let first = polled.iter().position(|(known, _)| *known == address);
            match first {
                Some(first) => Err(polled[first..].iter().map(|(_, name)| Rc::clone(name)).collect::<Vec<_>>()),
                None => {
                    polled.push((address, Rc::clone(name)));
                    Ok(())
                }
            }
        });
        match found {
            Ok(Ok(())) => Ok(Entered(true)),
            Ok(Err(circle)) => Err(path(&circle, name)),
            Err(_) => Ok(Entered(false)),
        }
    }

    /// The names are those of users: their `Debug` runs when the list is not borrowed.
    fn path(circle: &[Name], again: &Name) -> Arc<str> {
        let named = |name: &Name| catch(|| format!("{name:?}")).unwrap_or_else(|panic| panic.to_string());
        circle.iter().chain([again]).map(named).collect::<Vec<_>>().join(" -> ").into()
    }

    impl Drop for Entered {
        fn drop(&mut self) {
            if self.0 {
                // Bound to a name: a key that is dropped may run the code of users, which may come back here.
                let _left = POLLED.try_with(|polled| polled.borrow_mut().pop());
            }
        }
    }
}

#[cfg(any(loom, shuttle))]
mod model {
    use super::Name;
    use std::sync::Arc;

    /// The threads of a model share one real thread, so that nothing is noted here.
    pub(crate) fn enter(_: usize, _: &Name) -> Result<(), Arc<str>> {
        Ok(())
    }
}
