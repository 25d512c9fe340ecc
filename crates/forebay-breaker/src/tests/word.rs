//! The packed word: nothing in it touches anything else in it.

use crate::{
    Mode, State,
    word::{Pattern, Word},
};
use proptest::prelude::*;

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Normal), Just(Mode::ForcedOpen), Just(Mode::ForcedClosed), Just(Mode::ObserveOnly)]
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Closed), Just(State::Open), Just(State::HalfOpen), Just(State::Ramping)]
}

fn parts(word: Word) -> (Mode, State, u32, u64, bool) {
    (word.mode(), word.state(), word.generation(), word.payload(), word.has(Word::HELD))
}

proptest! {
    #![proptest_config(super::seeded(1_000))]

    #[test]
    fn each_part_changes_alone(bits: u64, mode in mode(), state in state(), payload in 0..=Word::LATEST, streak: u16) {
        let word = Word(bits & !Word::HELD);
        let (old_mode, old_state, generation, old_payload, _) = parts(word);
        prop_assert_eq!(parts(word.with_mode(mode)), (mode, old_state, generation, old_payload, false));
        prop_assert_eq!(parts(word.turned(state)), (old_mode, state, generation, old_payload, false));
        prop_assert_eq!(parts(word.with_payload(payload)), (old_mode, old_state, generation, payload, false));
        prop_assert_eq!(parts(Word(word.0 | Word::HELD)), (old_mode, old_state, generation, old_payload, true));
        let next = (old_mode, state, (generation + 1) % (1 << 21), payload, false);
        prop_assert_eq!(parts(word.next(state, payload)), next);
        let counted = word.with_streak(streak);
        prop_assert_eq!((counted.streak(), counted.payload() >> 16), (streak, old_payload >> 16));
        for unsettled in [true, false] {
            let marked = counted.with_unsettled(unsettled);
            prop_assert_eq!((marked.has(Word::UNSETTLED), marked.streak()), (unsettled, streak));
            prop_assert_eq!(marked.payload() & !(1 << 17), counted.payload() & !(1 << 17));
        }
    }
}

#[test]
fn a_time_beyond_all_bounds_is_the_latest_there_is() {
    let word = Word(0).next(State::Open, u64::MAX);
    assert_eq!(parts(word), (Mode::Normal, State::Open, 1, Word::LATEST, false));
    assert!(word.until() / 1_000_000 > 8 * 365 * 24 * 3600, "eight years");
}

#[test]
fn only_a_closed_word_in_normal_mode_lets_a_call_through_at_sight() {
    for mode in 0..4 {
        for state in 0..4 {
            let word = Word(mode << 62 | state << 60 | 0x1234_5678);
            assert_eq!(word.is(Pattern::CLOSED), mode == 0 && state == 0, "{:?}", parts(word));
        }
    }
    assert!(Word(Word::HELD).is(Pattern::CLOSED), "while a failure is counted, too");
}
