//! Whatever duration a user or a server supplies: it is refused by its name, or a failure passes through it, and every item is
//! accounted for.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{BatchLayer, Batching, Items};
use forebay_core::{BoxError, ConfigError, DropReason, Fate, Settlement};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const VALUES: [Duration; 3] = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];

/// Every duration that a batcher is given.
#[derive(Clone, Copy, Debug)]
struct Durations {
    max_delay: Duration,
    max_age: Option<Duration>,
    ready_timeout: Duration,
    max_hint: Duration,
    backoff: Duration,
    /// What the server asks for in its first response.
    hint: Option<Duration>,
    /// Set while the batcher runs.
    new_max_delay: Option<Duration>,
    new_max_age: Option<Duration>,
    drain: Duration,
}

const USUAL: Durations = Durations {
    max_delay: Duration::from_secs(1),
    max_age: None,
    ready_timeout: Duration::from_secs(30),
    max_hint: Duration::from_secs(60),
    backoff: Duration::from_secs(1),
    hint: None,
    new_max_delay: None,
    new_max_age: None,
    drain: Duration::from_secs(10),
};

/// Sends through one failure; what the builder said, or how many items were delivered.
async fn drive(durations: Durations) -> Result<u64, ConfigError> {
    let Durations { max_delay, max_age, ready_timeout, max_hint, backoff, hint, .. } = durations;
    let requests = Arc::new(AtomicUsize::new(0));
    let mut builder = BatchLayer::builder()
        .batching(Batching::new().max_items(3).max_delay(max_delay))
        .ready_timeout(ready_timeout)
        .max_hint(max_hint)
        .retain_items()
        .settle(move |result: &Result<(), BoxError>, _: usize| match result {
            Ok(()) => Settlement::All(Fate::Delivered),
            Err(_) => Settlement::Retry { after: hint, otherwise: DropReason::RetriesExhausted },
        })
        .park_backoff([backoff; 3])
        .park_bytes(1 << 20);
    if let Some(age) = max_age {
        builder = builder.max_age(age);
    }
    let layer = builder.build()?;
    let (batch, worker) = layer.pair(service_fn(move |_: Items<u32>| {
        let first = requests.fetch_add(1, SeqCst) == 0;
        std::future::ready(if first { Err(BoxError::from("away")) } else { Ok(()) })
    }));
    let worker = tokio::spawn(worker);
    let handle = batch.handle();
    if let Some(age) = durations.new_max_delay {
        handle.set_batching(handle.batching().max_delay(age))?;
    }
    if let Some(age) = durations.new_max_age {
        handle.set_max_age(age)?;
    }
    // One batch that is full, and one that waits for its age.
    (0..4).for_each(|item| batch.emit(item).unwrap());
    sleep(DAY).await;
    let report = timeout(DAY, handle.drain(durations.drain)).await;
    let totals = report.map_or_else(|_still_drains| handle.totals(), |report| report.totals);
    assert!(totals.balance(), "{durations:?}: {totals}");
    // A drain that has no time leaves to its worker what is in flight.
    sleep(Duration::from_secs(1)).await;
    // One that has all the time there is waits for as long as the server asks.
    let waits = durations.drain == Duration::MAX || handle.totals().pending == 0;
    assert!(waits, "{durations:?}: {}", handle.totals());
    drop(batch);
    if handle.totals().pending == 0 {
        // It ends, and has not panicked.
        timeout(DAY, worker).await.unwrap().unwrap();
    }
    Ok(handle.totals().delivered)
}

#[tokio::test(start_paused = true)]
async fn f02_every_duration_of_a_user_is_refused_by_name_or_works() {
    for value in VALUES {
        let table: [(&str, Durations); 8] = [
            ("max_delay", Durations { max_delay: value, ..USUAL }),
            ("max_age", Durations { max_age: Some(value), ..USUAL }),
            ("ready_timeout", Durations { ready_timeout: value, ..USUAL }),
            ("max_hint", Durations { max_hint: value, hint: Some(Duration::from_secs(1)), ..USUAL }),
            ("backoff", Durations { backoff: value, ..USUAL }),
            ("max_delay", Durations { new_max_delay: Some(value), ..USUAL }),
            ("set_max_age", Durations { new_max_age: Some(value), ..USUAL }),
            ("drain", Durations { drain: value, ..USUAL }),
        ];
        for (knob, durations) in table {
            match drive(durations).await {
                Ok(_) => {}
                Err(refused) => {
                    assert_eq!(refused.knob(), knob, "{durations:?}");
                    assert!(value.is_zero(), "{durations:?} is refused");
                }
            }
        }
    }
    assert_eq!(drive(USUAL).await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn f02_every_hint_of_a_server_is_borne() {
    for hint in VALUES {
        for max_hint in [Duration::ZERO, Duration::from_secs(60)] {
            let durations = Durations { hint: Some(hint), max_hint, ..USUAL };
            assert_eq!(drive(durations).await.unwrap(), 4, "{durations:?}");
        }
        // A cap that is none: the batch waits for as long as it may grow old.
        for max_age in [None, Some(Duration::from_secs(60)), Some(Duration::MAX)] {
            drive(Durations { hint: Some(hint), max_hint: Duration::MAX, max_age, ..USUAL }).await.unwrap();
        }
    }
}
