//! S02: the power is cut at every sync, and of what was not synced any part survives. Nothing acknowledged at `Disk` is missing.
//!
//! `SPOOL_CUTS` says how many cuts are simulated.

#![expect(clippy::unwrap_used, reason = "test code")]

#[expect(clippy::allow_attributes, reason = "what one test leaves unused another uses")]
mod support;

use forebay_core::Priority;
use forebay_spool::{Disposition, Engine, Group, NewRecord, Order};
use std::collections::BTreeMap;
use support::{
    NOW, Rng, SimDisk, drain, open,
    sim::{Faults, Survives},
    want,
};

/// What the caller knows: payloads by their number, and whether each was acknowledged to the caller, or by it.
#[derive(Clone, Default)]
struct Known {
    next: u64,
    /// Appends that were acknowledged, or may have been made.
    safe: BTreeMap<u64, Vec<u8>>,
    unknown: BTreeMap<u64, Vec<u8>>,
    /// Acknowledged by the caller, and that was acknowledged in turn.
    gone: Vec<u64>,
}

fn payload(number: u64, rng: &mut Rng) -> Vec<u8> {
    let len = [0, 10, 300, 5000, 20_000][rng.below(5)];
    [&number.to_le_bytes()[..], &vec![u8::try_from(number % 251).unwrap(); len]].concat()
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(*payload.first_chunk().unwrap())
}

fn work(engine: &mut Engine, disk: &SimDisk, known: &mut Known, rng: &mut Rng) {
    for _ in 0..12 {
        if disk.is_dead() {
            return;
        }
        if rng.below(3) < 2 {
            let records: Vec<_> = (0..1 + rng.below(3))
                .map(|_| {
                    known.next += 1;
                    payload(known.next, rng)
                })
                .collect();
            let priority = if rng.below(4) == 0 { Priority::High } else { Priority::Normal };
            let group = Group::new(records.iter().cloned().map(NewRecord::new)).priority(priority);
            let is_safe = engine.append(vec![group], NOW).remove(0).is_ok();
            let into = if is_safe { &mut known.safe } else { &mut known.unknown };
            into.extend(records.into_iter().map(|payload| (number(&payload), payload)));
        } else if let Ok(Some((lease, records))) = engine.lease("main", want(Order::Oldest, 1 + rng.below(4)), NOW) {
            engine.settle(lease, &vec![Disposition::Delivered; records.len()]);
            let is_safe = engine.flush().is_ok();
            for record in records {
                let number = number(&record.payload);
                let payload = known.safe.remove(&number).or_else(|| known.unknown.remove(&number)).unwrap();
                if is_safe {
                    known.gone.push(number);
                } else {
                    known.unknown.insert(number, payload);
                }
            }
        }
    }
}

fn check(disk: &SimDisk, known: &Known, what: &str) {
    let mut engine = open(disk);
    let recovered = engine.stats().recovered;
    assert_eq!((recovered.lost, recovered.damaged_files), (0, 0), "{what}: {recovered:?}");
    let mut found = BTreeMap::new();
    for record in drain(&mut engine) {
        let payload = record.payload.to_vec();
        assert!(found.insert(number(&payload), payload).is_none(), "{what}: a record came twice");
    }
    for (number, payload) in &known.safe {
        assert_eq!(found.get(number), Some(payload), "{what}: record {number} was acknowledged");
    }
    for (number, payload) in &found {
        assert!(!known.gone.contains(number), "{what}: record {number} was delivered");
        assert_eq!(
            known.safe.get(number).or_else(|| known.unknown.get(number)),
            Some(payload),
            "{what}: record {number}"
        );
    }
}

#[test]
fn s02_nothing_acknowledged_at_disk_is_missing_after_a_power_cut_at_any_sync() {
    let cuts: u64 = std::env::var("SPOOL_CUTS").map_or(400, |cuts| cuts.parse().unwrap());
    let mut done = 0;
    let mut seed = 0;
    while done < cuts {
        seed += 1;
        let mut rng = Rng::new(seed);
        // One spool lives through several cuts.
        let disk = SimDisk::new();
        let mut known = Known::default();
        for life in 0..4 {
            let until = disk.syncs() + 1 + rng.below(40) as u64;
            disk.set_faults(Faults { cut_at_sync: Some(until), ..Faults::default() });
            if let Ok(mut engine) = support::builder(&disk).open_engine(support::at(NOW)) {
                work(&mut engine, &disk, &mut known, &mut rng);
                if !disk.is_dead() && rng.below(3) == 0 {
                    let _cut_in_the_middle = engine.close();
                }
            }
            let mut all = vec![Survives::Nothing, Survives::All];
            all.extend((0..3).map(|n| Survives::Some(seed * 1000 + life * 10 + n)));
            for survives in all {
                let other = disk.fork();
                other.reboot(survives);
                check(&other, &known, &format!("seed {seed}, life {life}, {survives:?}"));
                done += 1;
            }
            disk.reboot(Survives::Some(seed ^ life));
            // What is there now is there for good, and what is not will not come.
            let survived: Vec<_> =
                drain(&mut open(&disk.fork())).into_iter().map(|record| number(&record.payload)).collect();
            let unknown = std::mem::take(&mut known.unknown);
            known.safe.extend(unknown.into_iter().filter(|(number, _)| survived.contains(number)));
        }
    }
    println!("{done} power cuts, {seed} spools");
}
