//! What a spool promises, one behaviour at a time, on a simulated disk.

#![expect(clippy::unwrap_used, reason = "test code")]

#[expect(clippy::allow_attributes, reason = "what one test leaves unused another uses")]
mod support;

use bytes::Bytes;
use forebay_core::{DropReason, Priority, Seen};
use forebay_spool::{
    Disposition::{Delivered, Failed, GiveBack, Quarantine},
    Engine, Group, Limit, NewRecord, Order, Overflow, SpoolErrorKind, Want,
};
use std::time::Duration;
use support::{NOW, SimDisk, append, at, builder, drain, drain_for, group, open, payloads, sim::Faults, unnamed, want};

fn lease(engine: &mut Engine, order: Order, records: usize) -> (u64, Vec<String>) {
    let (lease, records) = engine.lease("main", want(order, records), NOW).unwrap().unwrap();
    (lease, payloads(&records))
}

#[test]
fn what_is_appended_is_leased_in_order_and_leaves_when_it_is_acknowledged() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    let first = append(&mut engine, group(["a", "b"]));
    append(&mut engine, group(["c"]));
    let (one, records) = engine.lease("main", want(Order::Oldest, 2), NOW).unwrap().unwrap();
    assert_eq!(records.iter().map(|record| record.id).collect::<Vec<_>>(), [first, first + 1]);
    assert_eq!(payloads(&records), ["a", "b"]);
    let (two, rest) = lease(&mut engine, Order::Oldest, 9);
    assert_eq!(rest, ["c"], "no record is in two leases");
    assert!(engine.lease("main", Want::default(), NOW).unwrap().is_none());
    assert_eq!(engine.settle(one, &[Delivered, GiveBack]).delivered, 1);
    assert_eq!(engine.settle(two, &[Delivered]).delivered, 1);
    assert_eq!(engine.settle(two, &[Delivered]).delivered, 0, "a lease is settled once");
    engine.flush().unwrap();
    engine.close().unwrap();
    let mut engine = open(&disk);
    assert!(engine.stats().recovered.clean);
    assert_eq!(engine.stats().recovered.records, 1, "what a restart finds counts as recovered");
    assert_eq!(payloads(&drain(&mut engine)), ["b"]);
    assert_eq!(engine.stats().records, 0);
}

#[test]
fn s01_a_process_that_dies_loses_nothing_and_what_was_leased_comes_again() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    append(&mut engine, group(["a", "b", "c"]));
    lease(&mut engine, Order::Oldest, 2);
    drop(engine);
    let mut engine = open(&disk);
    assert!(!engine.stats().recovered.clean);
    assert_eq!((engine.stats().recovered.records, engine.stats().recovered.lost), (3, 0));
    assert_eq!(payloads(&drain(&mut engine)), ["a", "b", "c"]);
}

#[test]
fn the_high_lane_leaves_first_and_in_its_own_order() {
    let mut engine = open(&SimDisk::new());
    append(&mut engine, group(["n1", "n2"]));
    append(&mut engine, group(["h1"]).priority(Priority::High));
    append(&mut engine, group(["h2"]).priority(Priority::High));
    assert_eq!(payloads(&drain(&mut engine)), ["h1", "h2", "n1", "n2"]);
}

#[test]
fn s06_the_newest_first() {
    let mut engine = open(&SimDisk::new());
    for payload in ["a", "b", "c", "d"] {
        append(&mut engine, group([payload]));
    }
    let (_, newest) = lease(&mut engine, Order::NewestFirst, 2);
    assert_eq!(newest, ["d", "c"]);
    let (_, oldest) = lease(&mut engine, Order::Oldest, 1);
    assert_eq!(oldest, ["a"]);
}

#[test]
fn s07_poison_ends_in_dead_letters_and_comes_back_by_requeue() {
    let disk = SimDisk::new();
    let mut engine = builder(&disk).max_attempts(3).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["good", "poison"]));
    for attempt in 0..3 {
        let (lease, records) = engine.lease("main", Want::default(), NOW).unwrap().unwrap();
        assert_eq!(records.last().unwrap().attempts, attempt);
        let outcome = if records.len() == 2 { vec![GiveBack, Failed] } else { vec![Failed] };
        let settled = engine.settle(lease, &outcome);
        assert_eq!(settled.dead, u64::from(attempt == 2));
        engine.flush().unwrap();
    }
    assert_eq!(payloads(&drain(&mut engine)), ["good"], "an outage counts against no record");
    drop(engine);
    let mut engine = open(&disk);
    let dead = engine.dead_letters(None, 10).unwrap();
    assert_eq!(
        (dead.len(), &*dead[0].destination, &*dead[0].reason, dead[0].record.attempts),
        (1, "main", "attempts", 3)
    );
    assert_eq!(engine.stats().destinations[0].dead, 1);
    assert!(engine.lease("main", Want::default(), NOW).unwrap().is_none(), "dead letters are not leased");
    assert_eq!(engine.requeue(Some("main"), None, |_| ()).unwrap(), 1);
    let records = drain(&mut engine);
    assert_eq!(
        (payloads(&records), records[0].attempts, records[0].id),
        (vec!["poison".to_owned()], 0, dead[0].record.id)
    );
    assert_eq!(engine.stats().records, 0);
}

#[test]
fn s07_what_is_quarantined_keeps_its_reason_and_some_are_requeued_by_id() {
    let mut engine = open(&SimDisk::new());
    let first = append(&mut engine, group(["a", "b", "c"]));
    let (lease, _) = lease(&mut engine, Order::Oldest, 9);
    let no = |reason: &str| Quarantine(reason.to_owned());
    assert_eq!(engine.settle(lease, &[no("not JSON"), Delivered, no(&"ü".repeat(2000))]).dead, 2);
    let reasons: Vec<_> = engine.dead_letters(None, 10).unwrap().into_iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, ["not JSON".to_owned(), "ü".repeat(256)]);
    assert_eq!(engine.requeue(None, Some(&[first + 2, 999]), |_| ()).unwrap(), 1);
    assert_eq!(payloads(&drain(&mut engine)), ["c"]);
    assert_eq!(engine.dead_letters(None, 10).unwrap().len(), 1);
}

#[test]
fn s08_a_record_is_counted_once_whatever_destinations_wait_for_it() {
    let disk = SimDisk::new();
    let two = || unnamed(&disk).destination("one", "https://1.example").destination("two", "https://2.example");
    let mut engine = two().open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a", "b"]).destination("one"));
    append(&mut engine, group(["c"]).destination("two"));
    append(&mut engine, group(["d", "e"]));
    let counts = |engine: &Engine| {
        let stats = engine.stats();
        (stats.records, stats.destinations.iter().map(|destination| destination.pending).collect::<Vec<_>>())
    };
    assert_eq!(counts(&engine), (5, vec![4, 3]));
    // One has "d", two has "e": both records wait for the other destination still.
    let (lease, _) = engine.lease("one", want(Order::Oldest, 9), NOW).unwrap().unwrap();
    engine.settle(lease, &[GiveBack, GiveBack, Delivered, GiveBack]);
    let (lease, _) = engine.lease("two", want(Order::Oldest, 9), NOW).unwrap().unwrap();
    engine.settle(lease, &[GiveBack, GiveBack, Delivered]);
    assert_eq!(counts(&engine), (5, vec![3, 2]));
    engine.close().unwrap();
    let engine = two().open_engine(at(NOW)).unwrap();
    assert_eq!((counts(&engine), engine.stats().recovered.records), ((5, vec![3, 2]), 5));
}

#[test]
fn s07_a_requeue_tells_its_progress() {
    let mut engine = open(&SimDisk::new());
    append(&mut engine, Group::new((0..1500).map(|_| NewRecord::new("x"))));
    let (lease, records) = lease(&mut engine, Order::Oldest, 1500);
    engine.settle(lease, &vec![Quarantine("no".into()); records.len()]);
    let mut steps = Vec::new();
    assert_eq!(engine.requeue(None, None, |requeued| steps.push(requeued)).unwrap(), 1500);
    assert!(steps.len() > 1 && steps.iter().sum::<u64>() == 1500, "{steps:?}");
}

#[test]
fn a_group_that_can_never_fit_evicts_nothing() {
    let mut engine =
        builder(&SimDisk::new()).max_bytes(1 << 20).max_record_bytes(128 << 10).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a"]));
    let large = Group::new((0..5).map(|_| NewRecord::new(vec![7; 100_000])));
    let error = engine.append(vec![large], NOW).remove(0).unwrap_err();
    assert_eq!(*error.kind(), SpoolErrorKind::Full { limit: Limit::Bytes });
    assert_eq!((payloads(&drain(&mut engine)), engine.stats().evicted.total()), (vec!["a".into()], 0));
}

#[test]
fn what_refuses_every_lane_drops_nothing_that_was_acknowledged() {
    for (overflow, is_taken) in [(Overflow::Refuse, true), (Overflow::RefuseAll, false)] {
        let mut engine = builder(&SimDisk::new()).max_records(2).overflow(overflow).open_engine(at(NOW)).unwrap();
        append(&mut engine, group(["a", "b"]));
        let urgent = engine.append(vec![group(["c"]).priority(Priority::High)], NOW).remove(0);
        let refused = urgent.map_err(|error| error.kind().clone());
        if is_taken {
            assert!(refused.is_ok() && engine.stats().evicted.records > 0);
        } else {
            assert_eq!(refused.unwrap_err(), SpoolErrorKind::Full { limit: Limit::Records });
            assert_eq!(
                (payloads(&drain(&mut engine)), engine.stats().evicted.total()),
                (vec!["a".into(), "b".into()], 0)
            );
        }
    }
}

#[test]
fn s08_two_destinations_each_with_its_own_progress() {
    let disk = SimDisk::new();
    let two = || unnamed(&disk).destination("one", "https://1.example").destination("two", "https://2.example");
    let mut engine = two().open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a", "b"]));
    assert_eq!(payloads(&drain_for(&mut engine, "one")), ["a", "b"]);
    append(&mut engine, group(["c"]));
    assert_eq!(engine.stats().records, 3, "a record is held until the last destination has it");
    engine.close().unwrap();
    let mut engine = two().open_engine(at(NOW)).unwrap();
    assert_eq!(payloads(&drain_for(&mut engine, "one")), ["c"]);
    let (lease, _) = engine.lease("two", want(Order::Oldest, 1), NOW).unwrap().unwrap();
    engine.settle(lease, &[Quarantine("no".into())]);
    assert_eq!(payloads(&drain_for(&mut engine, "two")), ["b", "c"]);
    assert_eq!(engine.requeue(None, None, |_| ()).unwrap(), 1);
    assert!(
        engine.lease("one", Want::default(), NOW).unwrap().is_none(),
        "it is pending again for the one that refused it"
    );
    assert_eq!(payloads(&drain_for(&mut engine, "two")), ["a"]);
    let error = engine.lease("three", Want::default(), NOW).unwrap_err();
    assert!(matches!(error.kind(), SpoolErrorKind::UnknownDestination { .. }), "{error}");
}

#[test]
fn s08_a_group_for_one_destination_waits_for_no_other() {
    let disk = SimDisk::new();
    let two = || unnamed(&disk).destination("one", "https://1.example").destination("two", "https://2.example");
    let mut engine = two().open_engine(at(NOW)).unwrap();
    let groups = vec![group(["a"]).destination("one"), group(["b"]), group(["c", "d"]).destination("two")];
    let results = engine.append(groups, NOW);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let error = engine.append(vec![group(["e"]).destination("three")], NOW).remove(0).unwrap_err();
    assert!(matches!(error.kind(), SpoolErrorKind::UnknownDestination { .. }), "{error}");
    drop(engine);
    let mut engine = two().open_engine(at(NOW)).unwrap();
    let pending: Vec<_> = engine.stats().destinations.iter().map(|d| d.pending).collect();
    assert_eq!(pending, [2, 3]);
    assert_eq!(payloads(&drain_for(&mut engine, "one")), ["a", "b"]);
    assert_eq!(payloads(&drain_for(&mut engine, "two")), ["b", "c", "d"]);
    assert_eq!(engine.stats().records, 0);
}

#[test]
fn s10_another_destinations_items_are_not_sent_to_this_one() {
    let disk = SimDisk::new();
    let with = |identity: &str| unnamed(&disk).destination("main", identity).open_engine(at(NOW)).unwrap();
    let mut engine = with("https://tenant-a.example");
    append(&mut engine, group(["a"]));
    engine.close().unwrap();
    let mut engine = with("https://tenant-b.example");
    assert!(engine.lease("main", Want::default(), NOW).unwrap().is_none());
    append(&mut engine, group(["b"]));
    assert_eq!(payloads(&drain(&mut engine)), ["b"]);
    let stats = engine.stats();
    let pending: Vec<_> = stats.destinations.iter().map(|d| (&*d.identity, d.is_open, d.pending)).collect();
    assert_eq!(pending, [("https://tenant-a.example", false, 1), ("https://tenant-b.example", true, 0)]);
    engine.close().unwrap();
    assert_eq!(payloads(&drain(&mut with("https://tenant-a.example"))), ["a"]);
}

#[test]
fn a_mark_is_committed_with_its_group_and_the_newest_survives() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    append(&mut engine, group(["a"]).mark("file", "10"));
    append(&mut engine, Group::new([]).mark("file", "20"));
    append(&mut engine, group(["h"]).priority(Priority::High).mark("other", "1"));
    drop(engine);
    let mut engine = open(&disk);
    assert_eq!(engine.mark("file"), Some(Bytes::from_static(b"20")));
    assert_eq!(engine.mark("other"), Some(Bytes::from_static(b"1")));
    assert_eq!(engine.mark("none"), None);
    drain(&mut engine);
    engine.close().unwrap();
    let mut engine = open(&disk);
    assert_eq!(engine.mark("file"), Some(Bytes::from_static(b"20")), "the files that held it are removed");
    disk.set_faults(Faults { writes_left: Some(0), ..Faults::default() });
    engine.append(vec![group(["b"]).mark("file", "30")], NOW).remove(0).unwrap_err();
    assert_eq!(engine.mark("file"), Some(Bytes::from_static(b"20")), "its group is not there");
}

#[test]
fn s05_a_full_disk_refuses_by_name_and_resumes() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    let big = || Group::new((0..4).map(|_| NewRecord::new(vec![7; 20_000])));
    append(&mut engine, group(["before"]));
    disk.set_faults(Faults { capacity: Some(disk.bytes() + 50_000), ..Faults::default() });
    let mut taken = 0;
    let error = loop {
        match engine.append(vec![big()], NOW).remove(0) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(*error.kind(), SpoolErrorKind::Full { limit: Limit::Disk });
    assert_eq!((error.verdict().reason(), error.verdict().seen()), (DropReason::Full, Seen::No));
    for _ in 0..20 {
        engine.append(vec![big()], NOW).remove(0).unwrap_err();
    }
    // It can be drained while there is no room, and then it takes more.
    let (lease, records) = engine.lease("main", want(Order::Oldest, 1), NOW).unwrap().unwrap();
    assert_eq!(payloads(&records), ["before"]);
    engine.settle(lease, &[Delivered]);
    disk.set_faults(Faults::default());
    append(&mut engine, group(["after"]));
    engine.flush().unwrap();
    drop(engine);
    let mut engine = open(&disk);
    assert_eq!(engine.stats().recovered.lost, 0);
    let records = drain(&mut engine);
    assert_eq!(records.len(), taken * 4 + 1);
    assert_eq!(records.last().unwrap().payload, "after");
}

#[test]
fn s05_a_start_on_a_full_disk_is_not_refused() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    append(&mut engine, group(["a", "b"]));
    drop(engine);
    disk.set_faults(Faults { capacity: Some(disk.bytes()), ..Faults::default() });
    let mut engine = open(&disk);
    let (lease, records) = engine.lease("main", Want::default(), NOW).unwrap().unwrap();
    assert_eq!(payloads(&records), ["a", "b"]);
    assert_eq!(engine.settle(lease, &[Delivered, Delivered]).delivered, 2);
    assert!(engine.lease("main", Want::default(), NOW).unwrap().is_none());
}

#[test]
fn s05_a_write_that_fails_refuses_one_group_and_the_next_is_taken() {
    for writes in 0..40 {
        let disk = SimDisk::new();
        let mut engine = open(&disk);
        append(&mut engine, group(["a"]));
        disk.set_faults(Faults { writes_left: Some(writes), ..Faults::default() });
        let mut safe = vec!["a"];
        if engine.append(vec![group(["b"])], NOW).remove(0).is_ok() {
            safe.push("b");
        }
        disk.set_faults(Faults::default());
        // A file that failed is tried again within a second.
        engine.tick(NOW + 2000);
        assert!(engine.append(vec![group(["c"])], NOW).remove(0).is_ok(), "{writes}");
        safe.push("c");
        assert_eq!(payloads(&drain(&mut engine)), safe, "{writes}");
    }
}

#[test]
fn s02_a_sync_that_fails_poisons_its_file_and_nothing_acknowledged_is_lost() {
    for bad in 1..40 {
        let disk = SimDisk::new();
        let mut engine = open(&disk);
        let mut safe = Vec::new();
        let bad_syncs = vec![disk.syncs() + bad, disk.syncs() + bad + 7];
        disk.set_faults(Faults { bad_syncs, ..Faults::default() });
        for number in 0..8 {
            let payload = format!("{number}");
            if engine.append(vec![group([&payload])], NOW).remove(0).is_ok() {
                safe.push(payload);
            }
        }
        let mut salvaged = engine.stats().recovered.salvaged;
        drop(engine);
        disk.reboot(support::sim::Survives::Nothing);
        let mut engine = open(&disk);
        salvaged += engine.stats().recovered.salvaged;
        assert_eq!(engine.stats().recovered.lost, 0, "{bad}");
        let mut found = payloads(&drain(&mut engine));
        // What was refused with an error of the storage may be there all the same.
        found.retain(|payload| safe.contains(payload));
        if salvaged > 0 {
            // A file that was damaged is salvaged into a newer one, so that the order is not that of the appends, and a record that
            // was acknowledged before may come twice.
            found.sort();
            found.dedup();
        }
        assert_eq!(found, safe, "{bad}, {salvaged} salvaged");
    }
}

#[test]
fn s04_a_file_that_cannot_be_read_is_passed_over_and_tried_again() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    append(&mut engine, group(["a"]));
    engine.close().unwrap();
    disk.set_faults(Faults { bad_reads: true, ..Faults::default() });
    let manifest = disk.fork();
    manifest.set_faults(Faults::default());
    let mut engine = open(&manifest);
    manifest.set_faults(Faults { bad_reads: true, ..Faults::default() });
    engine.append(vec![group(["b"])], NOW).remove(0).ok();
    let _none_or_cached = engine.lease("main", Want::default(), NOW).unwrap();
    manifest.set_faults(Faults::default());
    engine.tick(NOW + 2000);
    drop(engine);
    assert!(payloads(&drain(&mut open(&manifest))).contains(&"a".to_owned()));
}

#[test]
fn s04_fewer_than_promised_is_damage_and_never_emptiness() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    append(&mut engine, group(["a", "b"]));
    let segment = disk.names().into_iter().find(|name| name.starts_with("n-")).unwrap();
    let early = disk.content(&segment);
    append(&mut engine, group(["c"]));
    drop(engine);
    // The file as it was before the last commit: a good file that lacks what was promised.
    let rolled_back = disk.fork();
    rolled_back.set_content(&segment, &early);
    let mut engine = open(&rolled_back);
    let recovered = engine.stats().recovered;
    assert_eq!((recovered.damaged_files, recovered.salvaged, recovered.lost), (1, 2, 1));
    assert_eq!(payloads(&drain(&mut engine)), ["a", "b"]);
    // An empty file, which redb makes a new one of.
    let emptied = disk.fork();
    emptied.set_content(&segment, &[]);
    let mut engine = open(&emptied);
    let recovered = engine.stats().recovered;
    assert_eq!((recovered.damaged_files, recovered.lost, engine.stats().records), (1, 3, 0));
    append(&mut engine, group(["d"]));
    assert_eq!(payloads(&drain(&mut engine)), ["d"]);
    // No file at all.
    let removed = disk.fork();
    removed.delete(&segment);
    assert_eq!(open(&removed).stats().recovered.lost, 3);
}

#[test]
fn s04_without_a_manifest_the_files_say_what_they_hold() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    append(&mut engine, group(["a", "b"]).mark("file", "9"));
    drop(engine);
    disk.delete("manifest-a");
    disk.delete("manifest-b");
    let mut engine = open(&disk);
    assert_eq!(engine.mark("file"), Some(Bytes::from_static(b"9")));
    append(&mut engine, group(["c"]));
    assert_eq!(payloads(&drain(&mut engine)), ["a", "b", "c"]);
}

#[test]
fn bytes_are_bounded_and_the_oldest_file_goes_first() {
    let disk = SimDisk::new();
    let mut engine = builder(&disk).max_bytes(1 << 20).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["urgent"]).priority(Priority::High));
    for number in 0_u32..200 {
        let payload = [&number.to_le_bytes()[..], &[0; 9000]].concat();
        append(&mut engine, Group::new([NewRecord::new(payload)]));
        assert!(engine.stats().bytes <= 1 << 20, "{number}: {}", engine.stats().bytes);
    }
    let stats = engine.stats();
    assert!(stats.evicted.bytes > 50 && stats.evicted.total() == stats.evicted.bytes, "{stats:?}");
    assert_eq!(stats.records + stats.evicted.bytes, 201, "each record is held or counted");
    let records = drain(&mut engine);
    assert_eq!(records[0].payload, "urgent", "the high lane goes last");
    let numbers: Vec<_> = records[1..].iter().map(|r| u32::from_le_bytes(*r.payload.first_chunk().unwrap())).collect();
    assert_eq!(numbers, (200 - u32::try_from(numbers.len()).unwrap()..200).collect::<Vec<_>>());
}

#[test]
fn a_spool_that_refuses_says_so_and_takes_again_when_there_is_room() {
    let disk = SimDisk::new();
    let mut engine = builder(&disk).max_records(3).overflow(Overflow::Refuse).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a", "b"]));
    let error = engine.append(vec![group(["c", "d"])], NOW).remove(0).unwrap_err();
    assert_eq!(*error.kind(), SpoolErrorKind::Full { limit: Limit::Records });
    append(&mut engine, group(["h", "i"]).priority(Priority::High));
    assert_eq!(payloads(&drain(&mut engine)), ["h", "i"], "the high lane takes the place of a normal frame");
    assert_eq!(engine.stats().evicted.records, 2);
    append(&mut engine, group(["c", "d"]));
    let error = engine.append(vec![Group::new([NewRecord::new(vec![0; 100_000])])], NOW).remove(0).unwrap_err();
    assert_eq!(*error.kind(), SpoolErrorKind::TooLarge { bytes: 100_000, max: 64 << 10 });
}

#[test]
fn records_are_bounded_and_the_oldest_goes_first_even_while_it_is_leased() {
    let mut engine = builder(&SimDisk::new()).max_records(3).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a"]));
    append(&mut engine, group(["b"]));
    let (leased, _) = lease(&mut engine, Order::Oldest, 1);
    append(&mut engine, group(["c", "d"]));
    assert_eq!(engine.stats().evicted.records, 1);
    assert_eq!(engine.settle(leased, &[Delivered]).evicted, 1, "a record has one fate");
    assert_eq!(payloads(&drain(&mut engine)), ["b", "c", "d"]);
}

#[test]
fn what_is_too_old_is_dropped_across_a_restart() {
    let disk = SimDisk::new();
    let aged = || builder(&disk).max_age(Duration::from_secs(60));
    let mut engine = aged().open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["old"]));
    engine.append(vec![group(["new"])], NOW + 50_000).remove(0).unwrap();
    engine.close().unwrap();
    let mut engine = aged().open_engine(at(NOW + 70_000)).unwrap();
    engine.tick(NOW + 72_000);
    assert_eq!((engine.stats().evicted.age, engine.stats().records), (1, 1));
    let (_, records) = engine.lease("main", Want::default(), NOW + 72_000).unwrap().unwrap();
    assert_eq!(payloads(&records), ["new"]);
}

#[test]
fn s03_one_bad_record_is_skipped_and_the_rest_goes_on() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    append(&mut engine, group(["first-payload", "second-payload", "third-payload"]));
    // While it is open nothing verifies the file but the checksum of each record.
    for name in disk.names() {
        let mut bytes = disk.content(&name);
        for at in 0..bytes.len().saturating_sub(14) {
            if bytes[at..].starts_with(b"second-payload") {
                bytes[at] ^= 1;
            }
        }
        disk.set_content(&name, &bytes);
    }
    drop(engine);
    let mut engine = open(&disk);
    assert_eq!(payloads(&drain(&mut engine)), ["first-payload", "third-payload"]);
    let stats = engine.stats();
    assert_eq!(stats.quarantined + stats.recovered.lost, 1);
    append(&mut engine, group(["fourth"]));
    assert_eq!(payloads(&drain(&mut engine)), ["fourth"]);
}

#[test]
fn leases_are_bounded() {
    let mut engine = builder(&SimDisk::new()).max_leases(1).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a"]));
    append(&mut engine, group(["b"]));
    let (first, _) = lease(&mut engine, Order::Oldest, 1);
    let error = engine.lease("main", Want::default(), NOW).unwrap_err();
    assert_eq!(*error.kind(), SpoolErrorKind::Full { limit: Limit::Leases });
    engine.settle(first, &[GiveBack]);
    assert_eq!(lease(&mut engine, Order::Oldest, 1).1, ["a"]);
}

#[test]
fn a_lease_takes_no_more_than_is_wanted() {
    let mut engine = open(&SimDisk::new());
    append(&mut engine, Group::new((0..10).map(|_| NewRecord::new(vec![1; 100]))));
    let by = |engine: &mut Engine, records, bytes| {
        let want = Want { order: Order::Oldest, records, bytes };
        let (lease, records) = engine.lease("main", want, NOW).unwrap().unwrap();
        engine.settle(lease, &[]);
        records.len()
    };
    assert_eq!((by(&mut engine, 3, 1 << 20), by(&mut engine, 99, 250), by(&mut engine, 99, 1)), (3, 3, 1));
}

#[test]
fn verify_reads_everything() {
    let disk = SimDisk::new();
    let mut engine = open(&disk);
    append(&mut engine, group(["a", "b"]));
    append(&mut engine, group(["h"]).priority(Priority::High));
    let verified = engine.verify();
    assert_eq!((verified.segments, verified.records, verified.bad, verified.unreadable), (2, 3, 0, 0));
    let mut shown = Vec::new();
    engine.read_all(|record, names| {
        shown.push((record.payload.clone(), names.to_vec()));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(shown.iter().map(|(payload, _)| &payload[..]).collect::<Vec<_>>(), [b"h", b"a", b"b"]);
    assert_eq!(shown[0].1, ["main"]);
}
