//! S03: every byte of a small spool is flipped, and every file is cut at every length. No panic, no wrong payload, and the losses
//! are the records touched.
//!
//! `SPOOL_FLIPS=13` goes through every 13th place, and `SPOOL_FLIPS=all` through all of them; by default every 197th.

#![expect(clippy::unwrap_used, reason = "test code")]

#[expect(clippy::allow_attributes, reason = "what one test leaves unused another uses")]
mod support;

use forebay_spool::{Group, NewRecord};
use memchr::memmem;
use std::collections::BTreeMap;
use support::{NOW, SimDisk, drain, open};

const RECORDS: u64 = 12;

fn small() -> (SimDisk, BTreeMap<u64, Vec<u8>>) {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    let mut all = BTreeMap::new();
    for round in 0..4_u8 {
        let payloads: Vec<_> = (0..3).map(|n| vec![b'a' + round; 10 + 400 * n]).collect();
        let group = Group::new(payloads.iter().cloned().map(NewRecord::new));
        let first = engine.append(vec![group], NOW).remove(0).unwrap().first_id;
        all.extend((first..).zip(payloads));
    }
    engine.close().unwrap();
    (disk, all)
}

/// The records that overlap the byte at `at` of `content`; 0 for the space between them.
fn touched(content: &[u8], all: &BTreeMap<u64, Vec<u8>>, range: std::ops::Range<usize>) -> u64 {
    let mut count = 0;
    for (id, payload) in all {
        // An envelope: 56 bytes, with the id at 24, and the payload behind.
        let mut from = 0;
        let mut places = 0;
        let mut hit = 0;
        while let Some(at) = memmem::find(&content[from..], b"FBSP").map(|at| at + from) {
            let end = at + 56 + payload.len();
            if content.get(at + 24..at + 32) == Some(&id.to_le_bytes()) && content.get(at + 56..end) == Some(payload) {
                places += 1;
                hit += u64::from(range.start < end && range.end > at);
            }
            from = at + 4;
        }
        count += u64::from(places > 0 && hit == places);
    }
    count
}

fn check(disk: &SimDisk, all: &BTreeMap<u64, Vec<u8>>, may_lose: u64, what: &str) {
    let mut engine = open(disk);
    let records = drain(&mut engine);
    let mut found = BTreeMap::new();
    for record in records {
        assert_eq!(all.get(&record.id).map(Vec::as_slice), Some(&record.payload[..]), "{what}: a wrong payload");
        found.insert(record.id, ());
    }
    let lost = RECORDS - found.len() as u64;
    let stats = engine.stats();
    assert!(lost <= may_lose, "{what}: {lost} lost, {may_lose} touched");
    assert_eq!(stats.recovered.lost + stats.quarantined, lost, "{what}: {stats:?}");
    // It goes on.
    let first = engine.append(vec![Group::new([NewRecord::new("next")])], NOW).remove(0).unwrap().first_id;
    assert!(!all.contains_key(&first), "{what}: an id is used once");
    assert_eq!(drain(&mut engine)[0].payload, "next", "{what}");
}

fn step() -> usize {
    match std::env::var("SPOOL_FLIPS").as_deref() {
        Ok("all") => 1,
        Ok(step) => step.parse().unwrap(),
        Err(_) => 397,
    }
}

#[test]
fn s03_any_byte_flipped() {
    let (disk, all) = small();
    let mut flips = 0;
    for name in disk.names() {
        let content = disk.content(&name);
        // Small files as a whole in any case.
        let step = if content.len() < 4096 { 1 } else { step() };
        for at in (0..content.len()).step_by(step) {
            let mut flipped = content.clone();
            flipped[at] ^= 1 << (at % 8);
            let other = disk.fork();
            other.set_content(&name, &flipped);
            let may_lose = touched(&content, &all, at..at + 1);
            check(&other, &all, may_lose, &format!("{name}, byte {at}"));
            flips += 1;
        }
    }
    println!("{flips} flips");
}

#[test]
fn s03_any_length_cut() {
    let (disk, all) = small();
    let mut cuts = 0;
    for name in disk.names() {
        let content = disk.content(&name);
        let step = if content.len() < 4096 { 1 } else { step() };
        for len in (0..content.len()).step_by(step) {
            let other = disk.fork();
            other.set_content(&name, &content[..len]);
            let may_lose = touched(&content, &all, len..content.len());
            check(&other, &all, may_lose, &format!("{name}, {len} bytes"));
            cuts += 1;
        }
    }
    println!("{cuts} cuts");
}
