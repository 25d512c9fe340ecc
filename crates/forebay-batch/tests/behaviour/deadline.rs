//! A batch closes in time for its deadlines, and what cannot meet its own is not sent.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{BatchBuilder, BatchLayer, Batching, Deadline, DropReason, Expired, Fate, Items, Settlement};
use forebay_core::{Advice, BoxError, Verdict, is_caused_by, time::FAR};
use forebay_testkit::Probe;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt};

/// A query, and until when its response is worth anything.
type Query = (u32, Option<Deadline>);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A query with so many milliseconds.
fn query(number: u32, millis: u64) -> Query {
    (number, Some(Deadline::at(Instant::now() + ms(millis))))
}

/// Batches of up to ten, open for ten seconds; each caller gets its own element.
fn layer() -> BatchBuilder<Query> {
    let batching = Batching::new().max_items(10).max_delay(ms(10_000));
    BatchLayer::builder().batching(batching).deadline(|query: &Query| query.1)
}

/// When each batch came, in milliseconds, and which queries were in it.
type Seen = Arc<Mutex<Vec<(u128, Vec<u32>)>>>;

fn note(seen: &Seen, begin: Instant, queries: &[Query]) -> Vec<u32> {
    let numbers: Vec<_> = queries.iter().map(|query| query.0).collect();
    seen.lock().unwrap().push((begin.elapsed().as_millis(), numbers.clone()));
    numbers
}

fn expired(error: &BoxError) {
    assert!(is_caused_by::<Expired>(&**error), "{error}");
    let verdict = Verdict::of(&**error).unwrap();
    assert_eq!((verdict.reason(), verdict.advice()), (DropReason::Expired, Advice::Never), "a 504 to an HTTP client");
}

#[tokio::test(start_paused = true)]
async fn d06_a_batch_closes_when_half_of_the_time_of_its_hastiest_item_has_passed() {
    let (seen, begin) = (Seen::default(), Instant::now());
    let log = Arc::clone(&seen);
    let server =
        service_fn(move |queries: Vec<Query>| std::future::ready(Ok::<_, BoxError>(note(&log, begin, &queries))));
    let batch = layer().respond_per_item().build().unwrap().layer(server);
    // Alone it would stay open for ten seconds, and with a deadline in thirty seconds no less.
    let mut calls = vec![tokio::spawn(batch.clone().oneshot((1, None)))];
    calls.push(tokio::spawn(batch.clone().oneshot(query(2, 30_000))));
    sleep(ms(100)).await;
    // Half of 800 ms from here; a later one with more time changes nothing.
    calls.push(tokio::spawn(batch.clone().oneshot(query(3, 800))));
    calls.push(tokio::spawn(batch.clone().oneshot(query(4, 2000))));
    calls.push(tokio::spawn(batch.clone().oneshot((5, Some(Deadline::at(Instant::now() + FAR))))));
    for (call, number) in calls.into_iter().zip(1..) {
        assert_eq!(call.await.unwrap().unwrap(), number);
    }
    assert_eq!(*seen.lock().unwrap(), [(500, vec![1, 2, 3, 4, 5])]);
    // Without a deadline the delay counts.
    let begin = Instant::now();
    assert_eq!(batch.clone().oneshot((6, None)).await.unwrap(), 6);
    assert_eq!(begin.elapsed(), ms(10_000));
}

#[tokio::test(start_paused = true)]
async fn d06_an_item_whose_deadline_has_passed_is_not_sent_and_the_others_of_its_batch_are() {
    let (seen, begin) = (Seen::default(), Instant::now());
    let log = Arc::clone(&seen);
    let server = service_fn(move |queries: Vec<Query>| {
        let numbers = note(&log, begin, &queries);
        async move {
            sleep(ms(1000)).await;
            Ok::<_, BoxError>(numbers)
        }
    });
    let batch = layer().batching(Batching::new().max_items(2).max_delay(ms(10))).respond_per_item().build().unwrap();
    let batch = batch.layer(server);
    let handle = batch.handle();
    // One batch is in flight for a second; meanwhile two others wait, of which three items become too late.
    let queries = [(1, None), (2, None), query(3, 999), query(4, 1500), query(5, 500), query(6, 600)];
    let calls = queries.map(|query| tokio::spawn(batch.clone().oneshot(query)));
    let mut ends = Vec::new();
    for call in calls {
        ends.push(call.await.unwrap());
    }
    assert_eq!(*seen.lock().unwrap(), [(0, vec![1, 2]), (1000, vec![4])]);
    assert_eq!([0, 1, 3].map(|index: usize| *ends[index].as_ref().unwrap()), [1, 2, 4]);
    [2, 4, 5].iter().for_each(|index: &usize| expired(ends[*index].as_ref().unwrap_err()));
    let totals = handle.totals();
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Expired), totals.pending), (3, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn d06_a_batch_waits_for_an_inner_service_that_is_not_ready_until_its_deadline() {
    let probe = Probe::<Vec<Query>, ()>::with_slots(1, |_| std::future::ready(Ok(())));
    // Another user of the server holds its only slot.
    let mut other = probe.clone();
    std::future::poll_fn(|cx| other.poll_ready(cx)).await.unwrap();
    let watch = probe.watch();
    let batch = layer().build().unwrap().layer(probe);
    let begin = Instant::now();
    expired(&batch.clone().oneshot(query(1, 50)).await.unwrap_err());
    assert_eq!((begin.elapsed(), watch.calls()), (ms(50), 0));
    drop(other);
    batch.oneshot((2, None)).await.unwrap();
    assert_eq!(watch.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn d06_a_batch_that_was_sent_goes_again_as_it_was_unless_it_is_too_late_for_all_of_it() {
    let (seen, begin) = (Seen::default(), Instant::now());
    let log = Arc::clone(&seen);
    let server = service_fn(move |queries: Items<Query>| {
        let _numbers = note(&log, begin, &queries);
        std::future::ready(Err::<(), BoxError>("away".into()))
    });
    let settle = |result: &Result<(), BoxError>, _: usize| match result {
        Ok(()) => Settlement::All(Fate::Delivered),
        Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
    };
    let batching = Batching::new().max_items(2).max_delay(ms(10));
    let layer = layer().batching(batching).retain_items().settle(settle).park_backoff([ms(1000); 9]);
    let batch = layer.build().unwrap().layer(server);
    let handle = batch.handle();
    let calls = [query(1, 1500), query(2, 3500)].map(|query| tokio::spawn(batch.clone().oneshot(query)));
    for call in calls {
        expired(&call.await.unwrap().unwrap_err());
    }
    let sent: Vec<_> = [0, 1000, 2000, 3000].map(|at| (at, vec![1, 2])).into();
    assert_eq!(*seen.lock().unwrap(), sent);
    assert_eq!((handle.totals().dropped.get(DropReason::Expired), handle.totals().pending), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn f18_a_deadline_function_that_panics_gives_none_and_is_counted() {
    let layer = BatchLayer::builder().batching(Batching::new().max_delay(ms(10))).deadline(|query: &Query| {
        assert!(query.0 != 1, "the function panics");
        query.1
    });
    let batch = layer.build().unwrap().layer(service_fn(|_: Vec<Query>| std::future::ready(Ok::<_, BoxError>(()))));
    let handle = batch.handle();
    batch.oneshot(query(1, 0)).await.unwrap();
    assert_eq!((handle.totals().delivered, handle.closure_panics()), (1, 1));
}
