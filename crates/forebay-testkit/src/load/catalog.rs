//! The servers that an adaptive limit is held against.

use super::{Ceiling, Curve, Demand, Excess, Knee, Pauses, Scenario, Server, Slow, WarmUp};
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The best fixed limit for each scenario, in their order: what [`Scenario::search`] finds.
const BEST: [usize; 42] = [
    200, 5, 9, 5, 10, 10, 200, 4, 10, 1, 1, 1, 1, 10, 64, 96, 4, 200, 200, 20, 24, 20, 20, 200, 32, 16, 40, 8, 20, 20,
    112, 32, 48, 8, 48, 32, 48, 5, 20, 2, 3, 4,
];

/// All scenarios: Vector's twelve (`tests/data/adaptive-concurrency/*.yaml` of its repository), then ours.
#[must_use]
pub fn catalog() -> Vec<Scenario> {
    let mut all = vector();
    all.extend(fixed());
    all.extend(curved());
    all.extend(noisy());
    all.extend(changing());
    all.extend(refusing());
    all.extend(shared());
    for (scenario, best) in all.iter_mut().zip(BEST) {
        scenario.best = Some(best);
    }
    all
}

fn vector() -> Vec<Scenario> {
    let link = || Server::new(ms(100));
    let scenario = |name, server| Scenario { timeout: ms(1000), ..Scenario::new(name, server) };
    let five = |then| Some(Ceiling { at: 5, then });
    // Each was written for a limit that is fixed at ten: nothing may move it.
    let ten = |name, server| Scenario { limits: 10..11, ..scenario(name, server) };
    let every = |name, delay, interval| Scenario {
        demand: Demand::Every(ms(interval)),
        ..scenario(name, Server::new(ms(delay)))
    };
    let knee = Curve { knee: Some(Knee { at: 10, growth: 1.1 }), ..Curve::default() };
    vec![
        scenario("vector: constant link", link()),
        scenario("vector: defers at high concurrency", Server { concurrency: five(Excess::Refused), ..link() }),
        scenario(
            "vector: defers at high rate",
            Server { rate: Some(Ceiling { at: 100, then: Excess::Refused }), ..link() },
        ),
        scenario("vector: drops at high concurrency", Server { concurrency: five(Excess::Lost), ..link() }),
        ten("vector: fixed concurrency, jitter", Server { jitter: 0.5, ..link() }),
        ten("vector: fixed concurrency, simple", link()),
        scenario("vector: jittery link, small", Server { jitter: 0.1, ..link() }),
        every("vector: medium send", 100, 25),
        scenario("vector: shallow knee", Server { curve: knee, ..link() }),
        scenario("vector: slow link", Server { curve: Curve { scale: 1.0, ..Curve::default() }, ..link() }),
        every("vector: slow send 1", 50, 100),
        every("vector: slow send 2", 50, 50),
    ]
}

/// A number of workers, and a queue in front of them.
fn workers(delay: u64, workers: usize) -> Server {
    Server { workers: Some(workers), ..Server::new(ms(delay)) }
}

fn fixed() -> Vec<Scenario> {
    let bursts = Scenario { demand: Demand::Bursts(40, ms(500)), ..Scenario::new("bursts", workers(50, 16)) };
    let far = Server { network: ms(200), ..workers(10, 4) };
    vec![
        Scenario::new("1 worker", workers(50, 1)),
        Scenario::new("10 workers", workers(50, 10)),
        Scenario::new("64 workers", workers(50, 64)),
        Scenario { timeout: ms(10_000), ..Scenario::new("high round trip", far) },
        bursts,
    ]
}

fn curved() -> Vec<Scenario> {
    let curve = |curve| Server { curve, ..Server::new(ms(50)) };
    let knee = Some(Knee { at: 20, growth: 1.5 });
    let cliff = Some(Knee { at: 24, growth: 10.0 });
    vec![
        Scenario::new("linear", curve(Curve { scale: 0.05, ..Curve::default() })),
        Scenario::new("linear, gentle", curve(Curve { scale: 0.01, ..Curve::default() })),
        Scenario::new("steep knee", curve(Curve { knee, ..Curve::default() })),
        Scenario::new("cliff", curve(Curve { cliff, ..Curve::default() })),
    ]
}

fn noisy() -> Vec<Scenario> {
    let pauses = Some(Pauses { every: ms(2000), length: ms(400) });
    let slow = Some(Slow { share: 0.1, factor: 20.0 });
    vec![
        Scenario::new("noisy", Server { jitter: 0.5, ..workers(40, 20) }),
        Scenario::new("very noisy", Server { jitter: 3.0, ..workers(20, 20) }),
        Scenario::new("noisy, no limit", Server { jitter: 1.0, ..Server::new(ms(30)) }),
        Scenario::new("one in ten is slow", Server { slow, ..workers(20, 30) }),
        Scenario::new("pauses", Server { pauses, jitter: 0.1, ..workers(50, 16) }),
    ]
}

fn changing() -> Vec<Scenario> {
    let step = |name, from: Server, to: Server| {
        let round_trip = to.round_trip();
        let at = from.round_trip() * 150;
        let server = Server { step: Some((at, Box::new(to))), ..from };
        let (counts_from, length) = (at + round_trip * 50, at + round_trip * 250);
        Scenario { counts_from, length, ..Scenario::new(name, server) }
    };
    let warm_up = Some(WarmUp { from: 2, until: ms(10_000) });
    let warming = Scenario::new("slow start", Server { warm_up, ..workers(50, 32) });
    vec![
        step("more workers", workers(50, 8), workers(50, 40)),
        step("fewer workers", workers(50, 40), workers(50, 8)),
        step("becomes slower", workers(50, 20), workers(150, 20)),
        step("becomes faster", workers(150, 20), workers(50, 20)),
        step(
            "farther away",
            Server { network: ms(10), ..workers(10, 10) },
            Server { network: ms(90), ..workers(10, 10) },
        ),
        warming,
    ]
}

fn refusing() -> Vec<Scenario> {
    let at = |at| Some(Ceiling { at, then: Excess::Refused });
    vec![
        Scenario::new("429 above 50", Server { concurrency: at(50), jitter: 0.1, ..Server::new(ms(50)) }),
        Scenario::new("429 above 12 of a queue", Server { concurrency: at(12), jitter: 0.1, ..workers(50, 8) }),
        Scenario::new("429 above 1000 a second", Server { rate: at(1000), jitter: 0.1, ..Server::new(ms(50)) }),
        Scenario::new("brown-out of 30 %", Server { failing: 0.3, jitter: 0.1, ..workers(50, 20) }),
        Scenario::new("brown-out of 50 %", Server { failing: 0.5, jitter: 0.1, ..workers(50, 20) }),
    ]
}

fn shared() -> Vec<Scenario> {
    let twenty = |name, server| {
        let one = Scenario::new(name, server);
        let round_trip = one.server.round_trip();
        Scenario { clients: 20, length: round_trip * 550, ..one }
    };
    let refusing =
        Server { concurrency: Some(Ceiling { at: 80, then: Excess::Refused }), jitter: 0.1, ..Server::new(ms(50)) };
    vec![
        twenty("20 clients, 100 workers", Server { jitter: 0.1, ..workers(50, 100) }),
        twenty("20 clients, 400 workers", Server { jitter: 0.1, ..workers(50, 400) }),
        twenty("20 clients, 30 workers", Server { jitter: 0.1, ..workers(50, 30) }),
        twenty("20 clients, 50 workers", Server { jitter: 0.1, ..workers(50, 50) }),
        twenty("20 clients, 429 above 80", refusing),
    ]
}
