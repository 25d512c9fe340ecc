//! Events by key, as the drivers' telemetry has them.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_collect::{Aggregator, CollectEvent, Emission, End, Fold, Folded, Place};
use forebay_core::{DropReason, Fate, Priority};
use proptest::prelude::*;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Part(u32),
    Last(u32),
    Retryable(Option<u32>),
    Terminal(Option<u32>),
    Connection,
    Poison(u32),
}

struct Statements;

impl Fold<Event> for Statements {
    type Key = u32;
    type Held = usize;
    type Item = String;

    fn place(&self, event: &Event) -> Place<u32> {
        match *event {
            Event::Part(key) | Event::Poison(key) => Place::Part(key),
            Event::Last(key) => Place::Last(key),
            Event::Retryable(key) => Place::Retryable(key),
            Event::Terminal(key) => Place::Terminal(key),
            Event::Connection => Place::Alone(Priority::Normal),
        }
    }

    fn weigh(&self, _: &Event) -> usize {
        10
    }

    fn open(&self, _: &u32) -> usize {
        0
    }

    fn add(&self, held: &mut usize, event: Event) {
        assert!(!matches!(event, Event::Poison(_)), "poison");
        *held += 1;
    }

    fn alone(&self, event: Event) -> Option<String> {
        Some(format!("{event:?}"))
    }

    fn error(&self, key: &u32, _: &mut usize, _: Event, end: End) -> Folded<String> {
        Folded::Out(format!("error of {key}, {end:?}"))
    }

    fn finish(&self, key: u32, held: usize, end: End) -> Option<String> {
        Some(format!("{key}: {held}, {end:?}"))
    }
}

/// Lets time pass, and runs the tasks that it wakes.
async fn advance(time: Duration) {
    tokio::task::yield_now().await;
    tokio::time::advance(time).await;
    tokio::task::yield_now().await;
}

type Out = Arc<Mutex<Vec<(String, Priority)>>>;
type Statement = Aggregator<u32, Event, String>;

fn aggregator() -> (Statement, Out) {
    let (out, sink) = out();
    let builder = Aggregator::builder(Statements).max_open(3).max_errors(2);
    (builder.ttl(Duration::from_secs(60)).build(sink).unwrap(), out)
}

fn out() -> (Out, impl Fn(Emission<String>) + Send + Sync) {
    let out = Out::default();
    let into = Arc::clone(&out);
    (out, move |emission: Emission<String>| into.lock().unwrap().push((emission.item, emission.priority)))
}

fn took(out: &Out) -> Vec<String> {
    out.lock().unwrap().drain(..).map(|(item, _)| item).collect()
}

#[tokio::test(start_paused = true)]
async fn a_statement_is_passed_on_at_its_last_event() {
    let (all, out) = aggregator();
    all.record(Event::Part(1));
    all.record(Event::Part(1));
    all.record(Event::Connection);
    assert_eq!(took(&out), ["Connection"]);
    all.record(Event::Last(1));
    assert_eq!(took(&out), ["1: 3, Complete"]);
    assert!(!all.complete(&1));
    all.record(Event::Part(2));
    assert!(all.complete(&2));
    assert_eq!(took(&out), ["2: 1, Complete"]);
    assert_eq!((all.totals().delivered, all.totals().pending), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_terminal_error_ends_its_statement_in_the_high_lane() {
    let (all, out) = aggregator();
    all.record(Event::Part(1));
    all.record(Event::Retryable(Some(1)));
    assert_eq!(took(&out), [""; 0], "a retryable error waits");
    all.record(Event::Terminal(Some(1)));
    let lanes: Vec<_> = out.lock().unwrap().iter().map(|(_, lane)| *lane).collect();
    assert_eq!(took(&out), ["error of 1, Terminal", "error of 1, Terminal", "1: 1, Terminal"]);
    assert_eq!(lanes, [Priority::High; 3]);
    // Of no open statement, and of no statement at all: neither is lost.
    all.record(Event::Terminal(Some(7)));
    all.record(Event::Terminal(None));
    all.record(Event::Retryable(None));
    let lanes: Vec<_> = out.lock().unwrap().iter().map(|(_, lane)| *lane).collect();
    assert_eq!(lanes, [Priority::High, Priority::High, Priority::Normal]);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_statement_makes_room_and_its_errors_leave_first() {
    let (all, out) = aggregator();
    all.record(Event::Part(1));
    all.record(Event::Retryable(Some(1)));
    [2, 3].into_iter().for_each(|key| all.record(Event::Part(key)));
    // An event of an open statement needs no room.
    all.record(Event::Part(1));
    assert_eq!(took(&out), [""; 0]);
    all.record(Event::Part(4));
    assert_eq!(took(&out), ["error of 1, Evicted", "1: 2, Evicted"]);
    assert_eq!(all.open_keys(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_errors_of_a_statement_are_a_ring_and_the_oldest_is_counted() {
    let (all, out) = aggregator();
    (0..5).for_each(|_| all.record(Event::Retryable(Some(1))));
    assert_eq!(all.totals().dropped.get(DropReason::Evicted), 3);
    all.record(Event::Last(1));
    assert_eq!(took(&out), ["error of 1, Complete", "error of 1, Complete", "1: 1, Complete"]);
    assert!(all.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn a_statement_without_further_events_expires() {
    let (all, out) = aggregator();
    let ticker = tokio::spawn(all.ticker());
    tokio::task::yield_now().await;
    all.record(Event::Part(1));
    all.record(Event::Retryable(Some(1)));
    advance(Duration::from_secs(30)).await;
    all.record(Event::Part(2));
    all.record(Event::Part(1));
    advance(Duration::from_millis(29_999)).await;
    assert_eq!(took(&out), [""; 0]);
    advance(Duration::from_millis(2)).await;
    assert_eq!(took(&out), ["error of 1, Expired", "1: 2, Expired"]);
    advance(Duration::from_secs(31)).await;
    assert_eq!(took(&out), ["2: 1, Expired"]);
    all.close();
    ticker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_ticker_a_statement_expires_with_the_next_event() {
    let (all, out) = aggregator();
    all.record(Event::Part(1));
    advance(Duration::from_secs(61)).await;
    all.record(Event::Part(1));
    assert_eq!(took(&out), ["1: 1, Expired"]);
    assert_eq!(all.open_keys(), 1);
}

#[tokio::test(start_paused = true)]
async fn t15_an_idle_aggregator_is_never_polled() {
    let (all, _out) = aggregator();
    let mut ticker = tokio_test::task::spawn(all.ticker());
    assert!(ticker.poll().is_pending());
    advance(Duration::from_secs(600)).await;
    assert!(!ticker.is_woken(), "no timer runs while nothing is open");
    all.record(Event::Part(1));
    assert!(ticker.is_woken());
    assert!(ticker.poll().is_pending());
    all.close();
    assert!(ticker.is_woken() && ticker.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn close_flushes_what_is_open_once() {
    let (all, out) = aggregator();
    [1, 2].into_iter().for_each(|key| all.record(Event::Part(key)));
    let clone = all.clone();
    assert!(all.close());
    assert!(!clone.close(), "only the first");
    assert_eq!(took(&out), ["1: 1, Closed", "2: 1, Closed"]);
    let refused = clone.offer(Event::Part(3)).unwrap_err();
    assert_eq!((refused.reason, refused.event), (DropReason::Shutdown, Event::Part(3)));
    assert_eq!(all.totals().dropped.get(DropReason::Shutdown), 1);
    assert!(all.is_closed() && all.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn t14_dropping_every_handle_flushes_what_is_open() {
    let (all, out) = aggregator();
    all.record(Event::Part(1));
    let clone = all.clone();
    drop(all);
    assert_eq!(took(&out), [""; 0]);
    drop(clone);
    assert_eq!(took(&out), ["1: 1, Closed"]);
}

#[tokio::test(start_paused = true)]
async fn statements_of_one_session_are_completed_together() {
    let (all, out) = aggregator();
    [1, 2, 3].into_iter().for_each(|key| all.record(Event::Part(key)));
    assert_eq!(all.complete_where(|key| key % 2 == 1), 2);
    assert_eq!(took(&out), ["1: 1, Complete", "3: 1, Complete"]);
    assert_eq!(all.complete_where(|_| panic!("in the caller's code")), 0);
    assert_eq!(all.open_keys(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_fold_or_the_sink_costs_only_its_own_events() {
    let (all, out) = aggregator();
    all.record(Event::Part(1));
    all.record(Event::Retryable(Some(1)));
    all.record(Event::Part(2));
    all.record(Event::Poison(1));
    // The error is intact, the sum is not.
    assert_eq!(took(&out), ["Retryable(Some(1))"]);
    assert_eq!(all.totals().dropped.get(DropReason::Panicked), 2);
    all.record(Event::Last(2));
    assert_eq!(took(&out), ["2: 2, Complete"]);

    let all = Aggregator::builder(Statements).build(|_: Emission<String>| -> Fate { panic!("sink") }).unwrap();
    all.record(Event::Connection);
    assert_eq!(all.totals().dropped.get(DropReason::Panicked), 1);
    assert!(all.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn events_of_the_sink_do_not_feed_the_aggregator() {
    let inner: Arc<Mutex<Option<Statement>>> = Arc::default();
    let (seen, of_sink) = (Arc::new(Mutex::new(0)), Arc::clone(&inner));
    let count = Arc::clone(&seen);
    let all = Aggregator::builder(Statements)
        .build(move |_: Emission<String>| {
            *count.lock().unwrap() += 1;
            let again = of_sink.lock().unwrap().clone().unwrap();
            again.record(Event::Connection);
        })
        .unwrap();
    *inner.lock().unwrap() = Some(all.clone());
    all.record(Event::Connection);
    assert_eq!(*seen.lock().unwrap(), 1);
    assert_eq!(all.totals().dropped.get(DropReason::Disabled), 1);
    inner.lock().unwrap().take();
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_counts_and_keeps_nothing() {
    let (all, out) = aggregator();
    all.set_enabled(false);
    let refused = all.offer(Event::Connection).unwrap_err();
    assert_eq!(refused.reason, DropReason::Disabled);
    assert_eq!(all.totals().dropped.get(DropReason::Disabled), 1);
    all.set_enabled(true);
    all.record(Event::Connection);
    assert_eq!(took(&out), ["Connection"]);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_and_what_is_larger_is_refused() {
    let (out, sink) = out();
    let all = Aggregator::builder(Statements).max_bytes(25).build(sink).unwrap();
    [1, 2, 3].into_iter().for_each(|key| all.record(Event::Part(key)));
    assert_eq!((took(&out), all.held_bytes()), (vec!["1: 1, Evicted".to_owned()], 20));
    let tiny = Aggregator::builder(Statements).max_bytes(1).build(|_: Emission<String>| ()).unwrap();
    assert_eq!(tiny.offer(Event::Part(1)).unwrap_err().reason, DropReason::TooLarge);
    tiny.offer(Event::Connection).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_every_end_and_every_loss() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&events);
    let all = Aggregator::builder(Statements)
        .max_errors(1)
        .observe(move |event: &CollectEvent| into.lock().unwrap().push(*event))
        .build(|_: Emission<String>| Fate::Dropped(DropReason::Full))
        .unwrap();
    [Event::Part(1), Event::Retryable(Some(1)), Event::Retryable(Some(1)), Event::Last(1)]
        .into_iter()
        .for_each(|event| all.record(event));
    let expected = [
        CollectEvent::Dropped { reason: DropReason::Evicted, events: 1 },
        CollectEvent::Ended { end: End::Complete, parts: 2, errors: 1 },
        CollectEvent::Dropped { reason: DropReason::Full, events: 1 },
        CollectEvent::Dropped { reason: DropReason::Full, events: 2 },
    ];
    assert_eq!(format!("{:?}", events.lock().unwrap()), format!("{expected:?}"));
}

#[test]
fn a_ttl_that_cannot_be_is_refused() {
    for ttl in [Duration::ZERO, Duration::MAX] {
        let error = Aggregator::builder(Statements).ttl(ttl).build(|_: Emission<String>| ()).unwrap_err();
        assert_eq!(error.knob(), "ttl");
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_u32..6).prop_map(Event::Part),
        (0_u32..6).prop_map(Event::Last),
        (0_u32..6).prop_map(|key| Event::Retryable(Some(key))),
        (0_u32..6).prop_map(|key| Event::Terminal(Some(key))),
        (0_u32..6).prop_map(Event::Poison),
        Just(Event::Connection),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// X01, from many threads: every event is somewhere, whatever happens to it.
    #[test]
    fn x01_the_equation_holds_at_every_read(events in prop::collection::vec(event(), 1..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let (all, _out) = aggregator();
        std::thread::scope(|scope| {
            for part in events.chunks(50) {
                let all = all.clone();
                scope.spawn(move || {
                    for event in part {
                        all.record(event.clone());
                        assert!(all.totals().balance(), "{}", all.totals());
                    }
                });
            }
        });
        all.close();
        let totals = all.totals();
        prop_assert_eq!(totals.offered, u64::try_from(events.len()).unwrap());
        prop_assert_eq!(totals.pending, 0);
        prop_assert!(totals.balance());
    }
}
