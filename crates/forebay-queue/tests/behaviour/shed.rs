//! Shedding by delay: when it begins, what it drops, what it leaves alone, and when it ends.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{BoxError, DropReason, Fate, Priority, Seen, Verdict};
use forebay_queue::{ChannelBuilder, Limits, Overflow, Queue, QueueHandle, QueueLayer, Shed};
use forebay_testkit::Probe;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};

const MS: Duration = Duration::from_millis(1);
const TARGET: Duration = Duration::from_millis(20);
const INTERVAL: Duration = Duration::from_millis(100);
/// How long one request takes; there is one worker.
const WORK: Duration = Duration::from_millis(10);

type Item = (Instant, Priority);

/// A queue over a service that takes some time for each request, and notes how long it had waited.
struct Rig {
    queue: Queue<Item, ()>,
    waits: Arc<Mutex<Vec<(Priority, Duration)>>>,
}

impl Rig {
    fn new() -> Self {
        let waits: Arc<Mutex<Vec<_>>> = Arc::default();
        let noted = Arc::clone(&waits);
        let probe = Probe::new(move |(offered, priority): Item| {
            noted.lock().unwrap().push((priority, offered.elapsed()));
            async {
                sleep(WORK).await;
                Ok(())
            }
        });
        let layer = QueueLayer::builder()
            .limits(Limits::new().items(10_000))
            .overflow(Overflow::ShedByDelay { target: TARGET, interval: INTERVAL })
            .weigh(|_: &Item| 1)
            .priority(|(_, priority): &Item| *priority)
            .workers(1)
            .build()
            .unwrap();
        Self { queue: layer.layer(probe), waits }
    }

    fn handle(&self) -> QueueHandle<Item> {
        self.queue.handle()
    }

    fn shed(&self) -> u64 {
        let totals = self.handle().totals();
        assert!(totals.balance(), "{totals}");
        totals.dropped.get(DropReason::Shed)
    }

    fn emit(&self, priority: Priority, items: u32) {
        (0..items).for_each(|_| self.queue.emit((Instant::now(), priority)).unwrap());
    }

    /// For so long, so many items of normal priority at each millisecond.
    async fn load(&self, millis: u32, items: u32) {
        for _ in 0..millis {
            self.emit(Priority::Normal, items);
            sleep(MS).await;
        }
    }

    /// The waits of what was processed from `begin` on.
    fn waits(&self, lane: Priority, begin: usize) -> Vec<Duration> {
        let waits = self.waits.lock().unwrap();
        waits[begin..].iter().filter(|(priority, _)| *priority == lane).map(|(_, wait)| *wait).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn d07_a_burst_that_is_worked_off_within_the_interval_is_not_shed() {
    let rig = Rig::new();
    for _ in 0..20 {
        // The last of them waits for 110 ms, and nothing is left behind then.
        rig.emit(Priority::Normal, 12);
        sleep(200 * MS).await;
    }
    assert_eq!((rig.shed(), rig.handle().totals().delivered), (0, 240));
}

#[tokio::test(start_paused = true)]
async fn d07_a_lasting_overload_is_shed_until_it_ends_and_waits_stay_within_twice_the_target() {
    let rig = Rig::new();
    // Ten times what the worker takes.
    rig.load(110, 1).await;
    assert_eq!(rig.shed(), 0, "not before all waits of an interval were too long");
    rig.load(890, 1).await;
    let begun = rig.waits.lock().unwrap().len();
    rig.load(2_000, 1).await;
    let waits = rig.waits(Priority::Normal, begun);
    assert!(waits.iter().all(|wait| *wait >= TARGET && *wait <= 2 * TARGET), "{waits:?}");
    // The worker never idles for it.
    assert!(waits.len() >= 199, "{}", waits.len());
    let shed = rig.shed();
    assert!(shed > 2_600, "{shed}");

    // Half of what the worker takes: what is left is worked off, and nothing is shed any more.
    for _ in 0..10 {
        rig.load(1, 1).await;
        sleep(19 * MS).await;
    }
    let (shed, begun) = (rig.shed(), rig.waits.lock().unwrap().len());
    for _ in 0..50 {
        rig.load(1, 1).await;
        sleep(19 * MS).await;
    }
    assert_eq!(rig.shed(), shed);
    assert!(rig.waits(Priority::Normal, begun).iter().all(|wait| *wait < TARGET));
}

#[tokio::test(start_paused = true)]
async fn d07_high_priority_is_never_shed_and_hides_no_overload() {
    let rig = Rig::new();
    for n in 0..3_000 {
        rig.load(1, 1).await;
        if n % 20 == 0 {
            rig.emit(Priority::High, 1);
        }
    }
    assert!(rig.shed() > 2_500);
    let high = rig.waits(Priority::High, 0);
    assert_eq!(high.len(), 150);
    assert!(high.iter().all(|wait| *wait <= 2 * WORK), "{high:?}");

    // Also where they wait for longer than any other may.
    let rig = Rig::new();
    rig.emit(Priority::High, 100);
    rig.load(2_000, 1).await;
    assert_eq!(rig.waits(Priority::High, 0).len(), 100);
}

#[tokio::test(start_paused = true)]
async fn d07_a_caller_that_was_shed_may_try_again() {
    let rig = Rig::new();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..300 {
        calls.spawn(rig.queue.clone().oneshot((Instant::now(), Priority::Normal)));
        sleep(MS).await;
    }
    let results: Vec<Result<(), BoxError>> = calls.join_all().await;
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(errors.len() > 150 && errors.len() as u64 == rig.shed());
    for error in errors {
        let verdict = Verdict::of(&*error).unwrap();
        assert_eq!((verdict.reason(), verdict.seen()), (DropReason::Shed, Seen::No));
        assert!(error.is::<Shed>() && verdict.advice() == forebay_core::Advice::Retry);
    }
}

#[tokio::test(start_paused = true)]
async fn d07_a_channel_sheds_as_a_queue_does() {
    let overflow = Overflow::ShedByDelay { target: TARGET, interval: INTERVAL };
    let (sender, mut receiver) = ChannelBuilder::new().overflow(overflow).build::<u32>().unwrap();
    (0..100).for_each(|n| sender.emit(n).unwrap());
    sleep(TARGET).await;
    receiver.try_recv().unwrap().settle(Fate::Delivered);
    sleep(INTERVAL).await;
    sender.emit(100).unwrap();
    sender.emit(101).unwrap();
    let received = receiver.recv().await.unwrap();
    assert_eq!(*received, 100, "the first that had not waited for too long");
    assert_eq!(sender.handle().totals().dropped.get(DropReason::Shed), 99);
    received.settle(Fate::Delivered);
    sleep(INTERVAL + TARGET).await;
    assert_eq!(receiver.drain(9).collect::<Vec<_>>(), [101], "the last one is not shed: it keeps no other waiting");
    assert!(sender.handle().totals().balance());
}
