/// The severity of the event of a log record: `SeverityNumber`.
///
/// It has six ranges of four steps each. A source with one level per range uses the first step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    /// Unknown.
    #[default]
    Unspecified = 0,
    /// A fine-grained debugging event.
    Trace = 1,
    /// One step above `Trace`.
    Trace2 = 2,
    /// Two steps above `Trace`.
    Trace3 = 3,
    /// Three steps above `Trace`.
    Trace4 = 4,
    /// A debugging event.
    Debug = 5,
    /// One step above `Debug`.
    Debug2 = 6,
    /// Two steps above `Debug`.
    Debug3 = 7,
    /// Three steps above `Debug`.
    Debug4 = 8,
    /// Something happened.
    Info = 9,
    /// One step above `Info`.
    Info2 = 10,
    /// Two steps above `Info`.
    Info3 = 11,
    /// Three steps above `Info`.
    Info4 = 12,
    /// Not an error, but more important than information.
    Warn = 13,
    /// One step above `Warn`.
    Warn2 = 14,
    /// Two steps above `Warn`.
    Warn3 = 15,
    /// Three steps above `Warn`.
    Warn4 = 16,
    /// Something went wrong.
    Error = 17,
    /// One step above `Error`.
    Error2 = 18,
    /// Two steps above `Error`.
    Error3 = 19,
    /// Three steps above `Error`.
    Error4 = 20,
    /// The program cannot continue.
    Fatal = 21,
    /// One step above `Fatal`.
    Fatal2 = 22,
    /// Two steps above `Fatal`.
    Fatal3 = 23,
    /// Three steps above `Fatal`.
    Fatal4 = 24,
}

// === impl Severity ===

impl Severity {
    /// All severities, by their numbers.
    const ALL: [Self; 25] = [
        Self::Unspecified,
        Self::Trace,
        Self::Trace2,
        Self::Trace3,
        Self::Trace4,
        Self::Debug,
        Self::Debug2,
        Self::Debug3,
        Self::Debug4,
        Self::Info,
        Self::Info2,
        Self::Info3,
        Self::Info4,
        Self::Warn,
        Self::Warn2,
        Self::Warn3,
        Self::Warn4,
        Self::Error,
        Self::Error2,
        Self::Error3,
        Self::Error4,
        Self::Fatal,
        Self::Fatal2,
        Self::Fatal3,
        Self::Fatal4,
    ];

    /// The severity with this number in OTLP; `None` above 24.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number in OTLP: 1 to 24, or 0 if unknown.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_names_its_severity() {
        for number in 0..=24 {
            assert_eq!(Severity::from_number(number).unwrap().number(), number);
        }
        assert_eq!(Severity::from_number(25), None);
    }
}
