//! What the tests of a spool share: a disk that fails, a random number, a directory of its own.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod dir;
pub mod rng;
pub mod sim;

use forebay_spool::{Disposition, Durability, Engine, Group, NewRecord, Order, Record, SpoolBuilder, Want};
use std::{sync::Arc, time::SystemTime};

#[allow(unused_imports, reason = "each test uses a part of it")]
pub use self::{dir::TempDir, rng::Rng, sim::SimDisk};

/// Some time in 2023, in milliseconds.
pub const NOW: u64 = 1_700_000_000_000;

pub fn at(now: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(now)
}

/// A small spool on a simulated disk, with one destination.
pub fn builder(disk: &SimDisk) -> SpoolBuilder {
    unnamed(disk).destination("main", "https://a.example/v1/logs")
}

/// The same, without a destination.
pub fn unnamed(disk: &SimDisk) -> SpoolBuilder {
    let durability = Durability::Disk { every: std::time::Duration::ZERO, bytes: 0 };
    SpoolBuilder::on(Arc::new(disk.clone()))
        .max_bytes(4 << 20)
        .segment_bytes(64 << 10)
        .max_record_bytes(64 << 10)
        .durability(durability)
}

pub fn open(disk: &SimDisk) -> Engine {
    builder(disk).open_engine(at(NOW)).unwrap()
}

pub fn group<const N: usize>(payloads: [&str; N]) -> Group {
    Group::new(payloads.map(|payload| NewRecord::new(payload.to_owned())))
}

pub fn append(engine: &mut Engine, group: Group) -> u64 {
    engine.append(vec![group], NOW).remove(0).unwrap().first_id
}

pub fn want(order: Order, records: usize) -> Want {
    Want { order, records, ..Want::default() }
}

pub fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

/// Leases all that there is for `destination`, and acknowledges it.
pub fn drain_for(engine: &mut Engine, destination: &str) -> Vec<Record> {
    let mut all = Vec::new();
    while let Some((lease, records)) = engine.lease(destination, Want::default(), NOW).unwrap() {
        engine.settle(lease, &vec![Disposition::Delivered; records.len()]);
        engine.flush().unwrap();
        all.extend(records);
    }
    all
}

pub fn drain(engine: &mut Engine) -> Vec<Record> {
    drain_for(engine, "main")
}
