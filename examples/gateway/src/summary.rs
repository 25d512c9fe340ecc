use super::{
    intake::Intake,
    ledgers::{Page, SIGNALS, signal_name},
    spool::{BatchSpool, Level, Recovered},
};
use forebay::core::{DropReason, Totals};
use std::fmt;

/// What became of everything.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Per signal, in the order of [`SIGNALS`].
    pub pages: [Page; 3],
    /// The queue's own ledger, of batches.
    pub queue: Totals,
    /// What the spool holds.
    pub spool: Level,
    /// What an earlier run has left in the spool, in batches. It was offered to that run, and is not in the other counts.
    pub recovered: Recovered,
    /// Senders that were asked to wait.
    pub throttled: u64,
    /// Panics of the sink.
    pub panics: u64,
}

// === impl Summary ===

impl Summary {
    pub(super) fn of(intake: &Intake) -> Self {
        Self {
            pages: intake.ledgers.read(),
            queue: intake.handle.totals(),
            spool: intake.spool.as_ref().map(BatchSpool::level).unwrap_or_default(),
            recovered: intake.spool.as_ref().map(BatchSpool::recovered).unwrap_or_default(),
            throttled: intake.meters.all_throttled().values().sum(),
            panics: intake.meters.panics(),
        }
    }

    /// Whether every batch and every record is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.queue.balance() && self.pages.iter().all(|page| page.batches().balance() && page.records().balance())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&Totals) -> u64| {
            let [traces, logs, metrics] = self.pages.each_ref().map(|page| of(&page.records()));
            [traces, logs, metrics, traces + logs + metrics]
        };
        let row = |f: &mut fmt::Formatter<'_>, name: &str, [traces, logs, metrics, all]: [u64; 4]| {
            writeln!(f, "{name:<22}{traces:>11}{logs:>11}{metrics:>11}{all:>11}")
        };
        let [traces, logs, metrics] = SIGNALS.map(signal_name);
        writeln!(f, "{:<22}{traces:>11}{logs:>11}{metrics:>11}{:>11}", "records", "all")?;
        row(f, "offered", sum(|totals| totals.offered))?;
        row(f, "= delivered", sum(|totals| totals.delivered))?;
        row(f, "+ in the spool", sum(|totals| totals.spooled))?;
        for reason in DropReason::ALL {
            let counts = self.pages.each_ref().map(|page| page.records().dropped.get(reason));
            let all = counts.iter().sum();
            if all > 0 {
                let [traces, logs, metrics] = counts;
                row(f, &format!("+ dropped: {reason}"), [traces, logs, metrics, all])?;
            }
        }
        row(f, "+ pending", sum(|totals| totals.pending))?;
        writeln!(f, "the queue, in batches: {}", self.queue)?;
        let Recovered { found, delivered, dropped } = self.recovered;
        if found > 0 {
            let left = self.recovered.left();
            writeln!(
                f,
                "recovered from earlier runs: {found} batches, {delivered} delivered, {dropped} dropped, {left} in the spool"
            )?;
        }
        let Level { batches, dead, bytes, .. } = self.spool;
        writeln!(
            f,
            "the spool: {batches} batches, {dead} dead letters, {bytes} bytes; {} senders throttled; {} panics",
            self.throttled, self.panics
        )?;
        writeln!(f, "{}", if self.balances() { "the ledger balances" } else { "THE LEDGER DOES NOT BALANCE" })
    }
}
