use super::*;
use crate::Batching;
use proptest::prelude::*;
use std::collections::BTreeMap;

const S: Duration = Duration::from_secs(1);

/// One batch in flight, and no age limit.
fn look(now: Instant) -> Look {
    Look { now, batching: Batching::new(), in_flight: 1, max_age: None }
}

fn batch(partition: u128, opened: Instant) -> PendingBatch<u8, ()> {
    let mut batch = PendingBatch::of(vec![1]);
    (batch.partition, batch.opened, batch.attempts) = (Partition(partition), Some(opened), 1);
    batch
}

/// Two waits of a second.
fn backoffs() -> Backoffs<u8, ()> {
    Backoffs::new(ParkRule { backoff: Some(MakeWaits::new([S, S])), max_bytes: usize::MAX, max_hint: Duration::ZERO })
}

#[test]
fn a_key_that_failed_once_and_was_never_used_again_is_forgotten() {
    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    let start = Instant::now();
    let mut backoffs = backoffs();
    for number in 0..10_000 {
        let now = start + S * number;
        assert!(backoffs.park(batch(number.into(), now), None, &look(now)).is_none());
        // It outlives its limit long before it could be sent again.
        assert_eq!(backoffs.expired(now + S / 2, S / 4).len(), 1);
        assert!(backoffs.by_partition.len() <= 2 * REMEMBERED, "{number}");
    }
    assert_eq!(backoffs.bytes, 0);
    // What waits, or may not be sent to yet, is kept.
    let now = start + S * 20_000;
    assert!(backoffs.park(batch(20_000, now), None, &look(now)).is_none());
    backoffs.crowded = 0;
    backoffs.forget_idle(now);
    assert_eq!(backoffs.by_partition.len(), 1);
    assert!(backoffs.holds(Partition(20_000), now));
}

#[test]
fn f18_a_probe_that_was_lost_to_a_panic_is_not_waited_for() {
    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    let start = Instant::now();
    let (one, due) = (Partition(1), start + S);
    let mut backoffs = backoffs();
    assert!(backoffs.park(batch(1, start), None, &look(start)).is_none());
    let probe = backoffs.next(due).unwrap();
    let generation = backoffs.sent(one);
    let sent = |partition, generation| {
        let mut batch = batch(partition, start);
        batch.generation = generation;
        batch
    };
    backoffs.recount(&[&sent(1, generation)]);
    assert!(backoffs.holds(one, due), "it is still in flight");
    drop(probe);
    backoffs.recount(&[&sent(1, generation - 1), &sent(2, generation)]);
    assert!(!backoffs.holds(one, due), "what is in flight is of another generation, or partition");
    assert_eq!(backoffs.sent(one), generation);
    assert!(backoffs.holds(one, due), "one probe at a time");
}

/// What may happen to the partitions of a batcher.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A batch of this partition is about to be sent for the first time.
    New(u128),
    /// What may be sent is sent.
    Sends,
    /// One of those in flight fails, with a hint of so many seconds, or without one.
    Fails(usize, Option<u32>),
    Succeeds(usize),
    /// So many milliseconds pass.
    Passes(u64),
}

/// What a plain list knows: where each batch is, and how each partition fares.
#[derive(Default)]
struct Plain {
    in_flight: Vec<PendingBatch<u8, ()>>,
    /// The partition of each batch that waits, and its bytes if it was sent before.
    waits: BTreeMap<u8, (u128, usize)>,
    /// The failures of each partition since anything of it succeeded, and whether one of them had a hint.
    fares: BTreeMap<u128, (usize, bool)>,
    /// The partitions that were held since they were last well.
    held: BTreeMap<u128, bool>,
}

fn event() -> impl Strategy<Value = Event> {
    let hint = prop_oneof![9 => Just(None), 1 => (1_u32..4).prop_map(Some)];
    prop_oneof![
        4 => (0_u8..3).prop_map(|partition| Event::New(partition.into())),
        4 => Just(Event::Sends),
        6 => (any::<usize>(), hint).prop_map(|(which, hint)| Event::Fails(which, hint)),
        1 => any::<usize>().prop_map(Event::Succeeds),
        3 => (1_u64..900).prop_map(Event::Passes),
    ]
}

fn name(batch: &PendingBatch<u8, ()>) -> u8 {
    batch.items.as_deref().unwrap()[0]
}

/// One batch out of the waiting ones, or a new one, is given to the server.
fn send(backoffs: &mut Backoffs<u8, ()>, plain: &mut Plain, mut batch: PendingBatch<u8, ()>) {
    batch.attempts += 1;
    batch.generation = backoffs.sent(batch.partition);
    plain.in_flight.push(batch);
}

fn happens(
    event: Event,
    (now, in_flight): (&mut Instant, usize),
    names: &mut u8,
    backoffs: &mut Backoffs<u8, ()>,
    plain: &mut Plain,
) -> Result<(), TestCaseError> {
    let look = Look { now: *now, batching: Batching::new().max_in_flight(in_flight), in_flight, max_age: None };
    match event {
        Event::New(_) if *names == u8::MAX => {}
        Event::New(partition) => {
            *names += 1;
            let mut new = PendingBatch::of(vec![*names]);
            (new.partition, new.opened, new.charge.bytes) = (Partition(partition), Some(*now), usize::from(*names));
            if backoffs.holds(new.partition, *now) {
                let join = Join { max_items: 1, max_bytes: usize::MAX, max_apart: Duration::MAX };
                plain.waits.insert(*names, (partition, 0));
                prop_assert!(backoffs.hold(new, &join).is_none(), "it is held");
            } else if plain.in_flight.len() < in_flight {
                send(backoffs, plain, new);
            }
        }
        Event::Sends => {
            while plain.in_flight.len() < in_flight
                && let Some(batch) = backoffs.next(*now)
            {
                prop_assert!(plain.waits.remove(&name(&batch)).is_some(), "it waits nowhere");
                send(backoffs, plain, batch);
            }
        }
        Event::Fails(which, hint) if !plain.in_flight.is_empty() => {
            let batch = plain.in_flight.swap_remove(which % plain.in_flight.len());
            let (name, partition, bytes) = (name(&batch), batch.partition, batch.charge.bytes);
            let fares = plain.fares.entry(partition.0).or_default();
            *fares = (fares.0 + 1, fares.1 || hint.is_some());
            if backoffs.park(batch, hint.map(|hint| S * hint), &look).is_none() {
                plain.waits.insert(name, (partition.0, bytes));
            }
            if hint.is_some() || fares.0 >= all_fail(&look) {
                plain.held.insert(partition.0, true);
            }
        }
        Event::Succeeds(which) if !plain.in_flight.is_empty() => {
            let batch = plain.in_flight.swap_remove(which % plain.in_flight.len());
            plain.fares.remove(&batch.partition.0);
            backoffs.responded(&batch, in_flight);
            if !backoffs.by_partition.contains_key(&batch.partition) {
                plain.held.remove(&batch.partition.0);
            }
        }
        Event::Fails(..) | Event::Succeeds(_) => {}
        Event::Passes(millis) => *now += Duration::from_millis(millis),
    }
    Ok(())
}

proptest! {
    #[test]
    fn e03_a_partition_is_held_by_a_hint_or_when_everything_fails_and_nothing_is_lost(
        in_flight in prop_oneof![Just(1_usize), 2_usize..50],
        events in prop::collection::vec(event(), 1..600),
    ) {
        #[expect(clippy::disallowed_methods, reason = "any instant will do: time is counted from here")]
        let mut now = Instant::now();
        let rule = ParkRule {
            backoff: Some(MakeWaits::new([S; 40])),
            max_bytes: usize::MAX,
            max_hint: Duration::MAX,
        };
        let (mut backoffs, mut plain, mut names) = (Backoffs::new(rule), Plain::default(), 0);
        for event in events {
            happens(event, (&mut now, in_flight), &mut names, &mut backoffs, &mut plain)?;
            let sent_before = plain.waits.values().map(|(_, bytes)| bytes).sum::<usize>();
            prop_assert_eq!(backoffs.bytes, sent_before, "the bytes of what was sent before");
            prop_assert_eq!(backoffs.has_waiting(), !plain.waits.is_empty());
            for partition in 0..3 {
                let holds = backoffs.holds(Partition(partition), now);
                prop_assert!(!holds || plain.held.contains_key(&partition), "some have failed, and it is held");
            }
        }
        // All succeeds from now on: everything that waits is sent, at the latest when the next wait ends.
        for _ in 0..2000 {
            happens(Event::Sends, (&mut now, in_flight), &mut names, &mut backoffs, &mut plain)?;
            if plain.in_flight.is_empty() {
                match backoffs.due(now, None) {
                    Some(due) => now = due,
                    None => break,
                }
            }
            happens(Event::Succeeds(0), (&mut now, in_flight), &mut names, &mut backoffs, &mut plain)?;
        }
        prop_assert!(plain.waits.is_empty(), "they wait for ever: {:?}", plain.waits);
        prop_assert!(!backoffs.has_waiting() && backoffs.bytes == 0);
    }
}
