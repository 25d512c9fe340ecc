//! What became of the load, as its senders see it, and what is stored.

use super::parcel::Kind;
use crate::sink::Database;
use std::{fmt, ops::AddAssign};

/// What became of the batches of one kind, as their senders see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Batches that were sent; one that is sent again is one.
    pub sent: u64,
    /// The response was success.
    pub taken: u64,
    /// The response was a partial success, which is final.
    pub rejected: u64,
    /// Refused until later, and dropped by the sender: only what is healthy.
    pub let_go: u64,
    /// Sent again, each time.
    pub again: u64,
    /// No response, or one that makes no sense.
    pub failed: u64,
}

/// What became of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sent {
    /// Batches without error or slow span.
    pub healthy: Tally,
    /// Batches with an error.
    pub errors: Tally,
    /// Batches with a slow span.
    pub slow: Tally,
    /// How long it took.
    pub seconds: f64,
}

/// What must be in the database after it, and what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Spans with an error whose senders had success.
    pub errors_taken: u64,
    /// Spans with an error in the database.
    pub errors_stored: u64,
    /// The same for slow spans.
    pub slow_taken: u64,
    /// The same for slow spans.
    pub slow_stored: u64,
}

// === impl Sent, Tally ===

impl Sent {
    pub(super) fn of(&mut self, kind: Kind) -> &mut Tally {
        match kind {
            Kind::Healthy => &mut self.healthy,
            Kind::Failed => &mut self.errors,
            Kind::Slow => &mut self.slow,
        }
    }

    /// Whether every batch with an error or a slow span was taken at last, and nothing failed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let urgent = [self.errors, self.slow].iter().all(|tally| tally.taken == tally.sent);
        urgent && [self.healthy, self.errors, self.slow].iter().all(|tally| tally.failed == 0)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.taken += other.taken;
        self.rejected += other.rejected;
        self.let_go += other.let_go;
        self.again += other.again;
        self.failed += other.failed;
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["sent", "taken", "rejected", "let go", "again", "failed"];
        write!(f, "{:<22}", "batches, by senders")?;
        head.iter().try_for_each(|word| write!(f, "{word:>10}"))?;
        writeln!(f)?;
        for (name, tally) in
            [("healthy", self.healthy), ("with an error", self.errors), ("with a slow span", self.slow)]
        {
            let Tally { sent, taken, rejected, let_go, again, failed } = tally;
            writeln!(f, "{name:<22}{sent:>10}{taken:>10}{rejected:>10}{let_go:>10}{again:>10}{failed:>10}")?;
        }
        Ok(())
    }
}

// === impl Stored ===

impl Stored {
    /// Looks into `database`; every urgent batch has one urgent span.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn read(database: &Database, sent: &Sent) -> rusqlite::Result<Self> {
        let count = |sql| -> rusqlite::Result<u64> {
            Ok(database.number(sql)?.and_then(|rows| rows.try_into().ok()).unwrap_or(0))
        };
        Ok(Self {
            errors_taken: sent.errors.taken,
            errors_stored: count("SELECT count(*) FROM spans WHERE status = 2")?,
            slow_taken: sent.slow.taken,
            slow_stored: count("SELECT count(*) FROM spans WHERE end_ns - start_ns >= 1000000000")?,
        })
    }

    /// Whether all that was taken is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.errors_taken == self.errors_stored && self.slow_taken == self.slow_stored
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errors_taken, errors_stored, slow_taken, slow_stored } = self;
        writeln!(
            f,
            "in the database: {errors_stored} of {errors_taken} errors, {slow_stored} of {slow_taken} slow spans"
        )
    }
}
