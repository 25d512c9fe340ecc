//! Runs the contenders of a table beside each other.

use crate::{
    bound::{Bound, Finding, Quantity},
    table::{Kind, Report, Row},
    work::{Sample, Work},
};
use std::time::Duration;

/// How long one sample of one contender should take.
const SAMPLE: Duration = Duration::from_millis(20);

/// One run of the program: which tables it takes, and what it does with them.
pub struct Session<'a> {
    rounds: usize,
    only: Option<&'a str>,
    done: &'a mut dyn FnMut(Report),
}

/// Contenders that do the same work.
#[must_use = "a table does nothing until it is run"]
pub struct Table<'a> {
    area: &'static str,
    title: String,
    quote: Quote,
    unit: u64,
    most: u64,
    clock: Clock,
    contenders: Vec<Contender<'a>>,
}

/// Which time counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clock {
    /// That of the processor, for work on one thread: a busy neighbour does not count.
    Processor,
    /// That of the wall, for work of several threads. Rows that kept fewer cores busy are marked.
    Wall {
        /// How many cores are busy at least when nothing disturbs the work.
        cores: f64,
    },
}

/// How often a sample is taken until it keeps as many cores busy as it should.
const TRIES: usize = 6;

/// Which of the rounds a target is compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quote {
    /// The median of the ratios of each round.
    #[default]
    Median,
    /// The ratio of the fastest rounds: where several threads meet, the others show the scheduler.
    Min,
}

struct Contender<'a> {
    name: &'static str,
    kind: Kind,
    bounds: Vec<Bound>,
    run: Box<dyn FnMut(Work) -> Sample + 'a>,
    ops: u64,
    samples: Vec<Sample>,
}

// === impl Clock ===

impl Clock {
    /// Whether a sample that kept so many `busy` measures what it should.
    fn is_proper(self, busy: f64) -> bool {
        match self {
            Self::Processor => true,
            Self::Wall { cores } => busy >= cores,
        }
    }
}

// === impl Session ===

impl<'a> Session<'a> {
    /// Takes so many `rounds` of each table whose title contains `only`, and hands each over when it is `done`.
    pub fn new(rounds: usize, only: Option<&'a str>, done: &'a mut dyn FnMut(Report)) -> Self {
        Self { rounds, only, done }
    }

    /// Takes what `report` finds by its own means, if a table of this `title` is asked for.
    pub fn take(&mut self, title: &str, report: impl FnOnce() -> Report) {
        if self.only.is_none_or(|only| title.contains(only)) {
            (self.done)(report());
        }
    }

    /// Runs `table`, if it is asked for.
    pub fn run(&mut self, table: Table<'_>) {
        if self.only.is_none_or(|only| table.title.contains(only)) {
            (self.done)(table.run(self.rounds));
        }
    }

    /// Runs the table called `title`, if it is asked for, in so many rounds.
    pub fn run_with(&mut self, title: &str, run: impl FnOnce(usize) -> Report) {
        if self.only.is_none_or(|only| title.contains(only)) {
            (self.done)(run(self.rounds));
        }
    }
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("rounds", &self.rounds).field("only", &self.only).finish_non_exhaustive()
    }
}

// === impl Table ===

impl<'a> Table<'a> {
    /// A table without rows. The first one added should be the floor.
    pub fn new(area: &'static str, title: impl Into<String>) -> Self {
        Self {
            area,
            title: title.into(),
            quote: Quote::Median,
            unit: 1,
            most: u64::MAX,
            clock: Clock::Processor,
            contenders: Vec::new(),
        }
    }

    /// Contenders are asked for multiples of so many operations.
    pub const fn unit(mut self, ops: u64) -> Self {
        self.unit = ops;
        self
    }

    /// Contenders are asked for no more operations at once.
    pub const fn at_most(mut self, ops: u64) -> Self {
        self.most = ops;
        self
    }

    /// The work is done by several threads, and keeps at least so many cores busy.
    pub const fn cores(mut self, cores: f64) -> Self {
        self.clock = Clock::Wall { cores };
        self
    }

    /// Which of the rounds a target is compared by.
    pub const fn quote(mut self, quote: Quote) -> Self {
        self.quote = quote;
        self
    }

    /// The row that all others are compared with.
    pub fn floor(self, name: &'static str, run: impl FnMut(Work) -> Sample + 'a) -> Self {
        self.row(name, Kind::Floor, &[], run)
    }

    /// A hand-written lower bound without the features.
    pub fn reference(self, name: &'static str, run: impl FnMut(Work) -> Sample + 'a) -> Self {
        self.row(name, Kind::Ref, &[], run)
    }

    /// What others use today.
    pub fn rival(self, name: &'static str, run: impl FnMut(Work) -> Sample + 'a) -> Self {
        self.row(name, Kind::Rival, &[], run)
    }

    /// Ours, and what it must reach.
    pub fn forebay(self, name: &'static str, bounds: &[Bound], run: impl FnMut(Work) -> Sample + 'a) -> Self {
        self.row(name, Kind::Forebay, bounds, run)
    }

    fn row(mut self, name: &'static str, kind: Kind, bounds: &[Bound], run: impl FnMut(Work) -> Sample + 'a) -> Self {
        let (bounds, run) = (bounds.to_vec(), Box::new(run));
        self.contenders.push(Contender { name, kind, bounds, run, ops: 0, samples: Vec::new() });
        self
    }

    /// Warms up, takes `rounds` interleaved samples of every contender, and counts allocations in a pass of its own.
    ///
    /// # Panics
    ///
    /// When the table has no rows.
    #[must_use]
    pub fn run(mut self, rounds: usize) -> Report {
        let (unit, most, count) = (self.unit, self.most, self.contenders.len());
        assert!(count > 0, "a table has rows");
        self.contenders.iter_mut().for_each(|contender| contender.warm_up(unit, most));
        for round in 0..rounds.max(1) {
            for place in 0..count {
                self.contenders[(round + place) % count].sample(self.clock);
            }
        }
        let rows: Vec<_> = self.contenders.iter_mut().map(|contender| contender.row(self.clock)).collect();
        self.report(rows, rounds)
    }

    fn report(self, mut rows: Vec<Row>, rounds: usize) -> Report {
        let best_rival = self.best_rival(&rows);
        for (index, contender) in self.contenders.iter().enumerate() {
            rows[index].ratio_to_floor = contender.ratio_to(&self.contenders[0], self.clock);
            rows[index].ratio_to_best_rival = best_rival.map(|rival| self.quoted(index, rival));
            rows[index].marked = !self.clock.is_proper(rows[index].cores);
            for bound in &contender.bounds {
                let found = match bound.what {
                    Quantity::OfFloor => Some(self.quoted(index, 0)),
                    Quantity::OfBestRival => best_rival.map(|rival| self.quoted(index, rival)),
                    Quantity::Of(name) => {
                        let other = self.contenders.iter().position(|contender| contender.name == name);
                        Some(self.quoted(index, other.expect("the name of a contender of the same table")))
                    }
                    Quantity::Nanos if self.quote == Quote::Min => Some(rows[index].min_ns),
                    Quantity::Nanos => Some(rows[index].median_ns),
                    Quantity::OverFloor => Some(rows[index].median_ns - rows[0].median_ns),
                    Quantity::Added if self.quote == Quote::Min => Some(rows[index].min_ns - rows[0].min_ns),
                    Quantity::Added => Some(rows[index].median_ns - rows[0].median_ns),
                    Quantity::Allocations => Some(rows[index].allocations),
                    Quantity::Extra(_) => None,
                    Quantity::Bytes => Some(rows[index].bytes),
                };
                rows[index].findings.push(Finding { bound: *bound, found });
            }
        }
        Report { area: self.area, title: self.title, rounds, clock: self.clock, quote: self.quote, rows }
    }

    fn best_rival(&self, rows: &[Row]) -> Option<usize> {
        let time = |index: usize| if self.quote == Quote::Min { rows[index].min_ns } else { rows[index].median_ns };
        let rivals = (0..rows.len()).filter(|index| rows[*index].kind == Kind::Rival);
        rivals.min_by(|one, other| time(*one).total_cmp(&time(*other)))
    }

    /// The ratio by which targets are judged.
    fn quoted(&self, of: usize, to: usize) -> f64 {
        let (of, to) = (&self.contenders[of], &self.contenders[to]);
        match self.quote {
            Quote::Median => of.ratio_to(to, self.clock),
            Quote::Min => of.min(self.clock) / to.min(self.clock),
        }
    }
}

impl std::fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("area", &self.area).field("title", &self.title).finish_non_exhaustive()
    }
}

// === impl Contender ===

impl Contender<'_> {
    /// Finds out how many operations make a sample.
    fn warm_up(&mut self, unit: u64, most: u64) {
        self.ops = unit;
        loop {
            let wall = (self.run)(Work::timed(self.ops)).wall;
            if wall >= SAMPLE / 4 || self.ops * 2 > most {
                let ops = self.ops as f64 * SAMPLE.as_secs_f64() / wall.as_secs_f64();
                self.ops = ((ops / unit as f64).ceil() as u64).max(1) * unit;
                self.ops = self.ops.min(most);
                break;
            }
            self.ops *= 2;
        }
        (self.run)(Work::timed(self.ops));
    }

    /// Takes a sample; of work for several cores, again if it did not get them, and then the best of [`TRIES`].
    fn sample(&mut self, clock: Clock) {
        let mut sample = (self.run)(Work::timed(self.ops));
        for _ in 1..TRIES {
            if clock.is_proper(sample.cores()) {
                break;
            }
            let again = (self.run)(Work::timed(self.ops));
            sample = if again.cores() > sample.cores() { again } else { sample };
        }
        self.samples.push(sample);
    }

    fn nanos(&self, clock: Clock) -> Vec<f64> {
        let time = |sample: &Sample| if clock == Clock::Processor { sample.cpu } else { sample.wall };
        self.samples.iter().map(|sample| time(sample).as_secs_f64() * 1e9 / self.ops as f64).collect()
    }

    /// The fastest of the rounds that kept the cores busy, or of all if none did.
    fn min(&self, clock: Clock) -> f64 {
        let all = self.nanos(clock).into_iter().zip(&self.samples);
        let (proper, others): (Vec<_>, Vec<_>) = all.partition(|(_, sample)| clock.is_proper(sample.cores()));
        let rounds = if proper.is_empty() { others } else { proper };
        rounds.into_iter().map(|(nanos, _)| nanos).fold(f64::INFINITY, f64::min)
    }

    fn ratio_to(&self, other: &Self, clock: Clock) -> f64 {
        median(self.nanos(clock).into_iter().zip(other.nanos(clock)).map(|(one, other)| one / other).collect())
    }

    fn row(&mut self, clock: Clock) -> Row {
        let allocated = (self.run)(Work::counted(self.ops)).allocated;
        Row {
            name: self.name,
            kind: self.kind,
            min_ns: self.min(clock),
            median_ns: median(self.nanos(clock)),
            ratio_to_floor: 1.0,
            ratio_to_best_rival: None,
            allocations: allocated.allocations as f64 / self.ops as f64,
            bytes: allocated.bytes as f64 / self.ops as f64,
            cores: median(self.samples.iter().map(Sample::cores).collect()),
            marked: false,
            findings: Vec::new(),
            extras: Vec::new(),
        }
    }
}

/// The middle of `values`; the upper one of two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
