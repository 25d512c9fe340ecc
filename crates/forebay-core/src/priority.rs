/// The lane an item takes through a queue.
///
/// [`High`](Self::High) enters above the soft limit and overtakes [`Normal`](Self::Normal); it is not exempt from
/// the hard limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// The lane for what may be refused first (the default).
    #[default]
    Normal,
    /// The lane for errors, audit records, final flushes.
    High,
}
