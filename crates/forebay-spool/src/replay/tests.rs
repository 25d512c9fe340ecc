use super::*;

const MS: Duration = Duration::from_millis(1);

#[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
fn start() -> Instant {
    Instant::now()
}

fn policy() -> ReplayPolicy {
    ReplayPolicy::default().max_records_per_second(1000).batch(50, 1 << 20).max_in_flight(4).ramp(1000 * MS)
}

fn wanted(next: Next) -> Want {
    match next {
        Next::Lease(want) => want,
        other => panic!("{other:?}"),
    }
}

#[test]
fn s06_an_outage_costs_one_probe_at_a_time() {
    let start = start();
    let mut replay = Replay::new(policy(), start);
    let mut now = start;
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(wanted(replay.next(now, false)).records, 1);
        replay.leased(now, 1);
        assert_eq!(replay.next(now, false), Next::Busy, "one probe, no second one beside it");
        replay.failed(now, None);
        let Next::Wait(until) = replay.next(now, false) else { panic!("it waits") };
        waits.push((until - now).as_secs());
        now = until;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    replay.next(now, false);
    replay.leased(now, 1);
    replay.failed(now, Some(Duration::from_secs(3600)));
    let Next::Wait(until) = replay.next(now, false) else { panic!("it waits") };
    assert_eq!((until - now).as_secs(), 60, "a hint counts for the longest wait at most");
}

#[test]
fn s06_after_a_probe_the_rate_grows_and_stays_bounded() {
    let start = start();
    let mut replay = Replay::new(policy(), start);
    replay.next(start, false);
    replay.leased(start, 1);
    replay.delivered(start);
    let (mut per_tenth, mut now) = ([0_usize; 30], start);
    while now < start + 3000 * MS {
        match replay.next(now, false) {
            Next::Lease(want) => {
                per_tenth[usize::try_from((now - start).as_millis() / 100).unwrap()] += want.records;
                replay.leased(now, want.records);
                replay.delivered(now);
            }
            Next::Wait(until) => {
                assert!(until > now);
                now = until;
            }
            Next::Busy => panic!("nothing is in flight"),
        }
    }
    assert!(per_tenth[0] <= 20, "{per_tenth:?}");
    assert!(per_tenth[..10].iter().sum::<usize>() <= 650, "half the full rate, within a ramp: {per_tenth:?}");
    for second in per_tenth[10..].chunks(10) {
        let records = second.iter().sum::<usize>();
        assert!((900..=1100).contains(&records), "{per_tenth:?}");
    }
}

#[test]
fn s06_a_failure_of_many_leases_is_one_failure() {
    let start = start();
    let mut replay = Replay::new(policy().ramp(MS), start);
    replay.next(start, false);
    replay.leased(start, 1);
    replay.delivered(start);
    let mut now = start;
    for _ in 0..4 {
        now += 200 * MS;
        let want = wanted(replay.next(now, false));
        replay.leased(now, want.records);
    }
    assert_eq!(replay.next(now + 200 * MS, false), Next::Busy, "four leases are out");
    for _ in 0..4 {
        replay.failed(now, None);
    }
    assert_eq!(replay.next(now, false), Next::Wait(now + 1000 * MS));
    replay.delivered(now);
    assert_eq!(replay.next(now, false), Next::Wait(now + 1000 * MS), "a late success does not end the wait");
}

#[test]
fn s06_while_fresh_items_wait_the_backlog_trickles() {
    let start = start();
    let mut replay = Replay::new(policy().ramp(MS), start);
    replay.next(start, false);
    replay.leased(start, 1);
    replay.delivered(start);
    let (mut leases, mut now) = (0, start);
    while now < start + 10_000 * MS {
        match replay.next(now, true) {
            Next::Lease(want) => {
                leases += 1;
                replay.leased(now, want.records);
                replay.delivered(now);
            }
            Next::Wait(until) => now = until,
            Next::Busy => panic!("nothing is in flight"),
        }
    }
    assert!((18..=21).contains(&leases), "two a second, and no starvation: {leases}");
}

#[test]
fn s06_newest_first_takes_the_oldest_now_and_then() {
    let start = start();
    let mut replay = Replay::new(policy().order(Order::NewestFirst).ramp(MS), start);
    replay.next(start, false);
    replay.leased(start, 1);
    replay.delivered(start);
    let (mut oldest, mut now) = (0, start);
    for _ in 0..100 {
        now += 100 * MS;
        let want = wanted(replay.next(now, false));
        oldest += usize::from(want.order == Order::Oldest);
        replay.leased(now, want.records);
        replay.delivered(now);
    }
    assert!((18..=22).contains(&oldest), "one in five: {oldest}");
}

#[test]
fn a_policy_that_makes_no_sense_is_named() {
    for (policy, knob) in [
        (policy().max_records_per_second(0), "max_records_per_second"),
        (policy().probe_records(0), "probe_records"),
        (policy().batch(0, 1), "batch"),
        (policy().max_in_flight(0), "max_in_flight"),
        (policy().backoff(2 * MS, MS), "backoff"),
        (policy().trickle(f64::NAN), "trickle"),
        (policy().idle(Duration::ZERO), "idle"),
    ] {
        assert_eq!(policy.check().unwrap_err().knob(), knob);
    }
}

/// Every duration of a policy and of a server, at the ends of its range, with a failure driven through: refused by name, or borne.
#[test]
fn f02_every_duration_is_refused_by_name_or_borne() {
    let ends = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX];
    for time in ends {
        for policy in [
            policy().ramp(time),
            policy().backoff(time, Duration::MAX),
            policy().backoff(Duration::from_nanos(1), time),
            policy().yield_for(time),
            policy().idle(time),
        ] {
            let policy = match policy.check() {
                Ok(policy) => policy,
                Err(refused) => {
                    assert!(time.is_zero() && ["backoff", "idle"].contains(&refused.knob()), "{time:?}: {refused}");
                    continue;
                }
            };
            for hint in [None].into_iter().chain(ends.map(Some)) {
                let start = start();
                let mut replay = Replay::new(policy.clone(), start);
                for _ in 0..40 {
                    wanted(replay.next(start, false));
                    replay.leased(start, 1);
                    replay.failed(start, hint);
                    let Next::Wait(until) = replay.next(start, false) else { panic!("it waits") };
                    assert!(until > start && replay.nothing(start) > start);
                    // The wait is over, whatever it is.
                    replay.phase = Phase::Probing;
                }
                wanted(replay.next(start, false));
                replay.leased(start, 1);
                replay.delivered(start);
                for (passed, live) in ends.iter().flat_map(|passed| [(*passed, true), (*passed, false)]) {
                    match replay.next(saturating_add(start, passed), live) {
                        Next::Wait(until) => assert!(until > start),
                        Next::Lease(want) => assert!(want.records > 0),
                        Next::Busy => panic!("nothing is in flight"),
                    }
                }
            }
        }
    }
}
