//! A circuit around an operation that is no service.

use crate::far::*;
use forebay_breaker::{BreakerLayer, CircuitOpen, OpenFor, RunError, State, Trip};
use forebay_core::{DropReason, Seen, Verdict, cause_ref};
use futures_util::FutureExt;
use std::{cell::Cell, future::pending, io, panic::AssertUnwindSafe};

async fn refused() -> Result<u32, io::Error> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

async fn seven() -> Result<u32, io::Error> {
    Ok(7)
}

fn minute() -> OpenFor {
    OpenFor::new(secs(60)).jitter(0.0)
}

#[tokio::test(start_paused = true)]
async fn b01_b03_b05_an_operation_without_a_service_has_the_same_circuit() {
    let breaker = BreakerLayer::builder().trip(Trip::consecutive(3)).open_for(minute()).close_after(1).build().unwrap();
    let started = Cell::new(0);
    for _ in 0..3 {
        let failed = breaker.run(|| {
            started.set(started.get() + 1);
            refused()
        });
        // The error is the operation's own, not a box.
        assert!(
            matches!(failed.await, Err(RunError::Failed(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
        );
    }
    let rejected = breaker.run(|| {
        started.set(started.get() + 1);
        seven()
    });
    let error = rejected.await.unwrap_err();
    assert_eq!(started.get(), 3, "it was not started");
    let open = cause_ref::<CircuitOpen>(&error).unwrap();
    assert_eq!((open.state(), open.retry_in()), (State::Open, secs(60)));
    let verdict = Verdict::of(&error).unwrap();
    assert_eq!((verdict.reason(), verdict.seen()), (DropReason::CircuitOpen, Seen::No));
    forebay_testkit::laws::error_chain_has_one_link_per_sentence(&error);

    wait(secs(60)).await;
    assert_eq!(breaker.run(seven).await.unwrap(), 7);
    assert_eq!(breaker.handle().state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn b08_an_operation_that_is_dropped_or_panics_gives_its_permit_back() {
    let breaker = BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(minute()).close_after(1).build().unwrap();
    assert!(breaker.run(refused).await.is_err());
    for _ in 0..10 {
        wait(secs(60)).await;
        let mut hung = tokio_test::task::spawn(breaker.run(pending::<Result<u32, io::Error>>));
        poll_pending(&mut hung);
        assert!(matches!(breaker.run(seven).await, Err(RunError::Open(_))));
        drop(hung);
        wait(secs(60)).await;
        let panics = breaker.run(|| -> std::future::Ready<Result<u32, io::Error>> { panic!("it does not even begin") });
        assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
    }
    assert_eq!(breaker.run(seven).await.unwrap(), 7, "an operation that never began is no news of the server");
    assert_eq!(breaker.handle().state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn b12_each_key_has_a_circuit_of_its_own() {
    let breaker =
        BreakerLayer::builder().key(|host: &String| host.as_str()).trip(Trip::consecutive(1)).build().unwrap();
    assert!(matches!(breaker.run_for("down", refused).await, Err(RunError::Failed(_))));
    let error = breaker.run_for("down", seven).await.unwrap_err();
    assert_eq!(cause_ref::<CircuitOpen>(&error).unwrap().key(), "down");
    assert_eq!(breaker.run_for("up", seven).await.unwrap(), 7);
    assert_eq!((breaker.handle().state("down"), breaker.handle().state("up")), (State::Open, State::Closed));
}
