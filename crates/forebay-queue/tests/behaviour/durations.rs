//! Every duration that a user or a server can set, at the ends of its range: refused by name, or accepted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use forebay_core::{BoxError, DropReason, Fate, Settlement};
use forebay_queue::{ChannelBuilder, Limits, Overflow, QueueBuilder, QueueLayer};
use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, service_fn};

const ENDS: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX];

type Builder = QueueBuilder<u32>;

/// Drives failures with such a hint through a queue: it ends in time, its worker lives, and its ledger balances.
async fn drive(what: &str, builder: Builder, hint: Option<Duration>) {
    let asked = Arc::<AtomicUsize>::default();
    let calls = Arc::clone(&asked);
    let inner = service_fn(move |n: u32| {
        let fails = calls.fetch_add(1, SeqCst) < 3;
        ready(if fails { Err(BoxError::from("away")) } else { Ok(n) })
    });
    let settle = move |result: &Result<u32, BoxError>, _: usize| match result {
        Ok(_) => Settlement::All(Fate::Delivered),
        Err(_) => Settlement::Retry { after: hint, otherwise: DropReason::Failed },
    };
    let builder = builder.limits(Limits::new().items(10)).workers(1).settle(settle);
    let queue = match builder.build() {
        Ok(layer) => layer.layer(inner),
        Err(refused) => {
            assert!(!refused.knob().is_empty() && !refused.allowed().is_empty(), "{what}: {refused}");
            return;
        }
    };
    for number in 0..4 {
        queue.emit(number).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    // The worker lives: an item that does not fail is processed, if it may wait at all.
    let handle = queue.handle();
    let ended = tokio::time::timeout(Duration::from_secs(700), handle.drain(Duration::from_secs(600))).await;
    let report = ended.unwrap_or_else(|_| panic!("{what}: it did not end"));
    let totals = report.totals;
    assert!(totals.balance() && totals.pending == 0, "{what}: {totals}");
    assert_eq!(totals.dropped.get(DropReason::Panicked), 0, "{what}");
    assert_eq!(totals.dropped.get(DropReason::Shutdown), report.unsent.len() as u64, "{what}");
    let worked = asked.load(SeqCst) > 0 || totals.dropped.get(DropReason::Expired) == 4;
    assert!(worked, "{what}: no item was processed: {totals}");
}

#[tokio::test(start_paused = true)]
async fn f02_every_duration_knob_and_every_hint_is_refused_or_accepted_at_the_ends_of_its_range() {
    type Knob = (&'static str, fn(Builder, Duration) -> Builder);
    let second = Duration::from_secs(1);
    let knobs: [Knob; 6] = [
        ("max_age", |builder, time| builder.max_age(time).park_backoff([Duration::from_secs(1); 3]).park_bytes(1000)),
        ("max_hint", |builder, time| builder.max_hint(time).park_backoff([Duration::from_secs(1); 3]).park_bytes(1000)),
        ("backoff", |builder, time| builder.park_backoff([time; 3]).park_bytes(1000)),
        ("backoff with age", |builder, time| {
            builder.park_backoff([time; 3]).park_bytes(1000).max_age(Duration::from_secs(5))
        }),
        ("delay target", |builder, target| {
            builder.overflow(Overflow::ShedByDelay { target, interval: Duration::from_secs(1) })
        }),
        ("delay interval", |builder, interval| {
            builder.overflow(Overflow::ShedByDelay { target: Duration::from_millis(10), interval })
        }),
    ];
    for (name, knob) in knobs {
        for end in ENDS {
            for hint in [None, Some(second)].into_iter().chain(ENDS.map(Some)) {
                let what = format!("{name} of {end:?}, hint of {hint:?}");
                drive(&what, knob(QueueLayer::builder(), end), hint).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f02_a_channel_and_a_drain_accept_every_duration() {
    for end in ENDS {
        let (sender, mut receiver) = ChannelBuilder::new().max_age(end).build::<u32>().unwrap();
        sender.emit(1).unwrap();
        drop(receiver.try_recv());
        sender.handle().set_max_age(end).unwrap();
        sender.emit(2).unwrap();
        let received = receiver.try_recv();
        let drain = tokio::spawn({
            let handle = sender.handle();
            async move { handle.drain(end).await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        received.into_iter().for_each(|received| received.settle(Fate::Delivered));
        let report = drain.await.unwrap();
        assert!(report.totals.balance() && report.totals.pending == 0, "{end:?}");
    }
}
