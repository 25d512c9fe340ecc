//! Random steps of a batcher against a plain model: a list of items with their fates.
//!
//! After each step the ledger must say what the list says. `PROPTEST_CASES=5000` makes it a million steps.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test code"
)]

use forebay_batch::{Batch, BatchHandle, BatchLayer, Batching, Items, ResponseFuture};
use forebay_core::{BoxError, DropReason, Fate, ItemFate, Priority, Settlement};
use forebay_queue::{Flush, Limits};
use proptest::prelude::*;
use std::{cell::RefCell, future::Future, pin::Pin, rc::Rc, task::Poll, time::Duration};
use tokio::sync::oneshot;
use tokio_test::task::{self, Spawn};
use tower::{Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    id: u32,
    bytes: usize,
    priority: Priority,
    key: u8,
}

/// Where an item is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Waits,
    /// Came back, with the batch of this number, and waits for another attempt.
    Parked(usize),
    /// In the request of this number.
    InFlight(usize),
    Over(Fate),
}

/// What a server makes of a request.
#[derive(Clone, Copy, Debug)]
enum How {
    Takes,
    Refuses,
    /// Says how many, and not which.
    TakesSome,
    SaysWhich,
    IsAway,
    Panics,
    /// The connection breaks, and the sender of the answer is gone.
    Breaks,
}

#[derive(Clone, Debug)]
enum Step {
    Emit {
        bytes: usize,
        high: bool,
        key: u8,
    },
    /// As emit, by a caller that waits in line for room and goes away at once.
    Waits {
        bytes: usize,
        key: u8,
    },
    Call {
        bytes: usize,
        high: bool,
        key: u8,
    },
    CancelCall(usize),
    Work,
    Answer {
        which: usize,
        how: How,
    },
    Advance(u64),
    Flush,
    CancelFlush,
    Limit {
        items: usize,
        bytes: usize,
    },
    Rebatch {
        items: usize,
        bytes: usize,
        in_flight: usize,
    },
    Close,
}

/// The batcher as one would write it down first.
#[derive(Default)]
struct Model {
    /// All that were taken in, in the order they came.
    items: Vec<(Item, Place)>,
    refused: Vec<DropReason>,
    requests: usize,
    closed: bool,
    limit: (usize, usize),
    /// The largest that requests were ever allowed to be.
    largest: (usize, usize),
    in_flight: usize,
}

/// What the inner service does when it is called, and when it is answered.
type Call = (Vec<Item>, oneshot::Sender<How>);
type Worker = Pin<Box<dyn Future<Output = ()>>>;
type Answers = Vec<(u32, Spawn<ResponseFuture<Item, Fate>>)>;

struct Real {
    batch: Option<Batch<Item, Fate>>,
    handle: BatchHandle<Item>,
    worker: Spawn<Worker>,
    ended: bool,
    calls: Rc<RefCell<Vec<Call>>>,
    in_flight: Vec<(usize, oneshot::Sender<How>)>,
    answers: Answers,
    flushes: Vec<(Spawn<Flush<Item>>, Vec<u32>)>,
}

// === impl Model ===

impl Model {
    fn held(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|(_, place)| !matches!(place, Place::Over(_))).map(|(item, _)| item)
    }

    fn refusal(&self, item: &Item) -> Option<DropReason> {
        let (items, bytes) = (self.held().count(), self.held().map(|held| held.bytes).sum::<usize>());
        let soft = |cap: usize| (cap as f64 * 0.9).round() as usize;
        let (most_items, most_bytes) = self.limit;
        if self.closed {
            Some(DropReason::Shutdown)
        } else if item.bytes > most_bytes {
            Some(DropReason::TooLarge)
        } else if items >= most_items {
            Some(DropReason::Full)
        } else if item.priority == Priority::Normal && (items >= soft(most_items) || bytes >= soft(most_bytes)) {
            Some(DropReason::SoftLimit)
        } else if bytes + item.bytes > most_bytes {
            Some(DropReason::Bytes)
        } else {
            None
        }
    }

    fn offer(&mut self, item: Item) -> Result<(), DropReason> {
        match self.refusal(&item) {
            None => {
                self.items.push((item, Place::Waits));
                Ok(())
            }
            Some(reason) => {
                self.refused.push(reason);
                Err(reason)
            }
        }
    }

    /// A request must be a batch that came back, or a run of items of one key that were not sent before.
    fn sent(&mut self, request: &[Item]) -> Result<usize, TestCaseError> {
        let number = self.requests;
        self.requests += 1;
        let key = request[0].key;
        let of_key: Vec<_> = self.items.iter().filter(|(item, _)| item.key == key).copied().collect();
        let begin = of_key.iter().position(|(item, _)| item.id == request[0].id).unwrap();
        let run = &of_key[begin..begin + request.len()];
        prop_assert_eq!(
            run.iter().map(|(item, _)| *item).collect::<Vec<_>>(),
            request.to_vec(),
            "order, none left out"
        );
        match run[0].1 {
            Place::Parked(lot) => {
                let parked: Vec<_> = self
                    .items
                    .iter()
                    .filter(|(_, place)| *place == Place::Parked(lot))
                    .map(|(item, _)| *item)
                    .collect();
                prop_assert_eq!(parked, request.to_vec(), "the same items again");
            }
            _ => prop_assert!(run.iter().all(|(_, place)| *place == Place::Waits), "none sent twice: {run:?}"),
        }
        let bytes: usize = request.iter().map(|item| item.bytes).sum();
        prop_assert!(request.len() <= self.largest.0);
        prop_assert!(bytes <= self.largest.1 || request.len() == 1);
        for (item, place) in &mut self.items {
            if request.iter().any(|sent| sent.id == item.id) {
                *place = Place::InFlight(number);
            }
        }
        Ok(number)
    }

    /// The items of a request meet these fates.
    fn landed(&mut self, request: usize, fates: impl Fn(usize, usize) -> Place) {
        let mut all: Vec<_> = self.items.iter_mut().filter(|(_, place)| *place == Place::InFlight(request)).collect();
        let count = all.len();
        for (index, (_, place)) in all.iter_mut().enumerate() {
            *place = fates(index, count);
        }
    }

    fn fate(&self, id: u32) -> Option<Fate> {
        self.items.iter().find_map(|(item, place)| match place {
            Place::Over(fate) if item.id == id => Some(*fate),
            _ => None,
        })
    }

    fn count(&self, with: impl Fn(Fate) -> bool) -> u64 {
        self.items.iter().filter(|(_, place)| matches!(place, Place::Over(fate) if with(*fate))).count() as u64
    }
}

/// How the items of a request of so many settle.
fn settlement(how: How, items: usize) -> Settlement {
    match how {
        How::Takes => Settlement::All(Fate::Delivered),
        How::Refuses => Settlement::All(Fate::Dropped(DropReason::Rejected)),
        How::TakesSome => Settlement::Partial { dropped: items / 2, reason: DropReason::Rejected },
        How::SaysWhich => Settlement::Each((0..items).map(|index| ItemFate::Final(said(index))).collect()),
        How::IsAway => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
        How::Panics | How::Breaks => Settlement::All(Fate::Dropped(DropReason::Failed)),
    }
}

fn said(index: usize) -> Fate {
    if index.is_multiple_of(2) { Fate::Delivered } else { Fate::Dropped(DropReason::Encode) }
}

fn real(limits: Limits, batching: Batching, parks: bool) -> Real {
    let calls: Rc<RefCell<Vec<Call>>> = Rc::default();
    let noted = Rc::clone(&calls);
    let inner = service_fn(move |items: Items<Item>| {
        let (answer, answered) = oneshot::channel();
        noted.borrow_mut().push((items.to_vec(), answer));
        async move {
            // Held over the wait, as a request is.
            let _items = items;
            match answered.await {
                Ok(How::Panics) => panic!("as a service may"),
                Ok(how) => Ok(how),
                Err(gone) => Err(BoxError::from(gone)),
            }
        }
    });
    let layer = BatchLayer::builder()
        .limits(limits)
        .batching(batching)
        .weigh(|item: &Item| item.bytes)
        .priority(|item: &Item| item.priority)
        .partition_by(2, |item: &Item| &item.key)
        .keep_items()
        .settle(|result: &Result<How, BoxError>, items: usize| {
            settlement(*result.as_ref().unwrap_or(&How::Breaks), items)
        })
        .park(if parks { vec![SECOND; 2] } else { Vec::new() }, 1 << 20)
        .answer_fates()
        .build()
        .unwrap();
    let (batch, worker) = layer.pair(inner);
    let worker: Worker = Box::pin(worker);
    Real {
        handle: batch.handle(),
        batch: Some(batch),
        worker: task::spawn(worker),
        ended: false,
        calls,
        in_flight: Vec::new(),
        answers: Vec::new(),
        flushes: Vec::new(),
    }
}

/// Polls the worker, and takes down what it has sent.
fn work(real: &mut Real, model: &mut Model) -> Result<(), TestCaseError> {
    if real.ended {
        return Ok(());
    }
    let was_woken = real.worker.is_woken() || model.requests == 0;
    real.ended = real.worker.poll().is_ready();
    let calls: Vec<_> = real.calls.borrow_mut().drain(..).collect();
    prop_assert!(was_woken || calls.is_empty() && !real.ended, "there was something to do, and nobody woke the worker");
    for (items, answer) in calls {
        let number = model.sent(&items)?;
        real.in_flight.push((number, answer));
        prop_assert!(real.in_flight.len() <= model.in_flight, "no more in flight than asked for");
    }
    Ok(())
}

/// The far side answers, and the worker hears of it.
fn answer(real: &mut Real, model: &mut Model, which: usize, how: How) -> Result<(), TestCaseError> {
    if real.in_flight.is_empty() || real.ended {
        return Ok(());
    }
    let (number, answer) = real.in_flight.swap_remove(which % real.in_flight.len());
    let given_up = real.handle.totals().dropped.get(DropReason::RetriesExhausted);
    if matches!(how, How::Breaks) {
        drop(answer);
    } else {
        prop_assert!(answer.send(how).is_ok());
    }
    prop_assert!(real.worker.is_woken());
    real.ended = real.worker.poll().is_ready();
    // What the batcher alone knows: whether it has any patience left.
    let parks = real.handle.totals().dropped.get(DropReason::RetriesExhausted) == given_up;
    let dropped = |reason| Place::Over(Fate::Dropped(reason));
    model.landed(number, |index, count| match how {
        How::Takes => Place::Over(Fate::Delivered),
        How::Refuses => dropped(DropReason::Rejected),
        How::TakesSome if index < count - count / 2 => Place::Over(Fate::Delivered),
        How::TakesSome => dropped(DropReason::Rejected),
        How::SaysWhich => Place::Over(said(index)),
        How::IsAway if parks => Place::Parked(number),
        How::IsAway => dropped(DropReason::RetriesExhausted),
        How::Panics => dropped(DropReason::Panicked),
        How::Breaks => dropped(DropReason::Failed),
    });
    let calls: Vec<_> = real.calls.borrow_mut().drain(..).collect();
    for (items, answer) in calls {
        let number = model.sent(&items)?;
        real.in_flight.push((number, answer));
        prop_assert!(real.in_flight.len() <= model.in_flight);
    }
    Ok(())
}

async fn take(step: Step, id: u32, real: &mut Real, model: &mut Model) -> Result<(), TestCaseError> {
    let lane = |high| if high { Priority::High } else { Priority::Normal };
    match (step, &mut real.batch) {
        (Step::Emit { bytes, high, key }, Some(batch)) => {
            let item = Item { id, bytes, priority: lane(high), key };
            let emitted = batch.emit(item).map_err(|refused| refused.reason);
            prop_assert_eq!(emitted, model.offer(item));
        }
        (Step::Waits { bytes, key }, Some(batch)) => {
            let item = Item { id, bytes, priority: Priority::Normal, key };
            let passes = [DropReason::SoftLimit, DropReason::Full, DropReason::Bytes];
            match (task::spawn(batch.emit_or_wait(item)).poll(), model.refusal(&item)) {
                // Never offered.
                (Poll::Pending, Some(reason)) => prop_assert!(passes.contains(&reason), "{reason}"),
                (Poll::Ready(emitted), _) => {
                    prop_assert_eq!(emitted.map_err(|refused| refused.reason), model.offer(item));
                }
                (Poll::Pending, None) => prop_assert!(false, "there was room"),
            }
        }
        (Step::Call { bytes, high, key }, Some(batch)) => {
            let item = Item { id, bytes, priority: lane(high), key };
            let offered = model.offer(item);
            let mut answer = task::spawn(batch.call(item));
            match offered {
                Ok(()) => real.answers.push((id, answer)),
                Err(_) => prop_assert!(matches!(answer.poll(), Poll::Ready(Err(_)))),
            }
        }
        (Step::CancelCall(which), _) if !real.answers.is_empty() => {
            drop(real.answers.swap_remove(which % real.answers.len()));
        }
        (Step::Work, _) => work(real, model)?,
        (Step::Answer { which, how }, _) => answer(real, model, which, how)?,
        (Step::Advance(millis), _) => tokio::time::advance(Duration::from_millis(millis)).await,
        (Step::Flush, _) => {
            let held = model.held().map(|item| item.id).collect();
            real.flushes.push((task::spawn(real.handle.flush()), held));
        }
        (Step::CancelFlush, _) => drop(real.flushes.pop()),
        (Step::Limit { items, bytes }, _) => {
            real.handle.set_limits(Limits::new().items(items).bytes(bytes)).unwrap();
            model.limit = (items, bytes);
        }
        (Step::Rebatch { items, bytes, in_flight }, _) => {
            real.handle.set_batching(batching(items, bytes, in_flight)).unwrap();
            model.largest = (model.largest.0.max(items), model.largest.1.max(bytes));
            model.in_flight = model.in_flight.max(in_flight);
        }
        (Step::Close, batch) => {
            *batch = None;
            model.closed = true;
        }
        _ => {}
    }
    Ok(())
}

/// What the real one says is what the list says.
fn check(real: &mut Real, model: &Model) -> Result<(), TestCaseError> {
    let totals = real.handle.totals();
    prop_assert!(totals.balance(), "{totals}");
    prop_assert_eq!(totals.offered, (model.items.len() + model.refused.len()) as u64);
    prop_assert_eq!(totals.pending, model.held().count() as u64);
    prop_assert_eq!(totals.delivered, model.count(|fate| fate == Fate::Delivered));
    for reason in DropReason::ALL {
        let refused = model.refused.iter().filter(|refused| **refused == reason).count() as u64;
        prop_assert_eq!(totals.dropped.get(reason), refused + model.count(|fate| fate == Fate::Dropped(reason)));
    }
    prop_assert_eq!(real.handle.bytes(), model.held().map(|item| item.bytes).sum::<usize>());
    let mut wrong = None;
    real.answers.retain_mut(|(id, answer)| match (answer.poll(), model.fate(*id)) {
        (Poll::Pending, None) => true,
        (Poll::Ready(Ok(heard)), Some(fate)) if heard == fate => false,
        (heard, fate) => {
            wrong = Some(format!("item {id} heard {heard:?}, and its fate is {fate:?}"));
            false
        }
    });
    real.flushes.retain_mut(|(flush, held)| {
        let over = held.iter().all(|id| model.fate(*id).is_some());
        if flush.poll().is_ready() != over {
            wrong = Some(format!("a flush is over: {}, and should be: {over}", !over));
        }
        !over
    });
    prop_assert!(wrong.is_none(), "{}", wrong.unwrap());
    Ok(())
}

async fn run(first: (Step, Step), parks: bool, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (Step::Limit { items: most, bytes: most_bytes }, Step::Rebatch { items, bytes, in_flight }) = first else {
        return Ok(());
    };
    let mut real = real(Limits::new().items(most).bytes(most_bytes), batching(items, bytes, in_flight), parks);
    let mut model = Model { limit: (most, most_bytes), largest: (items, bytes), in_flight, ..Model::default() };
    for (id, step) in (0..).zip(steps) {
        take(step, id, &mut real, &mut model).await?;
        check(&mut real, &model)?;
    }
    // Whatever it was left with, it ends, and everything has a fate.
    real.batch = None;
    model.closed = true;
    for _ in 0..200 {
        work(&mut real, &mut model)?;
        answer(&mut real, &mut model, 0, How::Takes)?;
        check(&mut real, &model)?;
        tokio::time::advance(SECOND).await;
    }
    prop_assert!(real.ended, "the worker ends");
    prop_assert_eq!(real.handle.totals().pending, 0);
    Ok(())
}

fn batching(items: usize, bytes: usize, in_flight: usize) -> Batching {
    Batching::new().max_items(items).max_bytes(bytes).max_age(SECOND).max_in_flight(in_flight)
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        6 => Just(How::Takes),
        2 => Just(How::Refuses),
        2 => Just(How::TakesSome),
        2 => Just(How::SaysWhich),
        4 => Just(How::IsAway),
        1 => Just(How::Panics),
        1 => Just(How::Breaks),
    ]
}

fn limit() -> impl Strategy<Value = Step> {
    (1_usize..24, 1_usize..120).prop_map(|(items, bytes)| Step::Limit { items, bytes })
}

fn rebatch() -> impl Strategy<Value = Step> {
    (1_usize..6, 1_usize..40, 1_usize..4).prop_map(|(items, bytes, in_flight)| Step::Rebatch {
        items,
        bytes,
        in_flight,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let (bytes, key) = (1_usize..20, 0_u8..3);
    prop_oneof![
        16 => (bytes.clone(), any::<bool>(), key.clone())
            .prop_map(|(bytes, high, key)| Step::Emit { bytes, high, key }),
        1 => (bytes.clone(), key.clone()).prop_map(|(bytes, key)| Step::Waits { bytes, key }),
        6 => (bytes, any::<bool>(), key).prop_map(|(bytes, high, key)| Step::Call { bytes, high, key }),
        2 => any::<usize>().prop_map(Step::CancelCall),
        8 => Just(Step::Work),
        8 => (any::<usize>(), how()).prop_map(|(which, how)| Step::Answer { which, how }),
        4 => (1_u64..1500).prop_map(Step::Advance),
        2 => Just(Step::Flush),
        1 => Just(Step::CancelFlush),
        1 => limit(),
        1 => rebatch(),
        1 => prop_oneof![9 => Just(Step::Work), 1 => Just(Step::Close)],
    ]
}

/// A panic of the model's service is part of the plan: it need not be printed.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"as a service may") {
                print(info);
            }
        }));
    });
}

proptest! {
    #[test]
    fn x01_t12_the_batcher_is_a_list_of_items_with_fates(
        first in (limit(), rebatch()),
        parks in any::<bool>(),
        steps in prop::collection::vec(step(), 100..300),
    ) {
        quiet();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(first, parks, steps))?;
    }
}
