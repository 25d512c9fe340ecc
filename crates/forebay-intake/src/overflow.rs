/// What a queue does with an item for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The item is handed back at once (the default).
    #[default]
    Refuse,
    /// The oldest items of normal priority are dropped until the new one fits. Where all of them would not make enough room,
    /// none is dropped and the new item is handed back.
    ///
    /// An item in flight is never dropped for a new one.
    DropOldest,
    /// The caller waits in line. A service is not ready while it is full; a call that finds it full again waits.
    ///
    /// An item above its fair share is handed back all the same, since in line it would block other keys.
    Wait,
}
