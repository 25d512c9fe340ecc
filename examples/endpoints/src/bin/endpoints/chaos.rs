use crate::{options::Options, receiver::Receiver};
use std::{
    thread,
    time::{Duration, Instant},
};

/// What a receiver does next, and when.
struct Turn {
    at: Duration,
    dies: bool,
}

/// Random numbers that are the same for the same seed.
struct Chance(u64);

/// How often the turns are looked at.
const TICK: Duration = Duration::from_millis(20);

// === impl Chance ===

impl Chance {
    /// A time between these, in milliseconds.
    fn between(&mut self, least: u64, most: u64) -> Duration {
        // SplitMix64: Steele, Lea and Flood, 2014.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_millis(least + (mixed ^ (mixed >> 31)) % (most - least))
    }

    fn life(&mut self) -> Duration {
        self.between(500, 6000)
    }

    fn absence(&mut self) -> Duration {
        self.between(500, 4000)
    }
}

/// Lets receivers die and return until the time is over. One of them always lives; in the end all do.
pub(crate) fn run(options: &Options, receivers: &[Receiver]) {
    let mut chance = Chance(options.seed);
    let mut turns: Vec<_> = receivers.iter().map(|_| Turn { at: chance.life(), dies: true }).collect();
    let begin = Instant::now();
    while begin.elapsed() < options.time {
        let now = begin.elapsed();
        for (receiver, turn) in receivers.iter().zip(&mut turns) {
            if now < turn.at {
                continue;
            }
            if !turn.dies {
                receiver.return_to_life();
                *turn = Turn { at: now + chance.life(), dies: true };
            } else if receivers.iter().filter(|receiver| receiver.lives()).count() > 1 {
                receiver.die();
                *turn = Turn { at: now + chance.absence(), dies: false };
            }
            // The last one that lives waits until another is back.
        }
        thread::sleep(TICK);
    }
    for receiver in receivers {
        receiver.return_to_life();
    }
}
