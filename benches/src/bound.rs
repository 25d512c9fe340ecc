//! What a row must reach.

use crate::table::Row;

/// A target of one of our own rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// What is bounded.
    pub what: Quantity,
    /// The most it may be.
    pub at_most: f64,
}

/// What a [`Bound`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// The ratio to the first row of the table.
    OfFloor,
    /// The ratio to the fastest rival of the table.
    OfBestRival,
    /// The ratio to the contender of this name.
    Of(&'static str),
    /// Nanoseconds per operation.
    Nanos,
    /// Nanoseconds per operation more than the first row.
    OverFloor,
    /// Nanoseconds per operation on top of those of the first row.
    Added,
    /// Allocations per operation.
    Allocations,
    /// The column of this name.
    Extra(&'static str),
    /// Bytes per operation.
    Bytes,
}

/// A [`Bound`], and what was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was asked for.
    pub bound: Bound,
    /// What was found, in the unit of the bound; `None` where the table has nothing to compare with.
    pub found: Option<f64>,
}

// === impl Bound ===

impl Bound {
    /// At most this ratio to the first row.
    #[must_use]
    pub const fn of_floor(at_most: f64) -> Self {
        Self { what: Quantity::OfFloor, at_most }
    }

    /// At most this ratio to the fastest rival.
    #[must_use]
    pub const fn of_best_rival(at_most: f64) -> Self {
        Self { what: Quantity::OfBestRival, at_most }
    }

    /// At most this ratio to the contender called `name`.
    #[must_use]
    pub const fn of(name: &'static str, at_most: f64) -> Self {
        Self { what: Quantity::Of(name), at_most }
    }

    /// At most so many nanoseconds per operation.
    #[must_use]
    pub const fn nanos(at_most: f64) -> Self {
        Self { what: Quantity::Nanos, at_most }
    }

    /// At most so many nanoseconds per operation more than the first row.
    #[must_use]
    pub const fn added(at_most: f64) -> Self {
        Self { what: Quantity::Added, at_most }
    }

    /// At most so many nanoseconds per operation more than the first row.
    #[must_use]
    pub const fn over_floor(at_most: f64) -> Self {
        Self { what: Quantity::OverFloor, at_most }
    }

    /// At most so many allocations per operation.
    #[must_use]
    pub const fn allocations(at_most: f64) -> Self {
        Self { what: Quantity::Allocations, at_most }
    }

    /// At most so much in the column called `name`.
    #[must_use]
    pub const fn extra(name: &'static str, at_most: f64) -> Self {
        Self { what: Quantity::Extra(name), at_most }
    }

    /// At most so many bytes per operation.
    #[must_use]
    pub const fn bytes(at_most: f64) -> Self {
        Self { what: Quantity::Bytes, at_most }
    }

    /// Whether it is a ratio to another contender.
    #[must_use]
    pub const fn is_ratio(&self) -> bool {
        matches!(self.what, Quantity::OfFloor | Quantity::OfBestRival | Quantity::Of(_))
    }
}

// === impl Finding ===

impl Finding {
    /// Whether the target is met; `None` where there was nothing to compare with.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        self.found.map(|found| found <= self.bound.at_most)
    }

    /// One line for people, about `row`.
    #[must_use]
    pub fn line(&self, row: &Row) -> String {
        let of = match self.bound.what {
            Quantity::OfFloor => "of the floor".to_owned(),
            Quantity::OfBestRival => "of the best rival".to_owned(),
            Quantity::Of(name) => format!("of \"{name}\""),
            Quantity::Nanos => "ns".to_owned(),
            Quantity::OverFloor => "ns over the floor".to_owned(),
            Quantity::Added => "ns on top of the floor".to_owned(),
            Quantity::Allocations => "allocations".to_owned(),
            Quantity::Extra(name) => name.to_owned(),
            Quantity::Bytes => "bytes".to_owned(),
        };
        let verdict = match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        let found = self.found.map_or("-".to_owned(), |found| format!("{found:.3}"));
        format!("{}: {found} {of}, at most {} asked for: {verdict}", row.name, self.bound.at_most)
    }
}
