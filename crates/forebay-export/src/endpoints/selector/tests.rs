use super::*;
use proptest::prelude::{Just, Strategy as Generate, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What happens to the endpoints.
#[derive(Clone, Debug)]
enum Step {
    /// An attempt with a body of so many bytes, which was tried at these.
    Pick {
        bytes: usize,
        tried: Vec<u64>,
    },
    /// The oldest attempt in flight ends so.
    End(End),
    /// The oldest attempt in flight is dropped.
    Drop,
    Pass(u64),
    Circuit(usize, Circuit),
    Limit(usize, usize),
    /// These are the endpoints from now on.
    Set(Vec<u64>),
}

fn step() -> impl Generate<Value = Step> {
    let circuit = prop_oneof![
        3 => Just(Circuit::Closed),
        1 => any::<bool>().prop_map(|under_way| Circuit::Probing { under_way }),
        1 => (1..3000_u64).prop_map(|wait| Circuit::Open(ms(wait))),
    ];
    let end = prop_oneof![
        3 => Just(End::Responded),
        1 => (1..100_usize).prop_map(End::TooLarge),
        2 => proptest::option::of((1..5000_u64).prop_map(ms)).prop_map(End::Failed),
    ];
    prop_oneof![
        8 => (1..100_usize, prop::collection::vec(0..5_u64, 0..3)).prop_map(|(bytes, tried)| Step::Pick { bytes, tried }),
        5 => end.prop_map(Step::End),
        1 => Just(Step::Drop),
        3 => (1..2000_u64).prop_map(Step::Pass),
        2 => (0..5_usize, circuit).prop_map(|(at, circuit)| Step::Circuit(at, circuit)),
        1 => (0..5_usize, 1..4_usize).prop_map(|(at, limit)| Step::Limit(at, limit)),
        1 => prop::sample::subsequence(vec![0, 1, 2, 3, 4], 1..=5).prop_shuffle().prop_map(Step::Set),
    ]
}

/// The plainest account of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    in_flight: usize,
    held_until: Option<Instant>,
    /// The smallest body that was too large, and when.
    too_large: Option<(usize, Instant)>,
}

proptest! {
    /// Whatever happens: an attempt goes to no endpoint that was tried, is away, is full or does not take its size, and it goes to
    /// one whenever there is one, if the load is shared.
    #[test]
    fn e02_an_attempt_goes_only_where_it_may(
        steps in prop::collection::vec(step(), 1..200),
        seed in any::<u64>(),
        shared in any::<bool>(),
    ) {
        let strategy = if shared { Strategy::Balance } else { Strategy::Failover { return_after: ms(3000) } };
        let mut now = start();
        let mut selector = Selector::new(strategy, seed);
        let mut order = vec![0, 1, 2];
        selector.set(strategy, order.iter().map(|id| (Id(*id), 1)));
        let mut views: Vec<View> = (0..5).map(|id| View { id: Id(id), circuit: Circuit::Closed, limit: 2 }).collect();
        let mut known = [Known::default(); 5];
        let mut flying: Vec<u64> = Vec::new();
        for step in steps {
            match step {
                Step::Pass(time) => now += ms(time),
                Step::Circuit(at, circuit) => views[at].circuit = circuit,
                Step::Limit(at, limit) => views[at].limit = limit,
                Step::Set(ids) => {
                    for gone in order.iter().filter(|id| !ids.contains(*id)) {
                        known[usize::try_from(*gone).unwrap()] = Known::default();
                        // What is in flight at one that was removed is none of the selector's business any more.
                        flying.retain(|id| id != gone);
                    }
                    order = ids;
                    selector.set(strategy, order.iter().map(|id| (Id(*id), 1)));
                }
                Step::Drop if !flying.is_empty() => {
                    let id = flying.remove(0);
                    selector.left(Id(id));
                    known[usize::try_from(id).unwrap()].in_flight -= 1;
                }
                Step::End(end) if !flying.is_empty() => {
                    let id = flying.remove(0);
                    let at = usize::try_from(id).unwrap();
                    selector.ended(Id(id), now, ms(10), end, views[at].limit);
                    selector.left(Id(id));
                    let known = &mut known[at];
                    known.in_flight -= 1;
                    match end {
                        End::Failed(Some(hint)) => {
                            known.held_until = Some(known.held_until.map_or(now + hint, |until| until.max(now + hint)));
                        }
                        End::TooLarge(bytes) => {
                            let before = known.too_large.filter(|(_, at)| now - *at < ms(600_000));
                            known.too_large = Some((before.map_or(bytes, |(less, _)| less.min(bytes)), now));
                        }
                        End::Failed(None) | End::Responded => {}
                    }
                }
                Step::Drop | Step::End(_) => {}
                Step::Pick { bytes, tried } => {
                    let ids: Vec<Id> = tried.iter().map(|id| Id(*id)).collect();
                    let (mut there, mut fitting, mut free) = (0, 0, Vec::new());
                    for id in order.iter().filter(|id| !tried.contains(*id)) {
                        let at = usize::try_from(*id).unwrap();
                        let (view, known) = (views[at], known[at]);
                        let is_held = known.held_until.is_some_and(|until| until > now);
                        if is_held || matches!(view.circuit, Circuit::Open(_)) {
                            continue;
                        }
                        there += 1;
                        let too_large = known.too_large.filter(|(_, at)| now - *at < ms(600_000));
                        if too_large.is_some_and(|(most, _)| bytes >= most) {
                            continue;
                        }
                        fitting += 1;
                        let has_room = match view.circuit {
                            Circuit::Closed => known.in_flight < view.limit,
                            Circuit::Probing { under_way } => !under_way,
                            Circuit::Open(_) => false,
                        };
                        if has_room {
                            free.push(*id);
                        }
                    }
                    let is_left = selector.is_any_left(now, &views, &ids, bytes);
                    prop_assert_eq!(is_left, fitting > 0);
                    match selector.pick(now, &views, &ids, bytes) {
                        Pick::Send(Id(id)) => {
                            prop_assert!(free.contains(&id), "{} of {:?}", id, free);
                            known[usize::try_from(id).unwrap()].in_flight += 1;
                            flying.push(id);
                        }
                        // A ramp may leave less room than the limit; a failover waits for the one that it sends to.
                        Pick::Full(until) => {
                            prop_assert!(fitting > 0);
                            prop_assert!(until.is_none_or(|until| until > now));
                        }
                        Pick::TooLarge(..) => prop_assert!(there > 0 && fitting == 0),
                        Pick::Away(until, _) => prop_assert!(there == 0 && until > now),
                        Pick::None => prop_assert!(order.iter().all(|id| tried.contains(id))),
                    }
                }
            }
            for id in &order {
                prop_assert_eq!(selector.member(Id(*id)).unwrap().in_flight, known[usize::try_from(*id).unwrap()].in_flight);
            }
        }
    }
}

fn closed(id: u64) -> View {
    View { id: Id(id), circuit: Circuit::Closed, limit: 8 }
}

fn two(strategy: Strategy) -> Selector {
    let mut selector = Selector::new(strategy, 1);
    selector.set(strategy, [(Id(0), 1), (Id(1), 1)].into_iter());
    selector
}

#[test]
fn e01_after_a_return_the_room_grows_with_each_success() {
    let (mut selector, now) = (two(Strategy::Balance), start());
    let probing = View { circuit: Circuit::Probing { under_way: false }, ..closed(0) };
    assert_eq!(selector.pick(now, &[probing, closed(1)], &[], 1), Pick::Send(Id(0)), "it is probed first");
    assert_eq!(selector.limit(&probing), 1);
    for room in 2..8 {
        selector.ended(Id(0), now, ms(1), End::Responded, 8);
        assert_eq!(selector.limit(&closed(0)), room);
    }
    selector.ended(Id(0), now, ms(1), End::Responded, 8);
    assert_eq!(selector.limit(&closed(0)), 8, "the ramp is over");
}

#[test]
fn a_failover_stays_where_it_is_after_a_single_failure_and_leaves_an_open_circuit() {
    let strategy = Strategy::Failover { return_after: ms(1000) };
    let (mut selector, now) = (two(strategy), start());
    assert_eq!(selector.pick(now, &[closed(0), closed(1)], &[], 1), Pick::Send(Id(0)));
    selector.ended(Id(0), now, ms(1), End::Failed(None), 8);
    selector.left(Id(0));
    assert_eq!(selector.pick(now, &[closed(0), closed(1)], &[Id(0)], 1), Pick::Send(Id(1)));
    assert_eq!(selector.current(), Some(Id(0)));
    let open = View { circuit: Circuit::Open(ms(500)), ..closed(0) };
    assert_eq!(selector.pick(now, &[open, closed(1)], &[], 1), Pick::Send(Id(1)));
    assert_eq!(selector.current(), Some(Id(1)));
    assert_eq!(selector.pick(now + ms(900), &[closed(0), closed(1)], &[], 1), Pick::Send(Id(0)), "a trial");
    assert_eq!(selector.pick(now + ms(900), &[closed(0), closed(1)], &[], 1), Pick::Send(Id(1)), "and one alone");
    selector.ended(Id(0), now + ms(950), ms(1), End::Responded, 8);
    assert_eq!(selector.pick(now + ms(1000), &[closed(0), closed(1)], &[], 1), Pick::Send(Id(0)), "it has held");
    assert_eq!(selector.current(), Some(Id(0)));
}
