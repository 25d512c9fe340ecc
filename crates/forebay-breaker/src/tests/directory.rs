//! The search for idle keys.

use crate::{Mode, directory::Directory};

#[test]
fn however_often_it_is_asked_it_remembers_few_rounds() {
    let directory = Directory::<u32>::new(10, 0, 1_000, Mode::Normal);
    let mut writing = directory.write();
    let writer = &mut writing.writer;
    for now in 0..100_000 {
        writer.start_round(now);
        assert!(writer.rounds() <= 18, "{} rounds", writer.rounds());
    }
}

#[test]
fn a_key_is_idle_when_the_last_round_it_was_used_in_ended_an_idle_time_ago() {
    let directory = Directory::<u32>::new(10, 0, 1_000, Mode::Normal);
    let mut writing = directory.write();
    let writer = &mut writing.writer;
    // Rounds 1, 2, 3 and 4 begin at these times; a limit is the first round whose users may have been there since.
    let limits: Vec<_> = [500, 1_000, 1_500, 2_000].map(|now| writer.start_round(now)).into();
    assert_eq!(limits, [None, Some(0), Some(1), Some(2)]);
    assert_eq!(writer.start_round(1_000_000), Some(4), "round 4 has lasted until now");
    assert!(!writer.is_round_due(1_000_499) && writer.is_round_due(1_000_500));
}
