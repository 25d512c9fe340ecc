//! A spool against a plain list, over restarts and deaths of the process.

#![expect(clippy::unwrap_used, reason = "test code")]

#[expect(clippy::allow_attributes, reason = "what one test leaves unused another uses")]
mod support;

use forebay_core::Priority;
use forebay_spool::{Disposition, Engine, Group, NewRecord, Order};
use proptest::prelude::*;
use std::collections::BTreeSet;
use support::{NOW, SimDisk, at, builder, want};

const ATTEMPTS: u8 = 3;

#[derive(Clone, Debug)]
enum Step {
    Append { records: usize, high: bool },
    Lease { records: usize, newest: bool },
    Settle { which: usize, outcomes: Vec<u8> },
    Requeue,
    Close,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..5, any::<bool>()).prop_map(|(records, high)| Step::Append { records, high }),
        4 => (1_usize..7, any::<bool>()).prop_map(|(records, newest)| Step::Lease { records, newest }),
        4 => (0_usize..4, prop::collection::vec(0_u8..5, 0..7)).prop_map(|(which, outcomes)| Step::Settle { which, outcomes }),
        1 => Just(Step::Requeue),
        1 => Just(Step::Close),
        1 => Just(Step::Die),
    ]
}

/// Records that were appended together.
#[derive(Clone, Debug)]
struct Frame {
    high: bool,
    leased: bool,
    /// Payload and attempts; `None` when it has left the spool.
    records: Vec<Option<(u64, u32)>>,
}

#[derive(Default)]
struct Model {
    next: u64,
    frames: Vec<Frame>,
    dead: BTreeSet<u64>,
    /// Of each lease: frame and place of its records.
    leases: Vec<(u64, Vec<(usize, usize)>)>,
}

impl Model {
    fn lease(&mut self, wanted: usize, newest: bool) -> Vec<(usize, usize)> {
        let mut order: Vec<usize> = (0..self.frames.len()).collect();
        if newest {
            order.reverse();
        }
        order.sort_by_key(|frame| !self.frames[*frame].high);
        let mut taken = Vec::new();
        for at in order {
            let frame = &mut self.frames[at];
            if frame.leased || taken.len() >= wanted {
                continue;
            }
            let places =
                (0..frame.records.len()).filter(|place| frame.records[*place].is_some()).map(|place| (at, place));
            let before = taken.len();
            taken.extend(places.take(wanted - before));
            frame.leased = taken.len() > before;
        }
        taken
    }

    fn give_back_all(&mut self) {
        self.leases.clear();
        for frame in &mut self.frames {
            frame.leased = false;
        }
    }
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(*payload.first_chunk().unwrap())
}

fn reopen(disk: &SimDisk) -> Engine {
    builder(disk).max_attempts(ATTEMPTS).open_engine(at(NOW)).unwrap()
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let disk = SimDisk::new();
    let mut engine = reopen(&disk);
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append { records, high } => {
                let numbers: Vec<_> = (0..records as u64).map(|n| model.next + n).collect();
                model.next += records as u64;
                let records = numbers.iter().map(|number| NewRecord::new(number.to_le_bytes().to_vec()));
                let group = Group::new(records).priority(if high { Priority::High } else { Priority::Normal });
                engine.append(vec![group], NOW).remove(0).unwrap();
                let records = numbers.into_iter().map(|number| Some((number, 0))).collect();
                model.frames.push(Frame { high, leased: false, records });
            }
            Step::Lease { records, newest } => {
                let order = if newest { Order::NewestFirst } else { Order::Oldest };
                let expected = model.lease(records, newest);
                let leased = engine.lease("main", want(order, records), NOW).unwrap();
                let found: Vec<_> =
                    leased.iter().flat_map(|(_, records)| records).map(|r| (number(&r.payload), r.attempts)).collect();
                let known: Vec<_> =
                    expected.iter().map(|(frame, place)| model.frames[*frame].records[*place].unwrap()).collect();
                prop_assert_eq!(found, known);
                if let Some((lease, _)) = leased {
                    model.leases.push((lease, expected));
                }
            }
            Step::Settle { which, outcomes } if which < model.leases.len() => {
                let (lease, places) = model.leases.remove(which);
                let mut dispositions = Vec::new();
                for (at, (frame, place)) in places.iter().enumerate() {
                    model.frames[*frame].leased = false;
                    let record = &mut model.frames[*frame].records[*place];
                    let (number, attempts) = record.unwrap();
                    match outcomes.get(at) {
                        Some(0 | 1) => {
                            *record = None;
                            dispositions.push(Disposition::Delivered);
                        }
                        Some(2) => {
                            *record = Some((number, attempts + 1));
                            if attempts + 1 == u32::from(ATTEMPTS) {
                                *record = None;
                                model.dead.insert(number);
                            }
                            dispositions.push(Disposition::Failed);
                        }
                        Some(3) => {
                            *record = None;
                            model.dead.insert(number);
                            dispositions.push(Disposition::Quarantine("no".into()));
                        }
                        Some(_) => dispositions.push(Disposition::GiveBack),
                        // Missing ones are given back.
                        None => {}
                    }
                }
                engine.settle(lease, &dispositions);
                engine.flush().unwrap();
            }
            Step::Settle { .. } => {}
            Step::Requeue => {
                let order: Vec<_> =
                    engine.dead_letters(None, 9999).unwrap().iter().map(|l| number(&l.record.payload)).collect();
                prop_assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), std::mem::take(&mut model.dead));
                prop_assert_eq!(engine.requeue(None, None, |_| ()).unwrap(), order.len() as u64);
                if !order.is_empty() {
                    let records = order.into_iter().map(|number| Some((number, 0))).collect();
                    model.frames.push(Frame { high: false, leased: false, records });
                }
            }
            Step::Close => {
                engine.close().unwrap();
                engine = reopen(&disk);
                prop_assert!(engine.stats().recovered.clean);
                model.give_back_all();
            }
            Step::Die => {
                drop(engine);
                engine = reopen(&disk);
                model.give_back_all();
            }
        }
        let live = model.frames.iter().flat_map(|frame| &frame.records).flatten().count() as u64;
        let stats = engine.stats();
        prop_assert_eq!(stats.destinations[0].pending, live);
        prop_assert_eq!(stats.destinations[0].dead, model.dead.len() as u64);
        prop_assert_eq!((stats.recovered.lost, stats.quarantined), (0, 0));
    }
    Ok(())
}

/// As many as `PROPTEST_CASES` says, as in `.ci/spool`; else few, as each opens and closes files many times.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { 96 };
    ProptestConfig { cases, ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_spool_is_a_list_that_survives(steps in prop::collection::vec(step(), 1..60)) {
        run(steps)?;
    }
}
