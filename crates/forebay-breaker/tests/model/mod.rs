//! What must hold in every interleaving. The test that includes this brings the threads and the scheduler.

use crate::{
    Mode, Reason, State,
    decision::{Decision, Pass, Ticket},
    explore,
    gauge::Gauge,
    observation::{Grade, Observation},
    policy::{OpenTime, Policy, TimeWindow, WHOLE, Window},
    rule::{Bad, Rule},
    slot::{Env, Slot, SlotCtx},
    state::Transition,
    thread,
    window::{Counters, Layout, Line},
    word::Word,
};
use forebay_core::support::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};
use std::{collections::HashMap, sync::Arc};

const MS: u64 = 1000;

/// A slot with everything that it needs of a breaker.
pub(crate) struct World {
    policy: Policy,
    gauge: Gauge,
    layout: Layout,
    lines: Vec<Line>,
    pub(crate) slots: Vec<Slot>,
}

/// One instant of one thread.
struct At {
    now: u64,
    stripe: usize,
}

impl Env for At {
    fn now(&self) -> u64 {
        self.now
    }

    fn draw(&self) -> u64 {
        0
    }

    fn stripe(&self) -> usize {
        self.stripe
    }
}

fn policy() -> Policy {
    Policy {
        streak: 1,
        rules: Box::new([]),
        rings: 0,
        only: None,
        timed: false,
        stopwatch: false,
        cells: 0,
        open: OpenTime { base: MS, growth: 1.0, cap: MS, jitter: 0.0, max_hint: 0 },
        close_after: 1,
        probes: 1,
        lease: 100 * MS,
        ramp: None,
        cancelled: Grade::Ignored,
        terminal: Grade::Failure,
        open_share: WHOLE,
    }
}

impl World {
    pub(crate) fn new(policy: Policy, slots: usize) -> Self {
        let layout = Layout::new(policy.cells, 1);
        let lines = (0..layout.lines()).map(|_| Line::new()).collect();
        let slots = (0..slots).map(|_| Slot::vacant()).collect();
        let world = Self { policy, gauge: Gauge::default(), layout, lines, slots };
        for slot in &world.slots {
            world.at(0, |ctx| slot.occupy(0, Mode::Normal, None, ctx));
        }
        world.gauge.keys.store(u32::try_from(world.slots.len()).unwrap(), Ordering::Relaxed);
        world
    }

    fn at<T>(&self, now: u64, work: impl FnOnce(&SlotCtx<'_, At>) -> T) -> T {
        let counters = Counters { lines: &self.lines, layout: self.layout };
        let env = At { now, stripe: 0 };
        work(&SlotCtx { policy: &self.policy, gauge: &self.gauge, counters, env: &env, observed: true })
    }

    pub(crate) fn admit(&self, now: u64) -> Option<Ticket> {
        match self.at(now, |ctx| self.slots[0].admit(0, ctx)).unwrap() {
            (Decision::Admit(ticket), _) => Some(ticket),
            (Decision::Refuse(_) | Decision::Undecided, _) => None,
        }
    }

    pub(crate) fn settle(&self, slot: usize, ticket: Ticket, grade: Grade, now: u64) -> Option<Transition> {
        let observed = Observation { grade, took: None, hint: None };
        let event = self.at(now, |ctx| self.slots[slot].settle(ticket, &observed, ctx));
        event.map(|event| event.transition)
    }

    fn ticket(&self, slot: usize) -> Ticket {
        Ticket { word: self.slots[slot].word(), pass: Pass::Ordinary }
    }

    fn state(&self) -> State {
        self.slots[0].word().state()
    }

    /// Opened at the beginning of time by as many failures as it takes; half-open from 1 ms on.
    fn opened(policy: Policy) -> Self {
        let world = Self::new(policy, 1);
        while world.state() == State::Closed {
            world.settle(0, world.ticket(0), Grade::Failure, 0);
        }
        world
    }
}

fn both<A: Send + 'static, B>(
    world: &Arc<World>,
    one: impl FnOnce(&World) -> A + Send + 'static,
    other: impl FnOnce(&World) -> B,
) -> (A, B) {
    let theirs = Arc::clone(world);
    let thread = thread::spawn(move || one(&theirs));
    let mine = other(world);
    (thread.join().unwrap(), mine)
}

/// B04: of any number of racers, as many go as there are probes, and no more.
pub(crate) fn b04_racers(racers: usize, probes: u32) {
    explore(move || {
        let world = Arc::new(World::opened(Policy { probes, ..policy() }));
        let admitted = Arc::new(AtomicU32::new(0));
        let race = |world: &World, admitted: &AtomicU32| {
            if let Some(ticket) = world.admit(2 * MS) {
                assert!(matches!(ticket.pass, Pass::Probe(_)), "{ticket:?}");
                admitted.fetch_add(1, Ordering::Relaxed);
            }
        };
        let threads: Vec<_> = (1..racers)
            .map(|_| {
                let (world, admitted) = (Arc::clone(&world), Arc::clone(&admitted));
                thread::spawn(move || race(&world, &admitted))
            })
            .collect();
        race(&world, &admitted);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(admitted.load(Ordering::Relaxed), probes.min(u32::try_from(racers).unwrap()));
    });
}

#[test]
fn b04_two_racers_one_probe() {
    b04_racers(2, 1);
}

/// B08: probes that are given back at once are both there for the next calls.
#[test]
fn b08_a_cancelled_probe_is_never_lost() {
    explore(|| {
        let world = Arc::new(World::opened(Policy { probes: 2, ..policy() }));
        let probes = [world.admit(2 * MS).unwrap(), world.admit(2 * MS).unwrap()];
        both(
            &world,
            move |world| world.settle(0, probes[0], Grade::Ignored, 3 * MS),
            move |world| world.settle(0, probes[1], Grade::Ignored, 3 * MS),
        );
        assert_eq!(world.state(), State::HalfOpen);
        let after = [(); 3].map(|()| world.admit(4 * MS).is_some());
        assert_eq!(after, [true, true, false], "two probes, no more and no less");
    });
}

/// B18: when a lease ends while its probe gets its response, one other probe goes at most, and the response counts once or never.
#[test]
fn b18_a_lease_that_ends_makes_room_for_one() {
    explore(|| {
        let world = Arc::new(World::opened(Policy { close_after: 2, ..policy() }));
        let hung = world.admit(2 * MS).unwrap();
        let late = 102 * MS;
        let ((_, first), second) = both(
            &world,
            move |world| (world.settle(0, hung, Grade::Success, late), world.admit(late)),
            |world| world.admit(late),
        );
        assert!(first.is_some() != second.is_some(), "{first:?} {second:?}");
        assert_eq!(world.state(), State::HalfOpen, "one success is not enough");
    });
}

/// B01: failures on several threads open it once, and one thread emits the event.
#[test]
fn b01_two_failures_open_once() {
    explore(|| {
        let world = Arc::new(World::new(policy(), 1));
        let ticket = world.ticket(0);
        let fail = move |world: &World| world.settle(0, ticket, Grade::Failure, 0);
        let (one, other) = both(&world, fail, fail);
        let opened =
            Transition::State { from: State::Closed, to: State::Open, reason: Reason::Consecutive { failures: 1 } };
        assert_eq!([one, other].iter().flatten().collect::<Vec<_>>(), [&opened]);
        assert_eq!((world.state(), world.gauge.open()), (State::Open, 1));
    });
}

/// No failure is lost between those that count without the lock and one that holds it.
#[test]
fn a_failure_counts_while_the_lock_is_held() {
    explore(|| {
        let world = Arc::new(World::new(Policy { streak: 3, ..policy() }, 1));
        let ticket = world.ticket(0);
        let observe = |world: &World| {
            world.at(0, |ctx| world.slots[0].locked(ctx, |machine| machine.set_mode(Mode::ObserveOnly)))
        };
        both(&world, move |world| world.settle(0, ticket, Grade::Failure, 0), observe);
        let word = world.slots[0].word();
        assert_eq!((word.mode(), word.streak(), word.has(Word::HELD)), (Mode::ObserveOnly, 1, false));
    });
}

/// B07: a failure of an older generation moves nothing, whenever it comes.
#[test]
fn b07_a_late_failure_moves_nothing() {
    explore(|| {
        let world = Arc::new(World::new(policy(), 1));
        let late = world.ticket(0);
        world.settle(0, late, Grade::Failure, 0);
        let probe = world.admit(2 * MS).unwrap();
        let (late, closed) = both(
            &world,
            move |world| world.settle(0, late, Grade::Failure, 3 * MS),
            |world| world.settle(0, probe, Grade::Success, 3 * MS),
        );
        assert!(late.is_none() && closed.is_some(), "{late:?} {closed:?}");
        assert_eq!((world.state(), world.slots[0].word().streak()), (State::Closed, 0));
    });
}

/// B13: what was under way for a key that left is not put down to the key that came after it.
#[test]
fn b13_a_place_that_changes_hands_starts_clean() {
    explore(|| {
        let world = Arc::new(World::new(Policy { streak: 2, ..policy() }, 1));
        let call = |world: &World| {
            let Ok((decision, _)) = world.at(0, |ctx| world.slots[0].admit(0, ctx)) else { return };
            let Decision::Admit(ticket) = decision else { panic!("a closed key refused") };
            world.settle(0, ticket, Grade::Failure, 0);
        };
        let change_hands = |world: &World| {
            world.at(0, |ctx| {
                world.slots[0].vacate(ctx);
                world.slots[0].occupy(0, Mode::Normal, None, ctx)
            })
        };
        let (_, tenancy) = both(&world, call, change_hands);
        assert_eq!(tenancy, 1);
        assert_eq!(world.slots[0].word().streak(), 0, "the next tenant inherited a failure");
    });
}

/// The fleet guard is never overdrawn, and some key gets what it allows.
#[test]
fn two_keys_race_for_the_one_that_may_open() {
    explore(|| {
        let world = Arc::new(World::new(Policy { open_share: WHOLE / 2, ..policy() }, 2));
        let tickets = [world.ticket(0), world.ticket(1)];
        let (one, other) = both(
            &world,
            move |world| world.settle(0, tickets[0], Grade::Failure, 0),
            move |world| world.settle(1, tickets[1], Grade::Failure, 0),
        );
        let held_back = |transition| matches!(transition, Some(Transition::HeldBack(_)));
        assert!(held_back(one) != held_back(other), "{one:?} {other:?}");
        assert_eq!(world.gauge.open(), 1);
    });
}

fn timed() -> Policy {
    let window = TimeWindow { width: MS, buckets: 2, first: 0 };
    let rule = Rule { bad: Bad::Failed, ratio: WHOLE, min_calls: 1000, window: Window::Time(window) };
    Policy { streak: 0, rules: Box::new([rule]), timed: true, cells: window.cells(), ..policy() }
}

fn tally(world: &World, now: u64) -> (u64, u64) {
    let view = world.at(now, |ctx| world.slots[0].view(0, ctx, now)).unwrap();
    (view.windows[0].calls, view.windows[0].bad)
}

/// B19: two threads find the same old bucket, and both their results are in the new one.
#[test]
fn b19_a_bucket_starts_again_once() {
    explore(|| {
        let world = Arc::new(World::new(timed(), 1));
        let ticket = world.ticket(0);
        world.settle(0, ticket, Grade::Failure, 0);
        let fail = move |world: &World| world.settle(0, ticket, Grade::Failure, 2 * MS);
        both(&world, fail, fail);
        assert_eq!(tally(&world, 2 * MS), (2, 2));
    });
}

/// B19: a thread that was held up for a whole turn of the ring neither adds to the new bucket nor empties it.
#[test]
fn b19_a_straggler_leaves_the_new_bucket_alone() {
    explore(|| {
        let world = Arc::new(World::new(timed(), 1));
        let ticket = world.ticket(0);
        both(
            &world,
            move |world| world.settle(0, ticket, Grade::Failure, 0),
            move |world| world.settle(0, ticket, Grade::Failure, 2 * MS),
        );
        assert_eq!(tally(&world, 2 * MS), (1, 1));
    });
}

/// Many threads call, succeed, fail and give up for a while, each at its own pace.
///
/// At no time are more probes of one generation under way than allowed (their leases are long), the guard's count is that of the states,
/// and in the end it can still close: no permit was lost.
pub(crate) fn crowd(threads: u64, calls: u64) {
    explore(move || {
        let world = Arc::new(World::new(Policy { streak: 2, probes: 2, close_after: 2, ..policy() }, 1));
        let probing = Arc::new(Mutex::new(HashMap::<u32, u32>::new()));
        let threads: Vec<_> = (0..threads)
            .map(|number| {
                let (world, probing) = (Arc::clone(&world), Arc::clone(&probing));
                thread::spawn(move || {
                    for call in 0..calls {
                        let now = (number + call) * 700;
                        let Some(ticket) = world.admit(now) else { continue };
                        let grade =
                            [Grade::Failure, Grade::Success, Grade::Ignored][((number * 7 + call) % 3) as usize];
                        if matches!(ticket.pass, Pass::Probe(_)) {
                            // Probes of another generation may still be on their way; their permits are void.
                            let generation = ticket.word.generation();
                            let mut probes = probing.lock().unwrap();
                            let under_way = probes.entry(generation).or_default();
                            *under_way += 1;
                            assert!(*under_way <= 2, "{under_way} probes are under way");
                            drop(probes);
                            thread::yield_now();
                            // Before it is settled: from then on another call may hold the permit.
                            *probing.lock().unwrap().entry(generation).or_default() -= 1;
                        }
                        world.settle(0, ticket, grade, now);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(world.gauge.open() == 0, world.slots[0].word().counts());
        for _ in 0..4 {
            let ticket = world.admit(1000 * MS).expect("a permit was lost");
            world.settle(0, ticket, Grade::Success, 1000 * MS);
        }
        assert_eq!((world.state(), world.gauge.open()), (State::Closed, 0));
    });
}
