//! What a registry promises, one promise a test.

#![cfg(not(any(loom, shuttle)))]
#![expect(clippy::unwrap_used, reason = "test code")]

mod acquire;
mod cancel;
mod circle;
mod close;
mod limits;
mod locks;
mod replace;
mod support;
