/// What a queue does with an item for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Hand it back at once (the default).
    #[default]
    Refuse,
    /// Drop the oldest items of normal priority until the new one fits; hand it back, and drop nothing, where all of them
    /// would not be enough.
    ///
    /// What is in flight is never dropped for it.
    DropOldest,
    /// Let the caller wait in line. A service is not ready while it is full; a call that finds it full again waits.
    ///
    /// An item above its fair share is handed back all the same: in line it would stand in the way of other keys.
    Wait,
}
