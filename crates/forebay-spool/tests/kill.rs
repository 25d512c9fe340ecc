//! S01: a process is killed at random instants, again and again, on one spool. Nothing that it was promised is missing, nothing is
//! wrong, no start is refused, and what is leased twice was in flight.
//!
//! `SPOOL_KILLS` says how many kills.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "test code")]

#[expect(clippy::allow_attributes, reason = "what one test leaves unused another uses")]
mod support;

use forebay_spool::{DiskSpool, Durability, Engine, Group, NewRecord, Order, Spool, SpoolBuilder, Want};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    ops::ControlFlow,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use support::{NOW, Rng, TempDir, at};

fn builder(dir: &Path, seed: u64) -> SpoolBuilder {
    let every = Duration::from_millis(seed % 3);
    let durability =
        if seed.is_multiple_of(2) { Durability::Process } else { Durability::Disk { every, bytes: 1 << 16 } };
    DiskSpool::builder(dir).destination("main", "https://a.example").segment_bytes(128 << 10).durability(durability)
}

fn payload(number: u64) -> Vec<u8> {
    [
        &number.to_le_bytes()[..],
        &vec![u8::try_from(number % 251).unwrap(); usize::try_from(number * 37 % 5000).unwrap()],
    ]
    .concat()
}

fn number(payload: &[u8]) -> u64 {
    let number = u64::from_le_bytes(*payload.first_chunk().unwrap());
    assert_eq!(payload, self::payload(number), "a wrong payload");
    number
}

/// The process that is killed: it says what it was promised, and what it has in its hands.
#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var("FOREBAY_SPOOL_CHILD") else { return };
    let seed: u64 = std::env::var("FOREBAY_SPOOL_SEED").unwrap().parse().unwrap();
    let mut next: u64 = std::env::var("FOREBAY_SPOOL_NEXT").unwrap().parse().unwrap();
    let mut rng = Rng::new(seed);
    let spool = builder(Path::new(&dir), seed).open().unwrap();
    // One line is one write, so that no half of a line is read.
    let say = |line: String| std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
    let list = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    loop {
        let numbers: Vec<_> = (next..next + 1 + rng.below(8) as u64).collect();
        next += numbers.len() as u64;
        say(format!("T {}", list(&numbers)));
        spool.append(Group::new(numbers.iter().map(|number| NewRecord::new(payload(*number))))).await.unwrap();
        say(format!("A {}", list(&numbers)));
        if rng.below(3) == 0 {
            let order = if rng.below(2) == 0 { Order::Oldest } else { Order::NewestFirst };
            let want = Want { order, records: 1 + rng.below(20), ..Want::default() };
            let Some(lease) = spool.lease("main", want).await.unwrap() else { continue };
            let leased: Vec<_> = lease.records().iter().map(|record| number(&record.payload)).collect();
            say(format!("L {}", list(&leased)));
            spool.acknowledge(lease).await.unwrap();
            say(format!("D {}", list(&leased)));
        }
    }
}

#[test]
fn s01_killed_at_any_instant_nothing_promised_is_missing() {
    let kills: u64 = std::env::var("SPOOL_KILLS").map_or(12, |kills| kills.parse().unwrap());
    let dir = TempDir::new("kill");
    let mut rng = Rng::new(1);
    let mut next = 0;
    let (mut promised, mut delivered) = (BTreeSet::new(), BTreeSet::new());
    let (mut appended, mut slowest) = (0, Duration::ZERO);
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads", "1"])
            .env("FOREBAY_SPOOL_CHILD", dir.spool())
            .env("FOREBAY_SPOOL_SEED", kill.to_string())
            .env("FOREBAY_SPOOL_NEXT", next.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, read) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let reader = thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        // Some lines, and then a moment: the kill may happen at any byte of the next one.
        let mut lines: Vec<String> = read.iter().take(3 + rng.below(60)).collect();
        while let Ok(line) = read.recv_timeout(Duration::from_micros(rng.below(4000) as u64)) {
            lines.push(line);
            if rng.below(3) == 0 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.extend(read.iter());
        reader.join().unwrap().ok();
        let (mut tried, mut leased) = (BTreeSet::new(), BTreeSet::new());
        for line in &lines {
            // The test harness writes its own words in front of the first line.
            let Some((_, words)) = line.split_once(['T', 'A', 'L', 'D']) else { continue };
            let numbers: Option<Vec<u64>> = words.split_whitespace().map(|word| word.parse().ok()).collect();
            let (Some(numbers), Some(kind)) = (numbers, line[..line.len() - words.len()].chars().last()) else {
                continue;
            };
            match kind {
                'T' => {
                    next = next.max(numbers.last().map_or(0, |last| last + 1));
                    tried.extend(numbers);
                }
                'A' => {
                    appended += numbers.len();
                    for number in numbers {
                        tried.remove(&number);
                        promised.insert(number);
                    }
                }
                'L' => leased.extend(numbers),
                _ => {
                    for number in numbers {
                        leased.remove(&number);
                        promised.remove(&number);
                        delivered.insert(number);
                    }
                }
            }
        }
        #[expect(clippy::disallowed_methods, reason = "what is measured is a real start")]
        let start = Instant::now();
        let mut engine = builder(&dir.spool(), kill).open_engine(at(NOW)).expect("no start is refused");
        slowest = slowest.max(start.elapsed());
        let recovered = engine.stats().recovered;
        assert_eq!((recovered.lost, recovered.damaged_files), (0, 0), "kill {kill}: {recovered:?}");
        let found = pending(&mut engine);
        for number in promised.difference(&found) {
            assert!(leased.contains(number), "kill {kill}: {number} was promised");
        }
        for number in &found {
            assert!(!delivered.contains(number), "kill {kill}: {number} was delivered");
            assert!(promised.contains(number) || tried.contains(number), "kill {kill}: {number} was never appended");
        }
        // What was in flight when it died is there or not.
        promised = found;
        if rng.below(3) == 0 {
            engine.close().unwrap();
        }
    }
    println!("{kills} kills, {appended} appended, {} delivered, slowest reopening {slowest:?}", delivered.len());
}

fn pending(engine: &mut Engine) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    let verified = engine.read_all(|record, _| {
        assert!(found.insert(number(&record.payload)), "a record is there twice");
        ControlFlow::Continue(())
    });
    assert_eq!((verified.bad, verified.unreadable), (0, 0));
    found
}
