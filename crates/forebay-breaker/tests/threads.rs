//! Real threads on all paths at once: keys that come, fail, are removed, forced and looked at.

use forebay_breaker::{BreakerLayer, CircuitOpen, Mode, OpenFor, State, Trip};
use forebay_core::{BoxError, is_caused_by};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower::{Layer, Service, service_fn};

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

/// A sequence that looks random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn b13_b22_the_books_balance_after_a_storm() {
    const THREADS: u64 = 4;
    const CALLS: u64 = 40_000;
    let trip = Trip::consecutive(3)
        .or(Trip::ratio(0.6).over(Duration::from_secs(1)).min_calls(10))
        .or(Trip::ratio(0.7).over_calls(9));
    let layer = BreakerLayer::builder()
        .key(|request: &(u64, bool)| &request.0)
        .trip(trip)
        .open_for(OpenFor::new(Duration::from_millis(1)))
        .close_after(1)
        .max_keys(30)
        .idle(Duration::from_millis(5))
        .max_open_share(0.5)
        .build()
        .unwrap();
    let reached = AtomicU64::new(0);
    let outcomes: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=THREADS)
            .map(|seed| {
                let (layer, reached) = (&layer, &reached);
                scope.spawn(move || {
                    let handle = layer.handle();
                    let mut service = layer.layer(service_fn(|(_, good): (u64, bool)| {
                        reached.fetch_add(1, Ordering::Relaxed);
                        async move { if good { Ok(()) } else { Err(BoxError::from("refused")) } }
                    }));
                    let mut dice = Dice(seed * 0x9e37_79b9);
                    let (mut through, mut rejected) = (0, 0);
                    for call in 0..CALLS {
                        let key = dice.below(40);
                        match dice.below(1_000) {
                            0 => drop(handle.remove(&key)),
                            1 => drop(handle.set_mode(&key, Mode::ForcedOpen)),
                            2 | 3 => drop(handle.set_mode(&key, Mode::Normal)),
                            4 => drop(handle.snapshot()),
                            5 => drop(handle.expire_idle()),
                            6 => drop(handle.reset(&key)),
                            _ => {}
                        }
                        // Ten keys are down most of the time.
                        let good = key >= 10 || dice.below(10) == 0;
                        now(poll_fn(|cx| service.poll_ready(cx))).unwrap();
                        let response = service.call((key, good));
                        if call % 50 == 0 {
                            drop(response);
                            through += 1;
                            continue;
                        }
                        match now(response) {
                            Err(error) if is_caused_by::<CircuitOpen>(&*error) => rejected += 1,
                            Ok(()) | Err(_) => through += 1,
                        }
                        assert!(handle.len() <= 30);
                    }
                    (through, rejected)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let through: u64 = outcomes.iter().map(|outcome| outcome.0).sum();
    let rejected: u64 = outcomes.iter().map(|outcome| outcome.1).sum();
    assert_eq!(through + rejected, THREADS * CALLS);
    assert!(rejected > 0);

    let handle = layer.handle();
    let snapshot = handle.snapshot();
    assert_eq!(snapshot.keys.len(), handle.len());
    // Dropped calls may have been rejections, which never reached the inner service.
    assert!(reached.load(Ordering::Relaxed) <= through);

    // The guard's count is the sum of the states, once no thread is at work; a forced key counts as closed.
    handle.set_mode_of_all(Mode::Normal);
    let tripped = |state| matches!(state, State::Open | State::HalfOpen);
    let snapshot = handle.snapshot();
    let overflow = snapshot.overflow.unwrap().status;
    let open =
        snapshot.keys.iter().map(|key| &key.status).chain([&overflow]).filter(|status| tripped(status.state)).count();
    assert_eq!(snapshot.open, open);
    handle.reset_all();
    assert_eq!(handle.open(), 0);
    for key in handle.snapshot().keys {
        assert!(handle.remove(&key.key));
    }
    assert!(handle.is_empty());
}
