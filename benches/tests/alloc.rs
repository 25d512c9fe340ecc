//! The counting allocator counts. Alone in its process: it counts what every thread does.

use forebay_benches::alloc::{Allocated, count};
use std::{hint::black_box, thread};

#[test]
fn every_thread_is_counted_and_nothing_outside() {
    let ((), allocated) = count(|| {
        drop(black_box(vec![1_u8; 1000]));
        thread::spawn(|| drop(black_box(vec![1_u8; 5000]))).join().unwrap();
    });
    assert!(allocated.allocations >= 2 && allocated.bytes >= 6000, "{allocated:?}");
    drop(black_box(vec![1_u8; 1000]));
    let ((), allocated) = count(|| {});
    assert_eq!(allocated, Allocated::default());
}
