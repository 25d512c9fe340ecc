//! S06: after an outage fresh data arrives within 2 seconds, while the backlog drains beside it. In virtual time.

#![expect(clippy::unwrap_used, reason = "test code")]

#[expect(clippy::allow_attributes, reason = "what one test leaves unused another uses")]
mod support;

use forebay_spool::{
    Disposition, Group, NewRecord, Order,
    replay::{Next, Replay, ReplayPolicy},
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use support::{NOW, SimDisk, open};

const STEP: Duration = Duration::from_millis(20);
const BACKLOG: u64 = 6000;
/// Records a second that are produced after the recovery, and that the server takes.
const LIVE: u64 = 200;
const CAPACITY: u32 = 500;
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// The longest time from an append to its delivery, for what was appended after the recovery, and how much of the backlog is
/// delivered at the end.
#[expect(clippy::disallowed_methods, reason = "any instant will do: time is virtual")]
fn run(order: Order) -> (Duration, u64) {
    let mut engine = open(&SimDisk::new());
    let policy = ReplayPolicy::default().order(order).max_records_per_second(CAPACITY).batch(20, 1 << 20).ramp(STEP);
    let start = Instant::now();
    let mut replay = Replay::new(policy.check().unwrap(), start);
    let stamp = |number: u64| NewRecord::new(number.to_le_bytes().to_vec());
    for first in (0..BACKLOG).step_by(50) {
        engine.append(vec![Group::new((first..first + 50).map(stamp))], NOW).remove(0).unwrap();
    }
    let mut now = start;
    let mut appended: Vec<Instant> = Vec::new();
    let mut flying: VecDeque<(Instant, u64, Vec<u64>)> = VecDeque::new();
    let (mut longest, mut drained) = (Duration::ZERO, 0);
    while now < start + Duration::from_secs(15) {
        let fresh = BACKLOG + appended.len() as u64;
        let count = LIVE * u64::try_from(STEP.as_millis()).unwrap() / 1000;
        engine.append(vec![Group::new((fresh..fresh + count).map(stamp))], NOW).remove(0).unwrap();
        appended.extend((0..count).map(|_| now));
        while flying.front().is_some_and(|(end, ..)| *end <= now) {
            let (_, lease, numbers) = flying.pop_front().unwrap();
            engine.settle(lease, &vec![Disposition::Delivered; numbers.len()]);
            replay.delivered(now);
            for number in numbers {
                match number.checked_sub(BACKLOG) {
                    Some(live) => longest = longest.max(now - appended[usize::try_from(live).unwrap()]),
                    None => drained += 1,
                }
            }
        }
        while let Next::Lease(want) = replay.next(now, false) {
            let Some((lease, records)) = engine.lease("main", want, NOW).unwrap() else { break };
            let numbers: Vec<_> =
                records.iter().map(|r| u64::from_le_bytes(*r.payload.first_chunk().unwrap())).collect();
            replay.leased(now, numbers.len());
            flying.push_back((now + ROUND_TRIP, lease, numbers));
        }
        now += STEP;
    }
    (longest, drained)
}

#[test]
fn s06_newest_first_shows_fresh_data_within_two_seconds_while_the_backlog_drains() {
    let (longest, drained) = run(Order::NewestFirst);
    assert!(longest <= Duration::from_secs(2), "{longest:?}");
    assert!(drained >= 1000, "the backlog trickles: {drained}");
    let (longest, drained) = run(Order::Oldest);
    assert!(longest <= Duration::from_secs(15) && drained == BACKLOG, "{longest:?}, {drained}");
}
