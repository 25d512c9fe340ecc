use crate::{
    codec::Codec,
    session::Change,
    state::State,
    wire::{ErrorCode, InstanceId},
};

/// What a client has done, for an observer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A broker has given the client its id. It is kept; no other follows.
    Named(InstanceId),
    /// A push is on its way.
    Pushing(PushSize),
    /// A request had an outcome, or the client was asked to end.
    Changed {
        /// What it was.
        change: Change,
        /// Where the exchange stands now.
        state: State,
    },
    /// The response to the last push; nothing follows from it.
    LastResponse(ErrorCode),
    /// A request failed, in the words of its error.
    Failed(String),
    /// A compression type failed here; it is not used again.
    CodecFailed(Codec),
    /// Sources panicked, this many in one push.
    SourcesPanicked(u64),
}

/// What a push consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushSize {
    /// Series in it.
    pub series: u64,
    /// Series that were wanted and are not in it.
    pub left_out: u64,
    /// Its length after compression.
    pub bytes: usize,
    /// How it is compressed.
    pub codec: Codec,
    /// Whether it is the last one.
    pub terminating: bool,
}
