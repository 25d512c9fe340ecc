use crate::lot::{OpenLot, Partition};
use std::collections::HashMap;

/// The batches that still take items: one, or one per partition. Pure state.
#[derive(Debug)]
pub(crate) enum Open<T, A> {
    One(Option<OpenLot<T, A>>),
    Many { lots: HashMap<Partition, OpenLot<T, A>>, most: usize },
}

/// Not a part of every place where an item is handed over: most batchers have one batch for all.
#[inline(never)]
fn look_up<T, A>(lots: &mut HashMap<Partition, OpenLot<T, A>>, partition: Partition) -> Option<&mut OpenLot<T, A>> {
    lots.get_mut(&partition)
}

// === impl Open ===

impl<T, A> Open<T, A> {
    /// One batch for all, or at most so many, each for the items of one key.
    pub(crate) fn new(max_partitions: Option<usize>) -> Self {
        match max_partitions {
            None => Self::One(None),
            Some(most) => Self::Many { lots: HashMap::new(), most },
        }
    }

    /// Whether there is one batch for all.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self, Self::One(_))
    }

    /// The batch of `partition`, if it is open.
    #[inline]
    pub(crate) fn get(&mut self, partition: Partition) -> Option<&mut OpenLot<T, A>> {
        match self {
            Self::One(lot) => lot.as_mut(),
            Self::Many { lots, .. } => look_up(lots, partition),
        }
    }

    /// Opens `lot`; there must be none open for the partition.
    pub(crate) fn open(&mut self, partition: Partition, lot: OpenLot<T, A>) {
        let before = match self {
            Self::One(place) => place.replace(lot),
            Self::Many { lots, .. } => lots.insert(partition, lot),
        };
        debug_assert!(before.is_none());
    }

    /// The one that was opened first, when there are as many as there may be.
    pub(crate) fn make_room(&mut self) -> Option<Partition> {
        match self {
            Self::Many { lots, most } if lots.len() >= *most => {
                lots.iter().min_by_key(|(_, lot)| lot.number).map(|(partition, _)| *partition)
            }
            Self::One(_) | Self::Many { .. } => None,
        }
    }

    /// Takes the batch of `partition` out.
    #[inline]
    pub(crate) fn take(&mut self, partition: Partition) -> Option<OpenLot<T, A>> {
        match self {
            Self::One(lot) => lot.take(),
            Self::Many { lots, .. } => lots.remove(&partition),
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Partition, &mut OpenLot<T, A>)> {
        let (one, many) = match self {
            Self::One(lot) => (lot.as_mut().map(|lot| (Partition::default(), lot)), None),
            Self::Many { lots, .. } => (None, Some(lots.iter_mut().map(|(partition, lot)| (*partition, lot)))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(lot) => usize::from(lot.is_some()),
            Self::Many { lots, .. } => lots.len(),
        }
    }

    /// Items in all of them.
    pub(crate) fn items(&self) -> usize {
        match self {
            Self::One(lot) => lot.as_ref().map_or(0, OpenLot::len),
            Self::Many { lots, .. } => lots.values().map(OpenLot::len).sum(),
        }
    }
}
