//! The exporter of the OpenTelemetry Collector, simulated in virtual time from the defaults of its [exporterhelper]: a queue of
//! 1,000 requests, 10 consumers, and retries after 5 s growing by 1.5 to 30 s, each 50 % more or less, for 300 s. A consumer waits
//! in its retry, and takes nothing else from the queue meanwhile.
//!
//! [exporterhelper]: https://github.com/open-telemetry/opentelemetry-collector/blob/main/exporter/exporterhelper/README.md

use super::{Cell, LATENCY, Load};
use forebay_core::chance::SplitMix64;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    runtime::Builder,
    sync::{Semaphore, mpsc},
    time::{Instant, sleep},
};

const QUEUE: usize = 1000;
const CONSUMERS: usize = 10;
const INITIAL: Duration = Duration::from_secs(5);
const MULTIPLIER: f64 = 1.5;
const MOST: Duration = Duration::from_secs(30);
const RANDOMIZATION: f64 = 0.5;
const MAX_ELAPSED: Duration = Duration::from_secs(300);

struct Shared {
    failing: f64,
    /// The server works on one request at a time.
    worker: Semaphore,
    chance: Mutex<SplitMix64>,
    requests: AtomicUsize,
    delivered: AtomicUsize,
}

/// Runs the policy against the server.
pub(super) fn simulate(load: Load) -> Cell {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(run(load))
}

async fn run(load: Load) -> Cell {
    let shared = Arc::new(Shared {
        failing: load.failing,
        worker: Semaphore::new(1),
        chance: Mutex::new(SplitMix64::new(1)),
        requests: AtomicUsize::new(0),
        delivered: AtomicUsize::new(0),
    });
    let (queue, receiver) = mpsc::channel(QUEUE);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let consumers: Vec<_> = (0..CONSUMERS)
        .map(|_| {
            let (shared, receiver) = (Arc::clone(&shared), Arc::clone(&receiver));
            tokio::spawn(async move {
                while next(&receiver).await.is_some() {
                    shared.send().await;
                }
            })
        })
        .collect();
    let mut sent = 0;
    for _ in 0..load.rounds() {
        // A full queue drops what it is given.
        sent += usize::from(queue.try_send(()).is_ok());
        sleep(load.every()).await;
    }
    drop(queue);
    for consumer in consumers {
        consumer.await.expect("no panic");
    }
    Cell {
        contender: "Collector's exporter",
        size: load.size,
        failing: load.failing,
        delivered: shared.delivered.load(Relaxed) as f64 / load.rounds() as f64,
        requests: shared.requests.load(Relaxed) as f64 / sent as f64,
    }
}

async fn next(receiver: &tokio::sync::Mutex<mpsc::Receiver<()>>) -> Option<()> {
    receiver.lock().await.recv().await
}

// === impl Shared ===

impl Shared {
    /// One request with its retries.
    async fn send(&self) {
        let (start, mut interval) = (Instant::now(), INITIAL);
        loop {
            let worker = self.worker.acquire().await.expect("it is never closed");
            sleep(LATENCY).await;
            drop(worker);
            self.requests.fetch_add(1, Relaxed);
            let (outcome, jitter) = {
                let mut chance = self.chance.lock().expect("no panic");
                (chance.unit(), chance.unit())
            };
            if outcome >= self.failing {
                self.delivered.fetch_add(1, Relaxed);
                return;
            }
            let wait = interval.mul_f64(1.0 - RANDOMIZATION + 2.0 * RANDOMIZATION * jitter);
            if start.elapsed() + wait > MAX_ELAPSED {
                return;
            }
            sleep(wait).await;
            interval = interval.mul_f64(MULTIPLIER).min(MOST);
        }
    }
}
