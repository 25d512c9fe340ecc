//! The spool on a real NATS server, which is stopped, killed and started again: `.ci/spool-nats` builds it, and says where it is.

#![expect(clippy::unwrap_used, clippy::mem_forget, reason = "test code")]

mod kill;
mod nats;
mod spool;
