//! When batches close, what each caller gets, and what a failure costs.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{Batch, BatchFailed, BatchHandle, BatchLayer, Batching, Items, Misaligned, Offer, Unmatched};
use forebay_core::{
    Advice, BoxError, DropReason, Fate, Priority, Seen, Settlement, SplitCause, Totals, Verdict, is_caused_by,
};
use forebay_intake::{Limits, Overflow, Panicked};
use forebay_testkit::{Probe, Watch, laws};
use std::{
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::advance};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

fn batching() -> Batching {
    Batching::new().max_items(4).max_delay(5 * SECOND)
}

/// Batches as the inner service saw them.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Vec<u32>>>>);

impl Log {
    fn note(&self, items: &[u32]) {
        self.0.lock().unwrap().push(items.to_vec());
    }

    fn batches(&self) -> Vec<Vec<u32>> {
        self.0.lock().unwrap().clone()
    }
}

/// A batcher over a service that notes what it gets and takes it at once.
fn noting(batching: Batching) -> (Batch<u32, usize>, Log) {
    let log = Log::default();
    let inner = log.clone();
    let layer = BatchLayer::builder().batching(batching).build().unwrap();
    let batch = layer.layer(service_fn(move |items: Vec<u32>| {
        inner.note(&items);
        ready(Ok::<_, BoxError>(items.len()))
    }));
    (batch, log)
}

/// A batcher over a service that waits for a permit before it takes a batch.
fn gated(batching: Batching) -> (Batch<u32, usize>, Log, Arc<Semaphore>) {
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let (inner, inner_gate) = (log.clone(), Arc::clone(&gate));
    let layer = BatchLayer::builder().batching(batching).build().unwrap();
    let batch = layer.layer(service_fn(move |items: Vec<u32>| {
        inner.note(&items);
        let gate = Arc::clone(&inner_gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, BoxError>(items.len())
        }
    }));
    (batch, log, gate)
}

fn emit<A>(batch: &Batch<u32, A>, items: impl IntoIterator<Item = u32>) {
    items.into_iter().for_each(|item| batch.emit(item).unwrap());
}

async fn settle_down() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn totals(handle: &BatchHandle<u32>) -> Totals {
    let totals = handle.totals();
    assert!(totals.balance(), "{totals}");
    totals
}

#[tokio::test(start_paused = true)]
async fn t01_a_batch_closes_at_its_size() {
    let (batch, log) = noting(batching());
    emit(&batch, 0..3);
    settle_down().await;
    assert!(log.batches().is_empty());
    emit(&batch, 3..9);
    settle_down().await;
    assert_eq!(log.batches(), [vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
    assert_eq!((totals(&batch.handle()).delivered, totals(&batch.handle()).pending), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn t02_a_batch_closes_when_its_first_item_is_old_enough() {
    let (batch, log) = noting(batching());
    emit(&batch, [1]);
    settle_down().await;
    advance(4 * SECOND).await;
    emit(&batch, [2]);
    settle_down().await;
    advance(Duration::from_millis(999)).await;
    settle_down().await;
    assert!(log.batches().is_empty());
    advance(Duration::from_millis(2)).await;
    settle_down().await;
    assert_eq!(log.batches(), [vec![1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn t03_t15_an_idle_batcher_sends_nothing_and_is_never_polled() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let layer = BatchLayer::builder().batching(batching()).build().unwrap();
    let (batch, mut worker) = layer.pair(service_fn(|_: Vec<u32>| async { Ok::<_, BoxError>(()) }));
    tokio::spawn(std::future::poll_fn(move |cx| {
        counted.fetch_add(1, SeqCst);
        std::pin::Pin::new(&mut worker).poll(cx)
    }));
    emit(&batch, 0..4);
    batch.handle().flush().await;
    settle_down().await;
    let before = polls.load(SeqCst);
    for _ in 0..600 {
        advance(SECOND).await;
    }
    assert_eq!(polls.load(SeqCst), before, "ten virtual minutes of nothing");
}

#[tokio::test(start_paused = true)]
async fn t04_bursts_do_not_starve_the_tail() {
    let (batch, log) = noting(batching());
    // Every 3 s a burst of 5: one batch by size, and a tail of 1 that must not wait for more than 5 s.
    for burst in 0..3 {
        emit(&batch, burst * 10..burst * 10 + 5);
        settle_down().await;
        advance(3 * SECOND).await;
        settle_down().await;
    }
    assert_eq!(
        log.batches(),
        [vec![0, 1, 2, 3], vec![4, 10, 11, 12], vec![13, 14, 20, 21]],
        "each tail is taken along by the next burst"
    );
    advance(3 * SECOND).await;
    settle_down().await;
    assert_eq!(log.batches()[3], [22, 23, 24]);
}

#[tokio::test(start_paused = true)]
async fn t05_items_that_arrive_mid_flight_go_as_soon_as_it_lands() {
    let (batch, log, gate) = gated(batching());
    emit(&batch, 0..4);
    settle_down().await;
    emit(&batch, 4..13);
    settle_down().await;
    assert_eq!(log.batches().len(), 1, "single flight");
    gate.add_permits(2);
    settle_down().await;
    assert_eq!(log.batches(), [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9, 10, 11]]);
    gate.add_permits(9);
    advance(6 * SECOND).await;
    settle_down().await;
    assert_eq!(log.batches()[3], [12]);
}

#[tokio::test(start_paused = true)]
async fn t06_no_request_is_above_the_limits() {
    let log = Log::default();
    let inner = log.clone();
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(100).max_bytes(10))
        .weigh(|item: &u32| *item as usize)
        .build()
        .unwrap();
    let batch = layer.layer(service_fn(move |items: Vec<u32>| {
        inner.note(&items);
        ready(Ok::<_, BoxError>(()))
    }));
    emit(&batch, [4, 4, 4, 6, 25, 3, 7, 1]);
    batch.handle().flush().await;
    assert_eq!(
        log.batches(),
        [vec![4, 4], vec![4, 6], vec![25], vec![3, 7], vec![1]],
        "an item above the limit is sent alone"
    );
}

#[tokio::test(start_paused = true)]
async fn t07_some_items_are_not_kept_waiting() {
    let log = Log::default();
    let inner = log.clone();
    let service = service_fn(move |items: Vec<u32>| {
        inner.note(&items);
        ready(Ok::<_, BoxError>(()))
    });
    let builder = BatchLayer::builder().priority(|item| if *item >= 100 { Priority::High } else { Priority::Normal });
    let now = builder.batching(batching().close_on_high(true)).flush_when(|item: &u32| *item == 7);
    let batch = now.build().unwrap().layer(service);
    emit(&batch, [1, 7, 2, 100, 3]);
    settle_down().await;
    assert_eq!(log.batches(), [vec![2, 100], vec![1, 7]], "both at once, the more important first");
    batch.emit(Offer::new(4).priority(Priority::High)).unwrap();
    settle_down().await;
    assert_eq!(log.batches()[2], [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn q13_what_holds_high_priority_overtakes_the_backlog() {
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let (inner, inner_gate) = (log.clone(), Arc::clone(&gate));
    let layer = BatchLayer::builder()
        .batching(batching())
        .priority(|item| if *item >= 100 { Priority::High } else { Priority::Normal })
        .build()
        .unwrap();
    let batch = layer.layer(service_fn(move |items: Vec<u32>| {
        inner.note(&items);
        let gate = Arc::clone(&inner_gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, BoxError>(())
        }
    }));
    emit(&batch, 0..12);
    settle_down().await;
    emit(&batch, [100]);
    gate.add_permits(10);
    settle_down().await;
    assert_eq!(log.batches(), [vec![0, 1, 2, 3], vec![100], vec![4, 5, 6, 7], vec![8, 9, 10, 11]]);
}

#[tokio::test(start_paused = true)]
async fn t08_t10_close_waits_for_what_is_in_flight_then_sends_the_rest() {
    let (batch, log, gate) = gated(batching());
    emit(&batch, 0..6);
    settle_down().await;
    let handle = batch.handle();
    let mut first = task::spawn(handle.drain(60 * SECOND));
    let mut second = task::spawn(handle.drain(60 * SECOND));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_eq!(batch.emit(9).unwrap_err().reason, DropReason::Shutdown);
    gate.add_permits(1);
    settle_down().await;
    assert_eq!(log.batches(), [vec![0, 1, 2, 3], vec![4, 5]]);
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    gate.add_permits(1);
    settle_down().await;
    assert!(first.is_woken() && second.is_woken());
    assert_eq!(assert_ready!(first.poll()).totals.delivered, 6);
    assert_eq!(assert_ready!(second.poll()).totals.pending, 0);
}

#[tokio::test(start_paused = true)]
async fn t09_a_close_ends_at_its_deadline_and_hands_back_what_it_can() {
    let layer = BatchLayer::builder().batching(batching()).retain_items().build().unwrap();
    let batch = layer.layer(Probe::<Items<u32>, ()>::hanging());
    let mut reply = task::spawn(batch.clone().oneshot(0));
    assert_pending!(reply.poll());
    emit(&batch, 1..10);
    settle_down().await;
    let start = tokio::time::Instant::now();
    let mut report = batch.handle().drain(5 * SECOND).await;
    assert!(start.elapsed() <= Duration::from_millis(5025), "{:?}", start.elapsed());
    report.unsent.sort_unstable();
    assert_eq!(report.unsent, (0..10).collect::<Vec<_>>(), "those in flight too, for they were retained");
    assert_eq!((report.totals.dropped.get(DropReason::Shutdown), report.totals.pending), (10, 0));
    let error = assert_ready!(reply.poll()).unwrap_err();
    assert_eq!(Verdict::of(&*error).unwrap().seen(), Seen::Maybe);
}

#[tokio::test(start_paused = true)]
async fn t13_a_failed_a_panicking_and_a_never_ready_service_cost_their_own_batch() {
    let calls = Arc::new(AtomicUsize::new(0));
    let inner_calls = Arc::clone(&calls);
    let layer = BatchLayer::builder().batching(batching()).build().unwrap();
    let batch = layer.layer(service_fn(move |items: Vec<u32>| {
        let call = inner_calls.fetch_add(1, SeqCst);
        assert!(call != 1, "in call");
        async move {
            match call {
                0 => Err(BoxError::from("down")),
                2 => panic!("in the future"),
                _ => Ok(items.len()),
            }
        }
    }));
    let mut replies: Vec<_> = (0..4).map(|n| tokio::spawn(batch.clone().oneshot(n))).collect();
    settle_down().await;
    batch.handle().flush().await;
    let failed = replies.remove(0).await.unwrap().unwrap_err();
    assert!(failed.is::<BatchFailed>());
    laws::error_chain_has_one_link_per_sentence(&*failed);
    emit(&batch, 4..8);
    emit(&batch, 8..12);
    let reply = tokio::spawn(batch.clone().oneshot(12));
    batch.handle().flush().await;
    settle_down().await;
    batch.handle().flush().await;
    assert_eq!(reply.await.unwrap().unwrap(), 1);
    let totals = totals(&batch.handle());
    assert_eq!((totals.dropped.get(DropReason::Failed), totals.dropped.get(DropReason::Panicked)), (4, 8));
    assert_eq!((totals.delivered, totals.pending), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn t13_a_service_that_is_never_ready_costs_the_batch_that_waited_for_it() {
    let slots = Arc::new(AtomicUsize::new(0));
    #[derive(Clone)]
    struct Busy(Arc<AtomicUsize>);
    impl Service<Vec<u32>> for Busy {
        type Response = ();
        type Error = BoxError;
        type Future = std::future::Ready<Result<(), BoxError>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
            // No task is woken, on purpose.
            if self.0.load(SeqCst) > 0 { std::task::Poll::Ready(Ok(())) } else { std::task::Poll::Pending }
        }

        fn call(&mut self, _: Vec<u32>) -> Self::Future {
            ready(Ok(()))
        }
    }
    let layer = BatchLayer::builder().batching(batching()).ready_timeout(10 * SECOND).build().unwrap();
    let batch = layer.layer(Busy(Arc::clone(&slots)));
    let reply = tokio::spawn(batch.clone().oneshot(0));
    settle_down().await;
    emit(&batch, 1..4);
    settle_down().await;
    advance(10 * SECOND + Duration::from_millis(1)).await;
    let error = reply.await.unwrap().unwrap_err();
    laws::error_chain_has_one_link_per_sentence(&*error);
    assert_eq!(Verdict::of(&*error).unwrap().seen(), Seen::No);
    slots.store(1, SeqCst);
    emit(&batch, 4..8);
    batch.handle().flush().await;
    assert_eq!((totals(&batch.handle()).delivered, totals(&batch.handle()).dropped.total()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn t14_dropping_every_handle_sends_the_last_partial_batch() {
    let (batch, log) = noting(batching());
    let handle = batch.handle();
    emit(&batch, 0..6);
    let clone = batch.clone();
    drop(batch);
    emit(&clone, [6]);
    drop(clone);
    settle_down().await;
    assert_eq!(log.batches(), [vec![0, 1, 2, 3], vec![4, 5, 6]]);
    assert_eq!(totals(&handle).pending, 0);
}

#[tokio::test(start_paused = true)]
async fn t12_q07_what_is_lost_with_the_worker_is_counted_and_its_callers_get_an_error() {
    let layer = BatchLayer::builder().batching(batching()).build().unwrap();
    let (batch, worker) = layer.pair(Probe::<Vec<u32>, ()>::hanging());
    let worker = tokio::spawn(worker);
    let mut replies: Vec<_> = (0..6).map(|n| task::spawn(batch.clone().oneshot(n))).collect();
    replies.iter_mut().for_each(|reply| assert_pending!(reply.poll()));
    settle_down().await;
    worker.abort();
    settle_down().await;
    for (reply, seen) in replies.iter_mut().zip([Seen::Maybe; 4].into_iter().chain([Seen::No; 2])) {
        assert_eq!(Verdict::of(&*assert_ready!(reply.poll()).unwrap_err()).unwrap().seen(), seen);
    }
    assert_eq!(batch.emit(7).unwrap_err().reason, DropReason::Shutdown);
    let totals = totals(&batch.handle());
    assert_eq!((totals.dropped.get(DropReason::Shutdown), totals.pending, batch.handle().bytes()), (7, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn each_caller_gets_the_response_or_its_own_part_of_it() {
    let (batch, _) = noting(batching());
    let shared = (0..4).map(|n| tokio::spawn(batch.clone().oneshot(n)));
    for reply in shared.collect::<Vec<_>>() {
        assert_eq!(reply.await.unwrap().unwrap(), 4);
    }

    let layer = BatchLayer::builder().batching(batching()).respond_per_item().build().unwrap();
    let lookup = layer.layer(service_fn(|keys: Vec<u32>| {
        let found: Vec<_> = keys.iter().map(|key| format!("#{key}")).collect();
        ready(Ok::<_, BoxError>(found))
    }));
    let replies: Vec<_> = (0..4).map(|n| tokio::spawn(lookup.clone().oneshot(n))).collect();
    for (n, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.await.unwrap().unwrap(), format!("#{n}"));
    }

    let layer = BatchLayer::builder().batching(batching()).respond_fates().build().unwrap();
    let fates = layer.layer(service_fn(|_: Vec<u32>| ready(Err::<(), _>(BoxError::from("no")))));
    let reply = tokio::spawn(fates.clone().oneshot(1));
    settle_down().await;
    fates.handle().flush().await;
    assert_eq!(reply.await.unwrap().unwrap(), Fate::Dropped(DropReason::Failed));
}

#[tokio::test(start_paused = true)]
async fn f04_another_number_of_elements_than_items_fails_every_caller() {
    for elements in [0, 1, 3, 5, 400, usize::MAX] {
        let layer = BatchLayer::builder().batching(batching()).respond_per_item().build().unwrap();
        let lookup = layer.layer(service_fn(move |_: Vec<u32>| {
            // A store without the first row, say: the second row is not the first one's.
            ready(Ok::<_, BoxError>(std::iter::repeat_n("the secret of another", elements)))
        }));
        let replies: Vec<_> = (0..4).map(|n| tokio::spawn(lookup.clone().oneshot(n))).collect();
        for reply in replies {
            let error = reply.await.unwrap().unwrap_err();
            let misaligned = error.downcast_ref::<Misaligned>().unwrap();
            assert_eq!((misaligned.items, misaligned.elements), (4, elements.min(4 + 65_536)));
            let verdict = Verdict::of(&*error).unwrap();
            assert_eq!((verdict.seen(), verdict.advice()), (Seen::Yes, Advice::Never));
        }
    }
}

/// A batcher over a store that notes the keys it is asked for, and gives what `rows` makes of them.
fn keyed<I>(rows: impl Fn(Vec<u32>) -> I + Send + 'static) -> (Batch<u32, Option<(u32, char)>>, Log)
where
    I: IntoIterator<Item = (u32, char)> + Send + 'static,
{
    let log = Log::default();
    let inner = log.clone();
    let layer = BatchLayer::builder().batching(batching());
    let layer = layer.respond_per_key(|key: &u32| *key, |(key, _): &(u32, char)| *key).build().unwrap();
    let batch = layer.layer(service_fn(move |keys: Vec<u32>| {
        inner.note(&keys);
        ready(Ok::<_, BoxError>(rows(keys)))
    }));
    (batch, log)
}

#[tokio::test(start_paused = true)]
async fn f04_a_keyed_element_reaches_its_key_only_and_equal_keys_are_one_lookup() {
    // In another order, without key 7, and one lookup for the two callers of key 5.
    let (batch, log) = keyed(|keys| {
        let found = keys.into_iter().rev().filter(|key| *key != 7);
        found.map(|key| (key, char::from_digit(key, 36).unwrap())).collect::<Vec<_>>()
    });
    let asked = [5, 7, 9, 5];
    let replies: Vec<_> = asked.iter().map(|key| tokio::spawn(batch.clone().oneshot(*key))).collect();
    for (key, reply) in asked.into_iter().zip(replies) {
        let expected = (key != 7).then(|| (key, char::from_digit(key, 36).unwrap()));
        assert_eq!(reply.await.unwrap().unwrap(), expected);
    }
    assert_eq!(log.batches(), [[5, 7, 9]]);
    assert_eq!((batch.handle().totals().delivered, batch.handle().totals().pending), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn f04_a_keyed_element_that_belongs_to_no_item_fails_every_caller() {
    let (batch, _) = keyed(|keys| keys.into_iter().chain([8, 5]).map(|key| (key, 'x')));
    let replies: Vec<_> = [5, 6, 7, 5].map(|key| tokio::spawn(batch.clone().oneshot(key))).into();
    for reply in replies {
        let error = reply.await.unwrap().unwrap_err();
        assert!(is_caused_by::<Unmatched>(&*error));
        assert_eq!(Verdict::of(&*error).unwrap().seen(), Seen::Yes);
    }
}

/// Items that are split, narrowed and sent again return in other batches than those they were put into.
#[tokio::test(start_paused = true)]
async fn f04_a_keyed_batch_that_is_cut_and_sent_again_still_answers_by_key() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let layer = BatchLayer::builder()
        .batching(batching())
        .retain_items()
        .park_backoff(vec![SECOND; 3])
        .park_bytes(1 << 20)
        .split_budget(16)
        .settle(|result: &Result<Vec<Option<(u32, char)>>, BoxError>, _: usize| match result {
            Ok(_) => Settlement::All(Fate::Delivered),
            Err(error) if error.to_string() == "bad" => {
                Settlement::Split { cause: SplitCause::BadItem, otherwise: DropReason::Rejected }
            }
            Err(_) => Settlement::Retry { after: None, otherwise: DropReason::Failed },
        })
        .respond_per_key(|key: &u32| *key, |(key, _): &(u32, char)| *key)
        .build()
        .unwrap();
    let batch = layer.layer(service_fn(move |keys: Items<u32>| {
        let call = count.fetch_add(1, SeqCst);
        ready(match call {
            0 => Err(BoxError::from("away")),
            _ if keys.contains(&6) => Err(BoxError::from("bad")),
            _ => Ok(keys.iter().rev().map(|key| (*key, char::from_digit(*key, 36).unwrap())).collect::<Vec<_>>()),
        })
    }));
    let asked = [5, 6, 9, 5];
    let replies: Vec<_> = asked.iter().map(|key| tokio::spawn(batch.clone().oneshot(*key))).collect();
    for (key, reply) in asked.into_iter().zip(replies) {
        match reply.await.unwrap() {
            Ok(found) => assert_eq!(found, Some((key, char::from_digit(key, 36).unwrap()))),
            Err(_) => assert_eq!(key, 6),
        }
    }
    assert!(calls.load(SeqCst) > 3);
    let totals = batch.handle().totals();
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Rejected), totals.pending), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_type_of_your_own_is_a_closure_away() {
    let layer = BatchLayer::builder()
        .batching(batching())
        .into_request(|items: Vec<u32>| items.into_iter().collect::<std::collections::BTreeSet<_>>())
        .build()
        .unwrap();
    let batch = layer.layer(service_fn(|items: std::collections::BTreeSet<u32>| ready(Ok::<_, BoxError>(items.len()))));
    emit(&batch, [5, 5, 5]);
    assert_eq!(batch.clone().oneshot(6).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn flush_means_settled_and_waits_for_no_more_than_came_before() {
    let (batch, log, gate) = gated(batching());
    emit(&batch, 0..2);
    let handle = batch.handle();
    let mut flush = task::spawn(handle.flush());
    emit(&batch, 2..4);
    settle_down().await;
    assert_pending!(flush.poll());
    assert_eq!(log.batches(), [vec![0, 1]], "what waits for company is sent, what was handed over later is not");
    gate.add_permits(1);
    settle_down().await;
    assert_ready!(flush.poll());
    assert_eq!(totals(&batch.handle()).pending, 2);
}

#[tokio::test(start_paused = true)]
async fn max_in_flight_batches_are_under_way_at_a_time() {
    let (batch, log, gate) = gated(batching().max_in_flight(2));
    emit(&batch, 0..16);
    settle_down().await;
    assert_eq!(log.batches().len(), 2);
    gate.add_permits(1);
    settle_down().await;
    assert_eq!(log.batches().len(), 3);
    batch.handle().set_batching(batching().max_in_flight(9)).unwrap();
    settle_down().await;
    assert_eq!(log.batches().len(), 4);
    assert_eq!(batch.handle().set_batching(batching().max_items(0)).unwrap_err().knob(), "max_items");
}

#[tokio::test(start_paused = true)]
async fn items_of_each_key_go_together_and_few_batches_are_open() {
    type Keyed = (&'static str, u32);
    let log: Arc<Mutex<Vec<Vec<Keyed>>>> = Arc::default();
    let inner = Arc::clone(&log);
    let layer = BatchLayer::builder()
        .batching(batching())
        .partition_by(|item: &Keyed| item.0)
        .max_open_partitions(2)
        .build()
        .unwrap();
    let batch = layer.layer(service_fn(move |items: Vec<Keyed>| {
        inner.lock().unwrap().push(items);
        ready(Ok::<_, BoxError>(()))
    }));
    for item in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2), ("a", 3)] {
        batch.emit(item).unwrap();
    }
    settle_down().await;
    // "c" closes the oldest, "a"; the new "a" closes "b".
    assert_eq!(log.lock().unwrap()[..], [vec![("a", 1), ("a", 2)], vec![("b", 1), ("b", 2)]]);
    batch.handle().flush().await;
    assert_eq!(log.lock().unwrap()[2..], [vec![("c", 1)], vec![("a", 3)]]);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_make_room_where_asked_to() {
    let layer = BatchLayer::builder()
        .limits(Limits::new().items(6).soft_limit(1.0))
        .batching(batching().max_items(2))
        .overflow(Overflow::DropOldest)
        .build()
        .unwrap();
    let (batch, worker) = layer.pair(Probe::<Vec<u32>>::echo());
    let mut oldest = task::spawn(batch.clone().oneshot(0));
    assert_pending!(oldest.poll());
    emit(&batch, 1..8);
    let evicted = assert_ready!(oldest.poll()).unwrap_err();
    assert_eq!(Verdict::of(&*evicted).unwrap().reason(), DropReason::Evicted);
    let reply = tokio::spawn(batch.clone().oneshot(8));
    settle_down().await;
    tokio::spawn(worker);
    batch.handle().flush().await;
    assert_eq!(reply.await.unwrap().unwrap(), [8]);
    let totals = totals(&batch.handle());
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Evicted), totals.offered), (6, 3, 9));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waited_too_long_is_dropped_unseen() {
    let layer = BatchLayer::builder().batching(batching().max_items(2)).max_age(10 * SECOND).build().unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let (log, inner_gate) = (Log::default(), Arc::clone(&gate));
    let inner = log.clone();
    let batch = layer.layer(service_fn(move |items: Vec<u32>| {
        inner.note(&items);
        let gate = Arc::clone(&inner_gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, BoxError>(())
        }
    }));
    emit(&batch, 0..2);
    settle_down().await;
    emit(&batch, 2..4);
    settle_down().await;
    advance(11 * SECOND).await;
    emit(&batch, 4..6);
    gate.add_permits(3);
    batch.handle().flush().await;
    assert_eq!(log.batches(), [vec![0, 1], vec![4, 5]]);
    assert_eq!(totals(&batch.handle()).dropped.get(DropReason::Expired), 2);
}

#[tokio::test(start_paused = true)]
async fn waiting_callers_enter_when_a_batch_has_left() {
    let layer = BatchLayer::builder()
        .limits(Limits::new().items(2).soft_limit(1.0))
        .batching(batching().max_items(2))
        .overflow(Overflow::Wait)
        .build()
        .unwrap();
    let (batch, worker) = layer.pair(Probe::<Vec<u32>>::echo());
    emit(&batch, 0..2);
    let mut late = task::spawn(batch.emit_or_wait(2));
    assert_pending!(late.poll());
    let mut leaves = task::spawn(batch.emit_or_wait(3));
    assert_pending!(leaves.poll());
    let mut service = batch.clone();
    assert!(laws::poll_once(&mut service).await.is_pending());
    drop(leaves);
    tokio::spawn(worker);
    settle_down().await;
    assert!(laws::poll_once(&mut service).await.is_ready(), "it waits in the lane that is served first");
    assert!(late.is_woken(), "and lets the next one in, for it has taken nothing");
    assert_ready!(late.poll()).unwrap();
    let reply = service.call(4);
    assert_eq!(reply.await.unwrap(), [2, 4]);
    assert_eq!(totals(&batch.handle()).offered, 4);
}

#[tokio::test]
async fn x03_items_come_from_threads_without_a_runtime_and_from_drops_during_a_panic() {
    let (batch, log) = noting(batching());
    let handle = batch.handle();
    struct Reports(Batch<u32, usize>);
    impl Drop for Reports {
        fn drop(&mut self) {
            self.0.emit(1).unwrap();
        }
    }
    let other = batch.clone();
    let panicked = std::thread::spawn(move || {
        other.emit(0).unwrap();
        let _reports = Reports(other);
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    handle.flush().await;
    assert_eq!(log.batches(), [vec![0, 1]]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_replies_are_made_reaches_every_caller() {
    let layer = BatchLayer::builder().batching(batching().max_items(2)).respond_per_item().build().unwrap();
    struct Breaks;
    impl IntoIterator for Breaks {
        type Item = u32;
        type IntoIter = std::iter::FromFn<fn() -> Option<u32>>;

        fn into_iter(self) -> Self::IntoIter {
            std::iter::from_fn(|| panic!("while it is taken apart"))
        }
    }
    let batch = layer.layer(service_fn(|_: Vec<u32>| ready(Ok::<_, BoxError>(Breaks))));
    let replies: Vec<_> = (0..2).map(|n| tokio::spawn(batch.clone().oneshot(n))).collect();
    for reply in replies {
        assert!(reply.await.unwrap().unwrap_err().is::<Panicked>());
    }
}

#[tokio::test(start_paused = true)]
async fn cancellation_at_any_point_loses_nothing() {
    for polls in 0..4 {
        let (batch, log, gate) = gated(batching().max_items(2));
        let handle = batch.handle();
        let mut cancelled = task::spawn(batch.clone().oneshot(0));
        for poll in 0..polls {
            let _either = cancelled.poll().is_ready();
            if poll == 1 {
                emit(&batch, [1]);
            }
            settle_down().await;
        }
        drop(cancelled);
        gate.add_permits(10);
        handle.flush().await;
        let totals = totals(&handle);
        // Never polled, never called: then there is nothing to lose.
        let expected = if polls == 0 { 0 } else { 1 + u64::from(polls > 1) };
        // Polled once, its batch was not sent yet: then it goes with its caller.
        let cancelled = u64::from(polls == 1);
        assert_eq!((totals.offered, totals.delivered, totals.pending), (expected, expected - cancelled, 0));
        assert_eq!(totals.dropped.get(DropReason::Cancelled), cancelled);
        assert_eq!(log.batches().concat().len() as u64, expected - cancelled);
    }
}

#[test]
fn works_by_hand_on_no_runtime_at_all() {
    let layer = BatchLayer::builder().batching(batching().max_items(2)).build().unwrap();
    let probe = Probe::<Vec<u32>>::echo();
    let watch: Watch = probe.watch();
    let (batch, worker) = layer.pair(probe);
    let mut worker = task::spawn(worker);
    emit(&batch, 0..2);
    assert_pending!(worker.poll());
    assert_eq!(watch.calls(), 1);
    drop(batch);
    assert!(worker.is_woken());
    assert_ready!(worker.poll());
}

#[test]
fn an_item_weighs_what_its_caller_says() {
    let check = |batch: &Batch<u32, ()>| {
        batch.emit(Offer::new(1).weight(6)).unwrap();
        let refused = batch.emit(Offer::new(2).weight(6)).unwrap_err();
        assert_eq!((refused.reason, refused.into_item()), (DropReason::Bytes, 2));
        batch.emit(Offer::new(3).weight(3)).unwrap();
        assert_eq!((totals(&batch.handle()).pending, totals(&batch.handle()).dropped.total()), (2, 1));
    };
    let builder = || BatchLayer::builder().limits(Limits::new().bytes(10).soft_limit(1.0));
    let inner = || Probe::new(|_: Vec<u32>| ready(Ok::<_, BoxError>(())));
    check(&builder().build().unwrap().pair(inner()).0);
    check(&builder().weigh(|_: &u32| 99).build().unwrap().pair(inner()).0);
    check(&builder().weigh(|_: &u32| 99).priority(|_: &u32| Priority::Normal).build().unwrap().pair(inner()).0);
    check(&builder().flush_when(|item: &u32| *item == 9).build().unwrap().pair(inner()).0);
}

#[tokio::test(start_paused = true)]
async fn pending_futures_are_dropped_with_the_worker() {
    let layer = BatchLayer::builder().batching(batching()).build().unwrap();
    let probe = Probe::new(|_: Vec<u32>| pending::<Result<(), BoxError>>());
    let watch = probe.watch();
    let batch = layer.layer(probe);
    emit(&batch, 0..4);
    settle_down().await;
    assert_eq!(watch.running(), 1);
    batch.handle().drain(SECOND).await;
    assert_eq!((watch.running(), watch.cancelled()), (0, 1));
}

/// Looks at the batcher in the middle of being woken, as an executor may that drops a task right there.
struct Looks(BatchHandle<u32>, AtomicUsize);

impl std::task::Wake for Looks {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(usize::try_from(self.0.totals().pending).unwrap(), SeqCst);
    }
}

#[test]
fn the_caller_of_an_evicted_item_is_woken_without_the_lock() {
    let layer = BatchLayer::builder()
        .limits(Limits::new().items(1).soft_limit(1.0))
        .overflow(Overflow::DropOldest)
        .batching(Batching::new().max_items(1))
        .build()
        .unwrap();
    let (mut batch, _worker) = layer.pair(service_fn(|_: Vec<u32>| ready(Ok::<_, BoxError>(0_usize))));
    let looks = Arc::new(Looks(batch.handle(), AtomicUsize::new(0)));
    let mut evicted = Box::pin(batch.call(1));
    let waker = Arc::clone(&looks).into();
    assert!(evicted.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    batch.emit(2).unwrap();
    assert_eq!(looks.1.load(SeqCst), 1, "woken once, when the new one was in");
    assert_eq!(batch.handle().totals().dropped.get(DropReason::Evicted), 1);
}
