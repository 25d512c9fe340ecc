//! What is decided on one call.

use crate::{refusal::Refusal, word::Word};

/// Whether a call may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Admit(Ticket),
    Refuse(Refusal),
    /// The word alone does not decide: the rest of the state does, under the lock.
    Undecided,
}

/// What an admitted call returns with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The word that admitted the call.
    pub(crate) word: Word,
    pub(crate) pass: Pass,
}

/// In which role a call is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Ordinary,
    /// The probe with this number, which is never 0.
    Probe(u32),
    /// The result of the call counts for nothing.
    Bypass,
}
