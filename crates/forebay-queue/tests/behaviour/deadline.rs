//! What cannot meet its deadline is not worked on.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{Advice, BoxError, Deadline, DropReason, Fate, Settlement, Verdict, time::FAR};
use forebay_queue::{Expired, QueueBuilder, QueueLayer};
use forebay_testkit::Probe;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

/// A request, and until when it is worth anything.
type Job = (u32, Option<Deadline>);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A job with so many milliseconds.
fn job(number: u32, millis: u64) -> Job {
    (number, Some(Deadline::at(Instant::now() + ms(millis))))
}

fn queue() -> QueueBuilder<Job, fn(&Job) -> usize> {
    let weigh: fn(&Job) -> usize = |_| 1;
    QueueLayer::builder().workers(1).weigh(weigh).deadline(|job: &Job| job.1)
}

/// The numbers of the jobs that the server has seen.
type Seen = Arc<Mutex<Vec<u32>>>;

fn expired(error: &BoxError) {
    assert!(error.is::<Expired>(), "{error}");
    let verdict = Verdict::of(&**error).unwrap();
    assert_eq!((verdict.reason(), verdict.advice()), (DropReason::Expired, Advice::Never), "a 504 to an HTTP client");
}

#[tokio::test(start_paused = true)]
async fn d06_a_job_whose_deadline_passes_in_the_queue_is_dropped_and_its_caller_knows() {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let server = service_fn(move |(number, _): Job| {
        log.lock().unwrap().push(number);
        async move {
            sleep(ms(100)).await;
            Ok::<_, BoxError>(number)
        }
    });
    let queue = queue().build().unwrap().layer(server);
    let handle = queue.handle();
    // The first one runs beyond its deadline, since the server has begun it; the second one never starts.
    let jobs = [job(1, 50), job(2, 99), job(3, 150), (4, None)];
    let calls = jobs.map(|job| tokio::spawn(queue.clone().oneshot(job)));
    let mut ends = Vec::new();
    for call in calls {
        ends.push(call.await.unwrap());
    }
    assert_eq!((*ends[0].as_ref().unwrap(), *ends[2].as_ref().unwrap(), *ends[3].as_ref().unwrap()), (1, 3, 4));
    expired(ends[1].as_ref().unwrap_err());
    assert_eq!(*seen.lock().unwrap(), [1, 3, 4]);
    let totals = handle.totals();
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Expired), totals.pending), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn d06_a_job_waits_for_an_inner_service_that_is_not_ready_until_its_deadline() {
    let probe = Probe::<Job, u32>::with_slots(1, |(number, _)| async move { Ok(number) });
    // Another user of the server holds its only slot.
    let mut other = probe.clone();
    std::future::poll_fn(|cx| other.poll_ready(cx)).await.unwrap();
    let watch = probe.watch();
    let queue = queue().build().unwrap().layer(probe);
    let begin = Instant::now();
    expired(&queue.clone().oneshot(job(1, 50)).await.unwrap_err());
    assert_eq!((begin.elapsed(), watch.calls()), (ms(50), 0));
    // The worker is free for the next one.
    let next = tokio::spawn(queue.clone().oneshot((2, Some(Deadline::at(Instant::now() + FAR)))));
    sleep(ms(1000)).await;
    drop(other);
    assert_eq!(next.await.unwrap().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn d06_no_job_is_parked_for_an_attempt_beyond_its_deadline() {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let server = service_fn(move |(number, _): Job| {
        log.lock().unwrap().push(number);
        std::future::ready(Err::<u32, BoxError>("away".into()))
    });
    let settle = |result: &Result<u32, BoxError>, _: usize| match result {
        Ok(_) => Settlement::All(Fate::Delivered),
        Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
    };
    let queue = queue().settle(settle).park_backoff([ms(1000); 3]).build().unwrap().layer(server);
    let handle = queue.handle();
    let begin = Instant::now();
    // One attempt fits, and a second one a second later would begin at the deadline.
    let error = queue.clone().oneshot(job(1, 2000)).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), begin.elapsed()),
        ("away", ms(1000)),
        "its own result, and no wait for nothing"
    );
    assert_eq!(*seen.lock().unwrap(), [1, 1]);
    queue.clone().oneshot(job(2, 1000)).await.unwrap_err();
    assert_eq!(*seen.lock().unwrap(), [1, 1, 2]);
    assert_eq!((handle.totals().dropped.get(DropReason::RetriesExhausted), handle.totals().pending), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn d06_a_shared_queue_obeys_deadlines_too_and_a_panic_of_the_function_gives_none() {
    let weigh: fn(&Job) -> usize = |_| 1;
    let deadline = |job: &Job| {
        assert!(job.0 != 9, "the function panics");
        job.1
    };
    let layer = QueueLayer::builder().workers(1).weigh(weigh).deadline(deadline).shared().unwrap();
    let service = layer.layer(service_fn(|(number, _): Job| async move {
        sleep(ms(100)).await;
        Ok::<_, BoxError>(number)
    }));
    let first = tokio::spawn(service.clone().oneshot((1, None)));
    tokio::task::yield_now().await;
    expired(&service.clone().oneshot(job(2, 99)).await.unwrap_err());
    assert_eq!(first.await.unwrap().unwrap(), 1);
    assert_eq!(service.oneshot(job(9, 0)).await.unwrap(), 9);
}
