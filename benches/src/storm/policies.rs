//! Clients that are simulated: the policies of others, by their published parameters.

use super::{ATTEMPT, exporter::times, server::Server};
use forebay_core::chance::SplitMix64;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How a client sends what it has.
pub(super) struct Policy {
    pub(super) name: &'static str,
    retries: u32,
    /// How long to wait before retry `n`, from 0.
    wait: fn(n: u32, chance: &mut SplitMix64) -> Duration,
    /// What limits retries or calls beyond that.
    limit: Limit,
    /// Whether the items that come while a request is under way are the next request.
    queues: bool,
}

#[derive(Clone, Copy)]
enum Limit {
    None,
    /// A quota that a retry is taken from, and that a success fills.
    Quota,
    /// A breaker over the calls, retries included.
    Breaker,
}

/// All of them.
///
/// A budget of 20 % with a floor of ten retries a second, as the first two have it, stops no client that makes a call every five
/// seconds.
pub(super) static POLICIES: [Policy; 5] = [
    // https://docs.rs/reqwest/0.13/reqwest/retry/: two retries of a request, at once.
    Policy { name: "reqwest 0.13 retry", retries: 2, wait: |_, _| Duration::ZERO, limit: Limit::None, queues: false },
    // https://docs.rs/tower/0.5/tower/retry/backoff/struct.ExponentialBackoffMaker.html: 50 ms, doubled, and up to 0.99 of it more.
    // The number of retries is the user's own.
    Policy {
        name: "tower::retry 0.5, 3 retries",
        retries: 3,
        wait: |n, chance| (Duration::from_millis(50) * 2_u32.pow(n)).mul_f64(1.0 + 0.99 * chance.unit()),
        limit: Limit::None,
        queues: false,
    },
    // https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html: three attempts; b * 2^n seconds, b from 0 to 1, 20 s
    // at most; a quota of 500, of which a retry takes 5, and 10 after a timeout.
    Policy {
        name: "AWS SDKs, standard mode",
        retries: 2,
        wait: |n, chance| Duration::from_secs(2_u64.pow(n)).mul_f64(chance.unit()).min(Duration::from_secs(20)),
        limit: Limit::Quota,
        queues: false,
    },
    // https://docs.rs/opentelemetry-otlp/0.33/opentelemetry_otlp/struct.RetryPolicy.html: three retries, 100 ms, doubled up to 1.6 s,
    // and up to 100 ms more. One export at a time, a second after the first record.
    Policy {
        name: "opentelemetry-otlp 0.33",
        retries: 3,
        wait: |n, chance| Duration::from_millis(100 * 2_u64.pow(n)) + Duration::from_millis(100).mul_f64(chance.unit()),
        limit: Limit::None,
        queues: true,
    },
    // https://docs.rs/tower-resilience-retry/0.14/: three attempts, 100 ms, doubled, without jitter, below
    // https://docs.rs/tower-resilience-circuitbreaker/0.14/: open for 30 s when half of the last 100 calls have failed, then one call.
    Policy {
        name: "tower-resilience 0.14",
        retries: 2,
        wait: |n, _| Duration::from_millis(100 * 2_u64.pow(n)),
        limit: Limit::Breaker,
        queues: false,
    },
];

/// What the calls of one client share.
struct Client {
    server: Server,
    chance: Mutex<SplitMix64>,
    limits: Mutex<Limits>,
}

struct Limits {
    quota: u32,
    /// Of the last hundred calls: whether each has failed.
    calls: VecDeque<bool>,
    open_until: Option<Instant>,
    is_probing: bool,
}

const QUOTA: u32 = 500;
const WINDOW: usize = 100;

// === impl Policy ===

impl Policy {
    pub(super) fn start(&'static self, server: &Server, number: usize) {
        let limits = Limits { quota: QUOTA, calls: VecDeque::new(), open_until: None, is_probing: false };
        let client = Arc::new(Client {
            server: server.clone(),
            chance: Mutex::new(SplitMix64::new(number as u64)),
            limits: Mutex::new(limits),
        });
        tokio::spawn(async move {
            let mut times = times(number);
            let mut next = Instant::now() + times.next();
            loop {
                sleep_until(next).await;
                if self.queues {
                    sleep(Duration::from_secs(1)).await;
                    let mut items = 0;
                    while next <= Instant::now() {
                        items += 1;
                        next += times.next();
                    }
                    // What is not delivered is dropped.
                    self.call(&client, items).await;
                } else {
                    let client = Arc::clone(&client);
                    tokio::spawn(async move { self.call(&client, 1).await });
                    next += times.next();
                }
            }
        });
    }

    async fn call(&self, client: &Client, items: usize) {
        if matches!(self.limit, Limit::Breaker) && !client.limits().admits() {
            return;
        }
        let mut taken = 0;
        for n in 0..=self.retries {
            let (is_ok, cost) = match timeout(ATTEMPT, client.server.request(items)).await {
                Ok(Ok(())) => (true, 0),
                Ok(Err(_)) => (false, 5),
                Err(_) => (false, 10),
            };
            if is_ok || n == self.retries {
                return client.limits().ended(is_ok, taken);
            }
            if matches!(self.limit, Limit::Quota) {
                let mut limits = client.limits();
                if limits.quota < cost {
                    return;
                }
                limits.quota -= cost;
                taken = cost;
            }
            let wait = (self.wait)(n, &mut client.chance.lock().expect("no panic"));
            sleep(wait).await;
        }
    }
}

// === impl Client ===

impl Client {
    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits.lock().expect("no panic")
    }
}

// === impl Limits ===

impl Limits {
    fn admits(&mut self) -> bool {
        match self.open_until {
            None => true,
            Some(until) => {
                let is_probe = Instant::now() >= until && !self.is_probing;
                self.is_probing |= is_probe;
                is_probe
            }
        }
    }

    /// A call has ended; `taken` of the quota was for its last retry.
    fn ended(&mut self, is_ok: bool, taken: u32) {
        if is_ok {
            self.quota = (self.quota + taken.max(1)).min(QUOTA);
        }
        if self.is_probing {
            self.is_probing = false;
            self.calls.clear();
        }
        self.calls.push_back(!is_ok);
        if self.calls.len() > WINDOW {
            self.calls.pop_front();
        }
        let failed = self.calls.iter().filter(|failed| **failed).count();
        let is_open = self.open_until.is_some();
        if is_open && is_ok {
            self.open_until = None;
        } else if is_open || (self.calls.len() == WINDOW && failed * 2 >= WINDOW) {
            self.open_until = Some(Instant::now() + Duration::from_secs(30));
        }
    }
}
