/// The time over which the values of a metric are aggregated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Temporality {
    /// Unknown; it must not be sent.
    #[default]
    Unspecified = 0,
    /// Since the last reported point.
    Delta = 1,
    /// Since a fixed start.
    Cumulative = 2,
}

// === impl Temporality ===

impl Temporality {
    /// Its number in OTLP.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}
