use crate::{
    decision::{Pass, Ticket},
    directory::Place,
    word::Word,
};

/// An admitted call: what it carries from its admission to its result.
///
/// Three whole words: it is written, moved and read on every call, and a processor waits where it has to put together
/// one load from several stores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    /// The word that admitted it.
    pub(crate) word: Word,
    /// The index of its slot, its bits inverted; in the upper half which probe it is, 0 for none. So all of it is 0 for
    /// an ordinary call of a breaker without keys.
    place: u64,
    /// When it began, where the policy asks; else 0.
    pub(crate) started: u64,
}

// === impl Admitted ===

impl Admitted {
    /// The call goes, and its result counts for nothing.
    pub(crate) const BYPASS: Self = Self { word: Word(0), place: !Place::NOWHERE as u64, started: 0 };

    #[inline(always)]
    pub(crate) fn ordinary(word: Word, index: u32, started: u64) -> Self {
        Self { word, place: (!index).into(), started }
    }

    pub(crate) fn new(index: u32, Ticket { word, pass }: Ticket, started: u64) -> Self {
        match pass {
            Pass::Ordinary => Self::ordinary(word, index, started),
            Pass::Probe(probe) => Self { word, place: u64::from(probe) << 32 | u64::from(!index), started },
            Pass::Bypass => Self::BYPASS,
        }
    }

    /// Whether it is an ordinary call of a breaker without keys, or of the overflow bucket.
    #[inline(always)]
    pub(crate) fn is_ordinary_single(&self) -> bool {
        const { assert!(Place::SINGLE.index == u32::MAX) };
        self.place == 0
    }

    #[inline(always)]
    pub(crate) fn index(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        {
            !(self.place as u32)
        }
    }

    #[inline(always)]
    pub(crate) fn probe(&self) -> u32 {
        (self.place >> 32) as u32
    }

    pub(crate) fn ticket(&self) -> Ticket {
        let pass = if self.probe() == 0 { Pass::Ordinary } else { Pass::Probe(self.probe()) };
        Ticket { word: self.word, pass }
    }
}
