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

mod batches;
mod plain;

use self::{
    batches::Rules,
    plain::{At, Model, says_again},
};
use forebay_batch::{Batch, BatchHandle, BatchLayer, Batching, Items, ResponseFuture};
use forebay_core::{BoxError, DropReason, Fate, ItemFate, Priority, Settlement, SplitCause};
use forebay_intake::{Evicted, Flush, Limits, Overflow};
use proptest::prelude::*;
use std::{cell::RefCell, future::Future, pin::Pin, rc::Rc, task::Poll, time::Duration};
use tokio::sync::oneshot;
use tokio_test::task::{self, Spawn};
use tower::{Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const KIB: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Item {
    id: u32,
    bytes: usize,
    priority: Priority,
    /// Which batch it goes into.
    key: u8,
    /// Whose fair share it is.
    tenant: u8,
    /// The server does not take a request that it is in.
    bad: bool,
}

/// What a server makes of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Takes,
    /// Takes it, unless it is too large for this server, or has a bad item in it.
    Judges,
    BadItem,
    TooLarge,
    Refuses,
    /// Says how many, and not which.
    TakesSome,
    SaysWhich,
    /// Says which, and that some may be sent again.
    SaysWhichAgain,
    IsAway,
    Panics,
    /// The connection breaks, and there is no response.
    Breaks,
}

/// How the batcher is built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Config {
    /// How many bytes may wait for another attempt; `None` if nothing does.
    park: Option<usize>,
    /// How many batches may be open at a time; `None` if all items go into the same.
    partitions: Option<usize>,
    split_budget: u32,
    share: Option<f64>,
    drops_oldest: bool,
    close_on_high: bool,
    /// A batch closes when a batch may be sent, and not after a while.
    gathers: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Emit(Item),
    /// As emit, by a caller that waits in line for room and leaves at once.
    Waits(Item),
    Call(Item),
    CancelCall(usize),
    Work,
    Respond {
        which: usize,
        how: How,
    },
    /// The server takes requests of so many bytes.
    ServerTakes(usize),
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

/// What the inner service got, and where its response is sent.
type Call = (Vec<Item>, oneshot::Sender<How>);
type Worker = Pin<Box<dyn Future<Output = ()>>>;
type Replies = Vec<(u32, Spawn<ResponseFuture<Item, Fate>>)>;

struct Real {
    batch: Option<Batch<Item, Fate>>,
    handle: BatchHandle<Item>,
    worker: Spawn<Worker>,
    ended: bool,
    calls: Rc<RefCell<Vec<Call>>>,
    in_flight: Vec<(usize, oneshot::Sender<How>)>,
    /// How large a request the server takes.
    server_takes: usize,
    /// Milliseconds since the beginning.
    now: u64,
    replies: Replies,
    flushes: Vec<(Spawn<Flush<Item>>, Vec<u32>)>,
}

// === impl Config ===

impl Config {
    /// Whether it is known which batch is sent next: while one server is away, batches of others are taken out.
    fn is_exact(&self) -> bool {
        self.park.is_none() || self.partitions.is_none()
    }

    fn limits(&self, items: usize, bytes: usize) -> Limits {
        Limits::new().items(items).bytes(bytes).fair_share(self.share.unwrap_or(1.0))
    }

    fn batching(&self, items: usize, bytes: usize, in_flight: usize) -> Batching {
        let delay = if self.gathers { Duration::ZERO } else { SECOND };
        let batching = Batching::new().max_items(items).max_bytes(bytes).max_delay(delay);
        batching.max_in_flight(in_flight).close_on_high(self.close_on_high)
    }
}

/// How the items of a request of so many settle.
fn settlement(how: How, items: usize) -> Settlement {
    match how {
        How::Takes | How::Judges => Settlement::All(Fate::Delivered),
        How::BadItem => Settlement::Split { cause: SplitCause::BadItem, otherwise: DropReason::Rejected },
        How::TooLarge => Settlement::Split { cause: SplitCause::TooLarge, otherwise: DropReason::TooLarge },
        How::Refuses => Settlement::All(Fate::Dropped(DropReason::Rejected)),
        How::TakesSome => Settlement::Partial { dropped: items / 2, reason: DropReason::Rejected },
        How::SaysWhich => Settlement::Each((0..items).map(|index| ItemFate::Final(said(index))).collect()),
        How::SaysWhichAgain => Settlement::Each(
            (0..items)
                .map(|index| match says_again(index) {
                    true => ItemFate::Retry(DropReason::RetriesExhausted),
                    false => ItemFate::Final(Fate::Delivered),
                })
                .collect(),
        ),
        How::IsAway => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
        How::Panics | How::Breaks => Settlement::All(Fate::Dropped(DropReason::Failed)),
    }
}

fn said(index: usize) -> Fate {
    if index.is_multiple_of(2) { Fate::Delivered } else { Fate::Dropped(DropReason::Encode) }
}

fn real(config: Config, limits: Limits, batching: Batching) -> Real {
    let calls: Rc<RefCell<Vec<Call>>> = Rc::default();
    let noted = Rc::clone(&calls);
    let inner = service_fn(move |items: Items<Item>| {
        let (response, responded) = oneshot::channel();
        noted.borrow_mut().push((items.to_vec(), response));
        async move {
            // Held over the wait, as a request is.
            let _items = items;
            match responded.await {
                Ok(How::Panics) => panic!("as a service may"),
                Ok(how) => Ok(how),
                Err(broken) => Err(BoxError::from(broken)),
            }
        }
    });
    let mut builder = BatchLayer::builder()
        .limits(limits)
        .overflow(if config.drops_oldest { Overflow::DropOldest } else { Overflow::Refuse })
        .batching(batching);
    if let Some(open) = config.partitions {
        builder = builder.partition_by(|item: &Item| &item.key).max_open_partitions(open);
    }
    let builder = builder
        .weigh(|item: &Item| item.bytes)
        .priority(|item: &Item| item.priority)
        .retain_items()
        .split_budget(config.split_budget)
        // A call that is cancelled changes nothing for the list; `tests/behaviour/cancelled.rs` has those that take their items along.
        .run_cancelled(true)
        .settle(|result: &Result<How, BoxError>, items: usize| {
            settlement(*result.as_ref().unwrap_or(&How::Breaks), items)
        })
        .respond_fates();
    let builder = match config.park {
        Some(bytes) => builder.park_backoff(vec![SECOND; 2]).park_bytes(bytes),
        None => builder,
    };
    let layer = match config.share {
        Some(_) => builder.fair_share_key(|item: &Item| &item.tenant).build(),
        None => builder.build(),
    };
    let layer = layer.unwrap();
    let (batch, worker) = layer.pair(inner);
    let worker: Worker = Box::pin(worker);
    Real {
        handle: batch.handle(),
        batch: Some(batch),
        worker: task::spawn(worker),
        ended: false,
        calls,
        in_flight: Vec::new(),
        server_takes: usize::MAX,
        now: 0,
        replies: Vec::new(),
        flushes: Vec::new(),
    }
}

/// Polls the worker, and takes down what it has sent.
fn work(real: &mut Real, model: &mut Model) -> Result<(), TestCaseError> {
    if real.ended {
        return Ok(());
    }
    let was_woken = real.worker.is_woken() || model.groups.is_empty();
    poll(real);
    let calls = !real.calls.borrow().is_empty();
    prop_assert!(was_woken || !calls && !real.ended, "there was something to do, and nothing woke the worker");
    note(real, model)
}

fn poll(real: &mut Real) {
    real.ended = real.worker.poll().is_ready();
}

/// What the worker has sent, and dropped, in the poll that was.
fn note(real: &mut Real, model: &mut Model) -> Result<(), TestCaseError> {
    model.batches.look(real.now);
    let calls: Vec<_> = real.calls.borrow_mut().drain(..).collect();
    for (items, response) in calls {
        let number = model.sent(&items)?;
        real.in_flight.push((number, response));
        prop_assert!(real.in_flight.len() <= model.in_flight, "no more in flight than asked for");
    }
    let lost = model.lost_parts();
    drops(real, model, &lost, &[]).map(drop)
}

/// It is not known when these groups are dropped: those are over that the ledger has counted by now.
/// Returns those of `evicted` that are.
fn drops(real: &Real, model: &mut Model, lost: &[usize], evicted: &[usize]) -> Result<Vec<usize>, TestCaseError> {
    let missing = |reason| {
        let refused = model.refused.iter().filter(|refused| **refused == reason).count() as u64;
        let known = refused + model.count(|known| known == Fate::Dropped(reason));
        real.handle.totals().dropped.get(reason).checked_sub(known).map(|missing| (reason, missing))
    };
    let bytes = model.bytes().checked_sub(real.handle.bytes());
    let (Some(lost_items), Some(evicted_items), Some(bytes)) =
        (missing(DropReason::Rejected), missing(DropReason::Evicted), bytes)
    else {
        return Err(TestCaseError::fail("fewer dropped, or more held, than the list says"));
    };
    if (lost_items.1, evicted_items.1, bytes) == (0, 0, 0) {
        return Ok(Vec::new());
    }
    prop_assert!(lost.len() + evicted.len() < 16, "{lost:?} {evicted:?}");
    for some_lost in sets(model, lost, lost_items.1) {
        for some_evicted in sets(model, evicted, evicted_items.1) {
            let all = some_lost.iter().chain(&some_evicted);
            let freed: usize = all.map(|number| model.groups[*number].bytes).sum();
            if freed == bytes && !some_lost.iter().any(|number| some_evicted.contains(number)) {
                some_lost.into_iter().for_each(|number| model.conclude(number, Fate::Dropped(lost_items.0)));
                some_evicted.iter().for_each(|number| model.conclude(*number, Fate::Dropped(evicted_items.0)));
                return Ok(some_evicted);
            }
        }
    }
    let what = (lost_items, evicted_items, bytes);
    let groups: Vec<_> = model.groups.iter().enumerate().filter(|(_, group)| group.at != At::Ended).collect();
    Err(TestCaseError::fail(format!("{what:?} are dropped, not of {lost:?} and {evicted:?} among {groups:?}")))
}

/// All choices of these groups that have so many items.
fn sets(model: &Model, of: &[usize], items: u64) -> Vec<Vec<usize>> {
    let sets = (0..1_usize << of.len()).map(|set| {
        let chosen = of.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1).map(|(_, number)| *number);
        chosen.collect::<Vec<_>>()
    });
    let count = |set: &[usize]| set.iter().map(|number| model.groups[*number].items.len() as u64).sum::<u64>();
    sets.filter(|set| count(set) == items).collect()
}

/// The server responds, and the worker looks.
fn respond(real: &mut Real, model: &mut Model, which: usize, how: How) -> Result<(), TestCaseError> {
    if real.in_flight.is_empty() || real.ended {
        return Ok(());
    }
    let (number, response) = real.in_flight.swap_remove(which % real.in_flight.len());
    let items = &model.groups[number].items;
    let how = match how {
        How::Judges if items.iter().map(|item| item.bytes).sum::<usize>() > real.server_takes => How::TooLarge,
        How::Judges if items.iter().any(|item| item.bad) => How::BadItem,
        how => how,
    };
    let given_up = real.handle.totals().dropped.get(DropReason::RetriesExhausted);
    if matches!(how, How::Breaks) {
        drop(response);
    } else {
        prop_assert!(response.send(how).is_ok());
    }
    prop_assert!(real.worker.is_woken());
    poll(real);
    if model.returned(number, how) {
        // What the batcher alone knows: whether it has any patience left.
        let parks = real.handle.totals().dropped.get(DropReason::RetriesExhausted) == given_up;
        match model.config.park {
            Some(most) if parks => {
                model.groups[number].at = At::Parked;
                evicts(real, model, most)?;
            }
            _ => model.conclude(number, Fate::Dropped(DropReason::RetriesExhausted)),
        }
    }
    note(real, model)
}

/// No more bytes wait for another attempt than may, and no more were dropped for it than had to be.
fn evicts(real: &Real, model: &mut Model, most: usize) -> Result<(), TestCaseError> {
    // Parts of what was sent may wait for the same server, or for their turn.
    let waiting = model.waiting();
    let before: Vec<_> = waiting.iter().map(|number| (*number, model.groups[*number].bytes)).collect();
    let lost = model.lost_parts();
    let evicted = drops(real, model, &lost, &waiting)?;
    let left = model.waiting();
    let bytes = |at: &[At]| {
        let groups = left.iter().map(|number| &model.groups[*number]).filter(|group| at.contains(&group.at));
        groups.map(|group| group.bytes).sum::<usize>()
    };
    prop_assert!(bytes(&[At::Parked]) <= most, "more than {most} bytes wait");
    let evicted_bytes = before.into_iter().filter(|(number, _)| evicted.contains(number)).map(|(_, bytes)| bytes);
    let wait = bytes(&[At::Parked, At::Part]);
    prop_assert!(evicted_bytes.max().is_none_or(|largest| wait + largest > most), "evicted for nothing");
    Ok(())
}

async fn take(step: Step, id: u32, real: &mut Real, model: &mut Model) -> Result<(), TestCaseError> {
    // No two weigh the same, so that the bytes say which one has left.
    let item = |item: Item, model: &Model| Item {
        id,
        bytes: item.bytes * KIB + id as usize,
        key: if model.config.partitions.is_some() { item.key } else { 0 },
        ..item
    };
    match (step, &mut real.batch) {
        (Step::Emit(new), Some(batch)) => {
            let item = item(new, model);
            let emitted = batch.emit(item).map_err(|refused| refused.reason);
            prop_assert_eq!(emitted, model.offer(item));
        }
        (Step::Waits(new), Some(batch)) => {
            let item = Item { priority: Priority::Normal, ..item(new, model) };
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
        (Step::Call(new), Some(batch)) => {
            let item = item(new, model);
            let offered = model.offer(item);
            let mut reply = task::spawn(batch.call(item));
            match offered {
                Ok(()) => real.replies.push((id, reply)),
                Err(_) => prop_assert!(matches!(reply.poll(), Poll::Ready(Err(_)))),
            }
        }
        (Step::CancelCall(which), _) if !real.replies.is_empty() => {
            drop(real.replies.swap_remove(which % real.replies.len()));
        }
        (Step::Work, _) => work(real, model)?,
        (Step::Respond { which, how }, _) => respond(real, model, which, how)?,
        (Step::ServerTakes(bytes), _) => real.server_takes = if model.config.is_exact() { bytes } else { usize::MAX },
        (Step::Advance(millis), _) => {
            tokio::time::advance(Duration::from_millis(millis)).await;
            real.now += millis;
        }
        (Step::Flush, _) => {
            let held = model.held().map(|item| item.id).collect();
            real.flushes.push((task::spawn(real.handle.flush()), held));
            model.batches.close_all();
            model.batches.epoch += 1;
        }
        (Step::CancelFlush, _) => drop(real.flushes.pop()),
        (Step::Limit { items, bytes }, _) => {
            real.handle.set_limits(model.config.limits(items, bytes)).unwrap();
            model.limit = (items, bytes);
        }
        (Step::Rebatch { items, bytes, in_flight }, _) => {
            real.handle.set_batching(model.config.batching(items, bytes, in_flight)).unwrap();
            (model.batches.rules.items, model.batches.rules.bytes) = (items, bytes);
            model.largest = (model.largest.0.max(items), model.largest.1.max(bytes));
            model.in_flight = model.in_flight.max(in_flight);
        }
        (Step::Close, batch) => {
            *batch = None;
            close(model);
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
    prop_assert_eq!(real.handle.bytes(), model.bytes());
    let mut wrong = None;
    real.replies.retain_mut(|(id, reply)| match (reply.poll(), model.fate(*id)) {
        (Poll::Pending, None) => true,
        (Poll::Ready(Ok(replied)), Some(fate)) if replied == fate => false,
        // Of two halves that are lost one after the other it is not known which is the first.
        (Poll::Ready(Ok(Fate::Dropped(DropReason::Rejected))), None) if model.is_lost(*id) => false,
        (Poll::Pending, Some(Fate::Dropped(DropReason::Rejected))) => !model.lost_parts().is_empty(),
        // It was never in a batch of which there is a result.
        (Poll::Ready(Err(error)), Some(Fate::Dropped(DropReason::Evicted))) if error.is::<Evicted>() => false,
        (replied, fate) => {
            wrong = Some(format!("the reply to item {id} is {replied:?}, and its fate is {fate:?}"));
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

fn close(model: &mut Model) {
    model.closed = true;
    model.batches.close_all();
}

async fn run(first: (Step, Step), config: Config, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (Step::Limit { items: most, bytes: most_bytes }, Step::Rebatch { items, bytes, in_flight }) = first else {
        return Ok(());
    };
    let (limits, batching) = (config.limits(most, most_bytes), config.batching(items, bytes, in_flight));
    let mut real = real(config, limits, batching);
    let mut model = Model { config, limit: (most, most_bytes), largest: (items, bytes), in_flight, ..Model::default() };
    let open = config.partitions.unwrap_or(1);
    let Config { close_on_high, gathers, .. } = config;
    model.batches.rules = Rules { items, bytes, close_on_high, gathers, open };
    for (id, step) in (0..).zip(steps) {
        take(step, id, &mut real, &mut model).await?;
        check(&mut real, &model)?;
    }
    // Whatever it was left with, it ends, and everything has a fate.
    real.batch = None;
    close(&mut model);
    for _ in 0..200 {
        work(&mut real, &mut model)?;
        respond(&mut real, &mut model, 0, How::Takes)?;
        check(&mut real, &model)?;
        tokio::time::advance(SECOND).await;
        real.now += 1000;
    }
    prop_assert!(real.ended, "the worker ends");
    prop_assert_eq!(real.handle.totals().pending, 0);
    Ok(())
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        3 => Just(How::Takes),
        12 => Just(How::Judges),
        2 => Just(How::SaysWhichAgain),
        2 => Just(How::Refuses),
        2 => Just(How::TakesSome),
        2 => Just(How::SaysWhich),
        4 => Just(How::IsAway),
        1 => Just(How::Panics),
        1 => Just(How::Breaks),
    ]
}

fn limit() -> impl Strategy<Value = Step> {
    (1_usize..24, 1_usize..120).prop_map(|(items, bytes)| Step::Limit { items, bytes: bytes * KIB })
}

fn rebatch() -> impl Strategy<Value = Step> {
    (1_usize..9, 1_usize..80, 1_usize..4).prop_map(|(items, bytes, in_flight)| Step::Rebatch {
        items,
        bytes: bytes * KIB,
        in_flight,
    })
}

fn item() -> impl Strategy<Value = Item> {
    let priority = prop_oneof![2 => Just(Priority::Normal), 1 => Just(Priority::High)];
    (1_usize..20, priority, 0_u8..4, 0_u8..3, prop::bool::weighted(0.1))
        .prop_map(|(bytes, priority, key, tenant, bad)| Item { id: 0, bytes, priority, key, tenant, bad })
}

fn config() -> impl Strategy<Value = Config> {
    let park = prop::option::of(prop_oneof![1 => (1_usize..100).prop_map(|bytes| bytes * KIB), 1 => Just(1 << 30)]);
    let partitions = prop::option::of(1_usize..4);
    let split_budget = prop_oneof![1 => 0_u32..3, 3 => 3_u32..20];
    let share = prop::option::of(0.1..1.0);
    (park, partitions, split_budget, share, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(park, partitions, split_budget, share, drops_oldest, close_on_high, gathers)| {
            let mut config = Config { park, partitions, split_budget, share, drops_oldest, close_on_high, gathers };
            config.drops_oldest &= config.is_exact();
            if split_budget >= 2 {
                // Two halves weigh the same, and it would not be known which one was dropped.
                config.park = park.map(|_| 1 << 30);
            }
            if share.is_some() && split_budget > 0 {
                // Of two halves it would not be known either whose share the first one had: none is lost.
                config.split_budget = split_budget.max(20);
            }
            config
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => item().prop_map(Step::Emit),
        1 => item().prop_map(Step::Waits),
        6 => item().prop_map(Step::Call),
        2 => any::<usize>().prop_map(Step::CancelCall),
        8 => Just(Step::Work),
        8 => (any::<usize>(), how()).prop_map(|(which, how)| Step::Respond { which, how }),
        4 => (1_u64..1500).prop_map(Step::Advance),
        1 => (1_usize..80).prop_map(|bytes| Step::ServerTakes(bytes * KIB)),
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
        config in config(),
        steps in prop::collection::vec(step(), 1..400),
    ) {
        quiet();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(first, config, steps))?;
    }
}
