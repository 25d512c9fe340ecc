//! What the concurrent core is built on. The model checkers compile the core with their own version of this module.

pub(crate) use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
