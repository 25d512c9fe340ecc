//! What was found, and how it is printed.

use crate::{
    bound::{Bound, Finding, Quantity},
    runner::{Clock, Quote},
};
use std::fmt;

/// A table after all rounds.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which part of the family it is about.
    pub area: &'static str,
    /// What the contenders do.
    pub title: String,
    /// How many samples of each were taken.
    pub rounds: usize,
    /// Which time counts.
    pub clock: Clock,
    /// Which of the rounds targets were compared by.
    pub quote: Quote,
    /// The contenders, the floor first.
    pub rows: Vec<Row>,
}

/// What one contender was found to cost.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name, the only one in its table.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Nanoseconds per operation in its fastest round.
    pub min_ns: f64,
    /// Nanoseconds per operation in its middle round.
    pub median_ns: f64,
    /// The median over the rounds of its time by that of the first row.
    pub ratio_to_floor: f64,
    /// The same to the fastest rival; `None` where there is none. By the fastest rounds where the table says so.
    pub ratio_to_best_rival: Option<f64>,
    /// Allocations per operation.
    pub allocations: f64,
    /// Bytes allocated per operation.
    pub bytes: f64,
    /// How many cores were busy, on average.
    pub cores: f64,
    /// Whether that is fewer than it should have been: then its times prove nothing.
    pub marked: bool,
    /// What it should reach, and what was found.
    pub findings: Vec<Finding>,
    /// What only this table has columns for.
    pub extras: Vec<Extra>,
}

/// A value of a column of one table.
#[derive(Clone, Copy, Debug)]
pub struct Extra {
    /// The head of the column.
    pub name: &'static str,
    /// The value.
    pub value: f64,
}

/// What a contender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What all others are compared with.
    Floor,
    /// A hand-written lower bound without the features.
    Ref,
    /// What others use today.
    Rival,
    /// Ours.
    Forebay,
}

// === impl Row ===

impl Row {
    /// Whether every target is met; `None` where there is none.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        let mut verdicts = self.findings.iter().map(|finding| finding.met().unwrap_or(false)).peekable();
        verdicts.peek().is_some().then(|| verdicts.all(|met| met))
    }

    /// Judges `bound` by this row alone, and by its ratio to `of` another.
    pub(crate) fn find(&self, bound: Bound, of: impl Fn(&str) -> Option<f64>) -> Finding {
        let found = match bound.what {
            Quantity::OfFloor => Some(self.ratio_to_floor),
            Quantity::OfBestRival => self.ratio_to_best_rival,
            Quantity::Of(name) => of(name),
            Quantity::Nanos => Some(self.median_ns),
            Quantity::Allocations => Some(self.allocations),
            Quantity::Bytes => Some(self.bytes),
            // Known where the floor's row is measured.
            Quantity::Added => None,
            // Its table compares by ratios.
            Quantity::OverFloor => None,
            Quantity::Extra(name) => self.extras.iter().find(|extra| extra.name == name).map(|extra| extra.value),
        };
        Finding { bound, found }
    }

    /// The first target that is a ratio to another contender, else the first target.
    #[must_use]
    pub fn target(&self) -> Option<f64> {
        let ratio = self.findings.iter().find(|finding| finding.bound.is_ratio());
        ratio.or(self.findings.first()).map(|finding| finding.bound.at_most)
    }
}

// === impl Kind ===

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Ref => "ref",
            Self::Rival => "rival",
            Self::Forebay => "forebay",
        }
    }
}

// === impl Report ===

impl Report {
    /// A report of what was timed by the clock on the wall, whatever number of cores was busy.
    #[must_use]
    pub fn wall(area: &'static str, title: &str, rounds: usize, rows: Vec<Row>) -> Self {
        let cores = f64::NAN;
        Self { area, title: title.to_owned(), rounds, clock: Clock::Wall { cores }, quote: Quote::Median, rows }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}: {} ({} interleaved rounds)\n", self.area, self.title, self.rounds)?;
        let extras = self.rows.first().map_or(&[][..], |row| &row.extras);
        write!(f, "| contender | min ns | median ns | ratio to floor | allocs/op | bytes/op | cores |")?;
        extras.iter().try_for_each(|extra| write!(f, " {} |", extra.name))?;
        writeln!(f, "\n|---|---|---|---|---|---|---|{}", "---|".repeat(extras.len()))?;
        for row in &self.rows {
            let kind = match row.kind {
                Kind::Floor => "FLOOR ",
                Kind::Ref => "REF ",
                Kind::Rival => "",
                Kind::Forebay => "**forebay** ",
            };
            let mark = if row.marked { " *" } else { "" };
            let Row { name, min_ns, median_ns, ratio_to_floor, allocations, bytes, cores, .. } = row;
            write!(f, "| {kind}{name} | {min_ns:.1} | {median_ns:.1} | {ratio_to_floor:.2} ")?;
            write!(f, "| {allocations:.2} | {bytes:.0} | {cores:.2}{mark} |")?;
            row.extras.iter().try_for_each(|extra| write!(f, " {:.2} |", extra.value))?;
            writeln!(f)?;
        }
        match self.clock {
            Clock::Processor => {
                writeln!(f, "\nOne thread: ns of processor time, so that a busy machine does not count.")?
            }
            Clock::Wall { cores } if self.rows.iter().any(|row| row.marked) => {
                writeln!(
                    f,
                    "\n`*`: fewer cores busy than the {cores} that the work keeps busy undisturbed; proves nothing."
                )?;
            }
            Clock::Wall { .. } => {}
        }
        let findings = self.rows.iter().flat_map(|row| row.findings.iter().map(move |finding| finding.line(row)));
        let findings: Vec<_> = findings.collect();
        if !findings.is_empty() {
            let by = if self.quote == Quote::Min { "fastest rounds" } else { "medians of the rounds" };
            writeln!(f, "\nTargets (by the {by}):\n")?;
        }
        findings.into_iter().try_for_each(|line| writeln!(f, "- {line}"))
    }
}
