//! The locks and atomics of the standard library, or those of the model checker that the tests are built with, so that no logic is
//! written twice.

#[cfg(loom)]
pub use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(shuttle)]
pub use shuttle::sync::{Mutex, MutexGuard, atomic};
pub use std::sync::PoisonError;
#[cfg(not(any(loom, shuttle)))]
pub use std::sync::{Mutex, MutexGuard, atomic};
