//! Long random histories: a slot and the plain model see the same, and must be the same all along.

use super::plain::{Goes, Plain};
use crate::{
    Mode,
    decision::{Decision, Pass, Ticket},
    gauge::Gauge,
    observation::{Grade, Observation},
    policy::{OpenTime, Policy, RampPlan, TimeWindow, WHOLE, Window},
    rule::{Bad, Rule},
    slot::{Env, Slot, SlotCtx},
    window::{Counters, Layout, Line},
};
use proptest::prelude::*;
use std::cell::Cell;

const MS: u64 = 1000;
const STRIPES: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Call,
    /// The result of one of the calls under way.
    Finish {
        which: usize,
        observed: Observation,
    },
    SetMode(Mode),
    Reset,
}

#[derive(Debug, Default)]
struct Here {
    now: Cell<u64>,
    thread: Cell<usize>,
}

impl Env for Here {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn draw(&self) -> u64 {
        0
    }

    fn stripe(&self) -> usize {
        self.thread.replace(self.thread.get() + 1)
    }
}

fn rule() -> impl Strategy<Value = Rule> {
    let bad = prop_oneof![Just(Bad::Failed), (1..40_u64).prop_map(|ms| Bad::SlowerThan(ms * MS))];
    let window = prop_oneof![
        (1..20_u64, 2..6_u32).prop_map(|(ms, buckets)| Window::Time(TimeWindow { width: ms * MS, buckets, first: 0 })),
        (1..140_u32).prop_map(Window::Calls),
    ];
    (bad, 1..=10_u32, 1..10_u32, window).prop_map(|(bad, tenths, min_calls, window)| {
        let most = if let Window::Calls(calls) = window { calls } else { u32::MAX };
        Rule { bad, ratio: tenths * WHOLE / 10, min_calls: min_calls.min(most), window }
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let ramp = proptest::option::of((1..50_u64, 1..=10_u32))
        .prop_map(|ramp| ramp.map(|(ms, tenths)| RampPlan { over: ms * MS, from: tenths * WHOLE / 10 }));
    let rules = proptest::collection::vec(rule(), 0..4);
    let open = (1..20_u64, any::<bool>(), 1..100_u64);
    (0..6_u16, rules, open, 1..4_u32, 1..4_u32, 1..30_u64, ramp).prop_map(
        |(streak, mut rules, (base, grows, cap), close_after, probes, lease, ramp)| {
            let (mut cells, mut rings) = (0, 0);
            for rule in &mut rules {
                match &mut rule.window {
                    Window::Time(window) => {
                        window.first = cells;
                        cells += window.cells();
                    }
                    Window::Calls(_) => rings += 1,
                }
            }
            let stopwatch = rules.iter().any(|rule| rule.bad != Bad::Failed);
            let growth = if grows { 2.0 } else { 1.0 };
            let cap = if grows { base + cap } else { base.max(cap) };
            Policy {
                streak,
                rules: rules.into(),
                rings,
                only: None,
                timed: cells > 0 || stopwatch,
                stopwatch,
                cells,
                open: OpenTime { base: base * MS, growth, cap: cap * MS, jitter: 0.0, max_hint: u64::MAX },
                close_after,
                probes,
                lease: lease * MS,
                ramp,
                cancelled: Grade::Failure,
                terminal: Grade::Failure,
                open_share: WHOLE,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let grade = prop_oneof![
        5 => Just(Grade::Failure),
        5 => Just(Grade::Success),
        1 => Just(Grade::Ignored),
        1 => Just(Grade::Slow)
    ];
    let observed = (grade, 0..50_u64, proptest::option::weighted(0.1, 0..60_u64))
        .prop_map(|(grade, took, hint)| Observation { grade, took: Some(took * MS), hint: hint.map(|ms| ms * MS) });
    let mode =
        prop_oneof![Just(Mode::Normal), Just(Mode::ForcedOpen), Just(Mode::ForcedClosed), Just(Mode::ObserveOnly)];
    prop_oneof![
        20 => (0..12_u64).prop_map(Step::Wait),
        2 => (12..200_u64).prop_map(Step::Wait),
        40 => Just(Step::Call),
        40 => (any::<usize>(), observed).prop_map(|(which, observed)| Step::Finish { which, observed }),
        1 => mode.prop_map(Step::SetMode),
        3 => Just(Step::SetMode(Mode::Normal)),
        1 => Just(Step::Reset),
    ]
}

proptest! {
    #![proptest_config(super::seeded(400))]

    /// B01, B02, B04 to B08, B11, B14, B17, B18: all of it, in any order.
    #[test]
    fn a_slot_is_what_the_model_is(policy in policy(), steps in proptest::collection::vec(step(), 1..400)) {
        let layout = Layout::new(policy.cells, STRIPES);
        let lines: Vec<_> = (0..layout.lines()).map(|_| Line::new()).collect();
        let (slot, gauge, here) = (Slot::vacant(), Gauge::default(), Here::default());
        let ctx = SlotCtx {
            policy: &policy,
            gauge: &gauge,
            counters: Counters { lines: &lines, layout },
            env: &here,
            observed: true,
        };
        slot.occupy(0, Mode::Normal, None, &ctx);
        let mut plain = Plain::new(policy.clone());
        let mut under_way: Vec<(Ticket, Goes)> = Vec::new();

        for (number, step) in steps.into_iter().enumerate() {
            let now = here.now.get();
            match step {
                Step::Wait(ms) => here.now.set(now + ms * MS),
                Step::Call => {
                    let (decision, event) = slot.admit(0, &ctx).unwrap();
                    let (goes, transition) = plain.admit(now);
                    prop_assert_eq!(event.map(|event| event.transition), transition, "step {}", number);
                    match (decision, goes) {
                        (Decision::Admit(ticket), goes) => {
                            let same = matches!(
                                (ticket.pass, goes),
                                (Pass::Ordinary, Goes::Ordinary(_))
                                    | (Pass::Probe(_), Goes::Probe(..))
                                    | (Pass::Bypass, Goes::Bypass)
                            );
                            prop_assert!(same, "step {}: {:?} {:?}", number, ticket, goes);
                            under_way.push((ticket, goes));
                        }
                        (Decision::Refuse(refusal), Goes::Refused(expected)) => {
                            prop_assert_eq!(refusal.micros(), expected, "step {}", number);
                        }
                        // What is refused in this mode goes all the same; the shell sees to it.
                        (Decision::Refuse(_), Goes::Bypass) => prop_assert_eq!(plain.mode, Mode::ObserveOnly),
                        (decision, goes) => prop_assert!(false, "step {}: {:?} {:?}", number, decision, goes),
                    }
                }
                Step::Finish { which, observed } if !under_way.is_empty() => {
                    let (ticket, goes) = under_way.swap_remove(which % under_way.len());
                    let event = slot.settle(ticket, &observed, &ctx);
                    let expected = plain.settle(goes, observed, now);
                    prop_assert_eq!(event.map(|event| event.transition), expected, "step {}", number);
                }
                Step::Finish { .. } => {}
                Step::SetMode(mode) => {
                    let changed = slot.locked(&ctx, |machine| machine.set_mode(mode)).is_some();
                    prop_assert_eq!(changed, plain.set_mode(mode));
                }
                Step::Reset => {
                    slot.locked(&ctx, |machine| machine.reset(plain.mode));
                    plain.reset();
                }
            }

            let now = here.now.get();
            let view = slot.view(0, &ctx, now).unwrap();
            let (state, mode) = (plain.shown(now), plain.mode);
            prop_assert_eq!((view.state, view.mode), (state, mode), "step {}", number);
            prop_assert_eq!(view.consecutive_failures, plain.streak(), "step {}", number);
            prop_assert_eq!(view.probes, plain.probes(now), "step {}", number);
            prop_assert_eq!(view.successes, plain.successes(), "step {}", number);
            if state != crate::State::Closed {
                prop_assert_eq!(view.openings, plain.openings(), "step {}", number);
            }
            if matches!(plain.state(), crate::State::Closed | crate::State::Ramping) {
                for (tally, rule) in view.windows.iter().zip(&policy.rules) {
                    let (calls, bad) = plain.tally(rule, now);
                    // A window over calls that is full of good ones ignores one more.
                    prop_assert_eq!((tally.calls, tally.bad), (calls, bad), "step {}: {:?}", number, rule);
                }
            }
            let tripped = matches!(plain.state(), crate::State::Open | crate::State::HalfOpen);
            prop_assert_eq!(gauge.open(), u32::from(tripped));
        }
    }
}
