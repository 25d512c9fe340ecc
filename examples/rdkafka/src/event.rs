use bytes::Bytes;
use forebay::core::Footprint;

/// What a program hands over: it becomes one record of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Names the event for ever. It is the key of the record, so that a consumer recognizes one that arrives twice.
    pub id: u64,
    /// The value of the record.
    pub value: Bytes,
}

// === impl Event ===

impl Footprint for Event {
    fn heap(&self) -> usize {
        self.value.len()
    }
}
