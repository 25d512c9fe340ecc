//! Runnable stories of forebay; what several of them share, and what is worth a test, stands here.

pub mod client;
pub mod gateway;
pub mod ship;
pub mod usage;
