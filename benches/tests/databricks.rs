//! The telemetry of a driver that is switched off allocates nothing. Alone in its process: it counts what every thread does.

use forebay_benches::{
    alloc::{Allocated, count},
    driver::{connection, statement},
};
use std::hint::black_box;

#[tokio::test]
async fn telemetry_that_is_switched_off_allocates_nothing() {
    let (off, on) = (connection(false).await, connection(true).await);
    assert!(!off.is_enabled() && on.is_enabled());
    let ((), allocated) = count(|| (0..100).for_each(|_| statement(black_box(&off))));
    assert_eq!(allocated, Allocated::default());
    // The count counts: with telemetry there is something to hold.
    let ((), allocated) = count(|| statement(black_box(&on)));
    assert!(allocated.allocations > 0, "{allocated:?}");
}
