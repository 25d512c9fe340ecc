#![doc = include_str!("../README.md")]

mod count;
mod cpu;
mod event;
mod kafka;
mod overflow;
mod pipeline;
mod replay;
mod verdict;

pub use self::{
    count::{Counted, count},
    cpu::cpu_seconds,
    event::Event,
    kafka::{Attempts, Kafka},
    pipeline::{Config, Pipeline, Rest},
    verdict::verdict,
};
