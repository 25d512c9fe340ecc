//! An outage that is not noticed: three endpoints, of which any two die and return at random, for hours on end.

use crate::servers::{A, B, C, Mode, Servers, builder, ms};
use forebay_core::chance::SplitMix64;
use forebay_export::{Balance, Batching, Endpoints, Failover};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const URLS: [&str; 3] = [A, B, C];
/// Between two items, each of which is a batch.
const EVERY: Duration = ms(500);
/// No item waits longer.
const LONGEST: Duration = ms(5000);

/// How long the servers die and return: so many hours as `OUTAGE_HOURS` says, of which `.ci/models` asks for 24.
fn time() -> Duration {
    let hours = std::env::var("OUTAGE_HOURS").map_or(1, |hours| hours.parse().unwrap());
    Duration::from_secs(hours * 3600)
}

/// When a server changes, and to what.
struct Change {
    at: Duration,
    url: &'static str,
    mode: Mode,
}

/// Any server dies at random, in one of several ways, as long as another one is up.
fn schedule(seed: u64) -> Vec<Change> {
    let (mut chance, mut at, mut up) = (SplitMix64::new(seed), Duration::ZERO, [true; 3]);
    let mut changes = Vec::new();
    loop {
        at += ms(chance.between(100, 240_000));
        if at >= time() {
            return changes;
        }
        let which = usize::try_from(chance.between(0, 2)).unwrap();
        if up[which] && up.iter().filter(|up| **up).count() == 1 {
            continue;
        }
        up[which] = !up[which];
        let ways = [Mode::Refuses, Mode::Status(503), Mode::Hangs, Mode::Breaks, Mode::Throttles(2)];
        let way = ways[usize::try_from(chance.between(0, 4)).unwrap()];
        changes.push(Change { at, url: URLS[which], mode: if up[which] { Mode::Up } else { way } });
    }
}

/// The most that a server was sent beyond the catch-up, in any minute of its life, relative to what is normal for it: an equal share
/// among the servers that carry the load where that is shared, and all of it otherwise.
///
/// What arrives within an attempt's time of its emission is no catch-up. A server carries the load once it has been up for four
/// seconds: its pause may have to end, and then its circuit or a turn without load has to show that it is back.
fn load_beyond_the_catch_up(
    servers: &Servers,
    changes: &[Change],
    began: Instant,
    emitted: &[Instant],
    shared: bool,
) -> f64 {
    let (mut next, mut up_since) = (changes.iter().peekable(), [Some(Duration::ZERO); 3]);
    // Of each server and each item: what is normal, and what came.
    let mut load: [Vec<Option<(f64, u32)>>; 3] = [const { Vec::new() }; 3];
    for at in emitted.iter().map(|at| at.duration_since(began)) {
        while let Some(change) = next.next_if(|change| change.at <= at) {
            let which = URLS.iter().position(|url| *url == change.url).unwrap();
            up_since[which] = (change.mode == Mode::Up).then_some(change.at);
        }
        for which in 0..3 {
            let carries = |other: usize| up_since[other].is_some_and(|since| at >= since + ms(4000));
            let others = (0..3).filter(|other| *other != which && carries(*other)).count();
            let share = if shared { 1.0 / (others + 1) as f64 } else { 1.0 };
            load[which].push(up_since[which].map(|_| (share, 0)));
        }
    }
    let mut most = 0.0_f64;
    for (load, url) in load.iter_mut().zip(URLS) {
        for (item, at) in servers.at(url, |server| server.taken.clone()) {
            if let Some((_, came)) = &mut load[item as usize]
                && at.duration_since(emitted[item as usize]) < ms(1000)
            {
                *came += 1;
            }
        }
        let life: Vec<(f64, u32)> = load.iter().flatten().copied().collect();
        for minute in life.windows(120) {
            let (normal, came) = minute.iter().fold((0.0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            most = most.max(f64::from(came) / normal);
        }
    }
    most
}

async fn a_day(endpoints: impl Into<Endpoints>, seed: u64, shared: bool) {
    let servers = Servers::default();
    URLS.into_iter().for_each(|url| servers.at(url, |server| server.latency = ms(20)));
    let batching = Batching::new().max_items(10).max_delay(ms(5)).max_in_flight(16);
    let builder = builder(endpoints).batching(batching).client(servers.client());
    let exporter = builder.attempt_timeout(ms(1000)).build().unwrap();
    let (began, mut emitted) = (Instant::now(), Vec::new());
    let changes = schedule(seed);
    let mut next = changes.iter().peekable();
    let items = u32::try_from(time().as_millis() / EVERY.as_millis()).unwrap();
    for item in 0..items {
        let due = began + EVERY * item;
        while let Some(change) = next.next_if(|change| began + change.at <= due) {
            sleep_until(began + change.at).await;
            servers.turn(change.url, change.mode);
        }
        sleep_until(due).await;
        exporter.emit(item);
        emitted.push(Instant::now());
    }
    URLS.into_iter().for_each(|url| servers.turn(url, Mode::Up));
    let report = exporter.shutdown(Duration::from_secs(60)).await;
    assert_eq!((report.totals.delivered, report.totals.dropped.total()), (u64::from(items), 0));

    // By what the servers have: each item is there, and twice only where a server took it and could not say so.
    let mut first: Vec<Option<Instant>> = vec![None; items as usize];
    let mut twice = 0_usize;
    for url in URLS {
        for (item, at) in servers.at(url, |server| server.taken.clone()) {
            let place = &mut first[item as usize];
            twice += usize::from(place.is_some());
            *place = Some(place.map_or(at, |before| before.min(at)));
        }
    }
    let missing = first.iter().filter(|at| at.is_none()).count();
    let ambiguous: usize = URLS.into_iter().map(|url| servers.at(url, |server| server.unsaid)).sum();
    assert_eq!(missing, 0);
    assert!(twice <= ambiguous, "{twice} of {ambiguous}");

    // A record that is handed over after a recovery is there within two seconds of it.
    let mut slowest = Duration::ZERO;
    for change in changes.iter().filter(|change| change.mode == Mode::Up) {
        let recovery = began + change.at;
        let from = emitted.partition_point(|at| *at < recovery);
        let fresh = first[from..].iter().take(8).flatten().min();
        let Some(fresh) = fresh else { continue };
        slowest = slowest.max(fresh.saturating_duration_since(recovery));
    }
    assert!(slowest <= Duration::from_secs(2), "{slowest:?}");

    // What reaches a server that takes it is no more than all of the load and a fifth, in any minute.
    let mut worst = 0;
    for url in URLS {
        let taken = servers.at(url, |server| server.taken.clone());
        let mut minutes = vec![0_u32; usize::try_from(time().as_secs() / 60).unwrap() + 2];
        taken
            .iter()
            .for_each(|(_, at)| minutes[usize::try_from(at.duration_since(began).as_secs() / 60).unwrap()] += 1);
        worst = worst.max(minutes.into_iter().max().unwrap());
    }
    let normal = 60_000 / u32::try_from(EVERY.as_millis()).unwrap();
    assert!(f64::from(worst) <= 1.2 * f64::from(normal), "{worst} in a minute, {normal} is normal");

    let load = load_beyond_the_catch_up(&servers, &changes, began, &emitted, shared);
    assert!(load <= 1.2, "{load:.2} times the normal load");

    let mut waits: Vec<Duration> =
        first.iter().flatten().zip(&emitted).map(|(taken, emitted)| taken.duration_since(*emitted)).collect();
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 1000];
    // One server is up at any time: an item waits for the end of two attempts that hang, and until the one that is up has been found.
    assert!(at(1000) <= LONGEST, "an item waited for {:?}", at(1000));
    println!(
        "{} changes, {items} items, {twice} twice, {} requests; waits: median {:?}, 99 % {:?}, 99.9 % {:?}, all {:?}; \
         after a recovery {slowest:?}; worst minute {worst}, {load:.2} times the normal load",
        changes.len(),
        report.counters.requests,
        at(500),
        at(990),
        at(999),
        at(1000),
    );
}

#[tokio::test(start_paused = true)]
async fn e01_a_day_of_outages_is_not_noticed_where_the_load_is_shared() {
    a_day(Balance::new(URLS), 1, true).await;
}

#[tokio::test(start_paused = true)]
async fn e01_a_day_of_outages_is_not_noticed_where_endpoints_are_in_order() {
    a_day(Failover::new(URLS), 2, false).await;
}
