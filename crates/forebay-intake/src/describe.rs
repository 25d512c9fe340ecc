use crate::{Offer, intake::OfferMeta};
use forebay_core::{ByFootprint, KeyOf, Priority, Unkeyed, Weigh, panic};
use std::{
    any::TypeId,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Finds what an intake has to know of an item before it takes the lock: its weight, its lane, and its fair-share key.
///
/// The user's functions are behind one virtual call, so that a handle has no type parameter for each of them. A panic of one of
/// them does not reach the host that hands an item over: it is counted, and the item gets the default.
pub struct Describe<T> {
    look: Look<T>,
    panics: ClosurePanics,
}

/// Counts the panics of the user's functions that describe an item; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct ClosurePanics(Arc<AtomicU64>);

/// Which of the user's functions describe an item.
enum Look<T> {
    /// None: every item weighs its `size_of`, has normal priority, and has no key.
    None,
    /// The one for its weight.
    Weight(Arc<dyn Fn(&T) -> usize + Send + Sync>),
    /// Those for its weight, its lane and its key, as far as the offer does not state them.
    All(Arc<DescribeOffer<T>>),
}

/// The user's functions behind one call.
type DescribeOffer<T> = dyn Fn(&Offer<T>) -> OfferMeta + Send + Sync;

/// Builds a [`Describe`].
#[derive(Clone, Debug)]
pub struct Description<W = ByFootprint, P = AllNormal, K = Unkeyed> {
    weigh: W,
    priority: P,
    key: K,
    /// Has random keys, so that a peer that chooses the fair-share keys cannot make them collide.
    hasher: RandomState,
    /// Which fair shares are kept.
    shares: Shares,
}

/// Which fair shares are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shares {
    /// None.
    Off,
    /// Shares of the keys that offers name.
    ByOffer,
    /// Shares of the keys that offers name, and for any other offer of the item's own key.
    ByKey,
}

/// Gives every item normal priority.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllNormal;

/// Which lane an item takes. Any `Fn(&T) -> Priority` is one.
pub trait PriorityOf<T> {
    /// The lane of `item`.
    fn priority_of(&self, item: &T) -> Priority;
}

// === impl Describe ===

impl<T> Describe<T> {
    /// What admission needs to know of `offer`, if no user code has to run for it.
    #[inline(always)]
    #[must_use]
    pub fn known(&self, offer: &Offer<T>) -> Option<OfferMeta> {
        match &self.look {
            Look::None => Some(offer.meta_or(|_| size_of::<T>())),
            Look::Weight(_) if offer.bytes.is_some() => Some(offer.meta_or(|_| size_of::<T>())),
            Look::Weight(_) | Look::All(_) => None,
        }
    }

    /// What admission needs to know of `offer`: what it states itself, and what the user's functions say of the rest.
    ///
    /// Call it without a lock: it runs user code for what the offer does not state, and for nothing else.
    #[inline]
    #[must_use]
    pub fn meta(&self, offer: &Offer<T>) -> OfferMeta {
        match &self.look {
            Look::None => offer.meta_or(|_| size_of::<T>()),
            Look::Weight(weigh) => offer.meta_or(|item| weigh(item)),
            Look::All(look) => look(offer),
        }
    }

    /// The count of panics of the user's functions.
    #[must_use]
    pub const fn panics(&self) -> &ClosurePanics {
        &self.panics
    }
}

impl<T> Clone for Describe<T> {
    fn clone(&self) -> Self {
        let look = match &self.look {
            Look::None => Look::None,
            Look::Weight(weigh) => Look::Weight(Arc::clone(weigh)),
            Look::All(look) => Look::All(Arc::clone(look)),
        };
        Self { look, panics: self.panics.clone() }
    }
}

impl<T> fmt::Debug for Describe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.look {
            Look::None => "Describe(plain)",
            Look::Weight(_) => "Describe(weight)",
            Look::All(_) => "Describe(..)",
        })
    }
}

// === impl ClosurePanics ===

impl ClosurePanics {
    /// Runs user code, or counts its panic and returns `default`. Call it without a lock.
    #[inline]
    pub fn catch<R>(&self, run: impl FnOnce() -> R, default: R) -> R {
        match panic::catch(run) {
            Ok(result) => result,
            Err(_reported) => {
                self.0.fetch_add(1, Relaxed);
                default
            }
        }
    }

    /// How many panics there were.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

// === impl Description ===

impl Description {
    /// Normal priority, its own footprint, no key.
    #[must_use]
    pub fn new() -> Self {
        Self { weigh: ByFootprint, priority: AllNormal, key: Unkeyed, hasher: RandomState::new(), shares: Shares::Off }
    }
}

impl Default for Description {
    fn default() -> Self {
        Self::new()
    }
}

impl<W, P, K> Description<W, P, K> {
    /// How many bytes an item is charged for.
    #[must_use]
    pub fn weigh<W2>(self, weigh: W2) -> Description<W2, P, K> {
        let Self { priority, key, hasher, shares, .. } = self;
        Description { weigh, priority, key, hasher, shares }
    }

    /// Which lane an item takes.
    #[must_use]
    pub fn priority<P2>(self, priority: P2) -> Description<W, P2, K> {
        let Self { weigh, key, hasher, shares, .. } = self;
        Description { weigh, priority, key, hasher, shares }
    }

    /// The key whose fair share an item takes.
    #[must_use]
    pub fn key<K2>(self, key: K2) -> Description<W, P, K2> {
        let Self { weigh, priority, hasher, .. } = self;
        Description { weigh, priority, key, hasher, shares: Shares::ByKey }
    }

    /// Keeps the fair shares of the keys that offers name; an offer without a key counts against none.
    #[must_use]
    pub fn keyed_by_offers(mut self) -> Self {
        self.shares = Shares::ByOffer;
        self
    }

    /// Whether fair shares are to be kept.
    #[must_use]
    pub const fn is_keyed(&self) -> bool {
        !matches!(self.shares, Shares::Off)
    }

    /// Puts the functions behind one call.
    #[must_use]
    pub fn describe<T>(self) -> Describe<T>
    where
        W: Weigh<T> + Send + Sync + 'static,
        P: PriorityOf<T> + Send + Sync + 'static,
        K: KeyOf<T> + Send + Sync + 'static,
    {
        let Self { weigh, priority, key, hasher, shares } = self;
        let (panics, plain) = (ClosurePanics::default(), weigh.is_size_of());
        let counted = panics.clone();
        let weight = move |item: &T| counted.catch(|| weigh.weigh(item), size_of::<T>());
        // No function describes an item where all of them are the defaults.
        if shares == Shares::Off && is::<P, AllNormal>() {
            let look = if plain { Look::None } else { Look::Weight(Arc::new(weight)) };
            return Describe { look, panics };
        }
        let counted = panics.clone();
        let look = Look::All(Arc::new(move |offer: &Offer<T>| {
            let item = &offer.item;
            let lane = || counted.catch(|| priority.priority_of(item), Priority::Normal);
            let hash = || counted.catch(|| Some(hasher.hash_one(key.key_of(item))), None);
            OfferMeta {
                bytes: offer.bytes.unwrap_or_else(|| weight(item)),
                priority: offer.priority.unwrap_or_else(lane),
                key: match shares {
                    Shares::Off => None,
                    Shares::ByOffer => offer.key,
                    Shares::ByKey => offer.key.or_else(hash),
                },
            }
        }));
        Describe { look, panics }
    }
}

/// Whether both are the same type.
fn is<One: 'static, Other: 'static>() -> bool {
    TypeId::of::<One>() == TypeId::of::<Other>()
}

// === impl PriorityOf ===

impl<T> PriorityOf<T> for AllNormal {
    fn priority_of(&self, _: &T) -> Priority {
        Priority::Normal
    }
}

impl<T, F: Fn(&T) -> Priority> PriorityOf<T> for F {
    fn priority_of(&self, item: &T) -> Priority {
        self(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::SizeOf;

    fn itself(number: &u32) -> &u32 {
        number
    }

    #[test]
    fn only_the_functions_that_were_set_describe_an_item() {
        let of = |describe: &Describe<u32>| {
            let (item, weighed) = (Offer::new(7), Offer::new(7).weight(1));
            let OfferMeta { bytes, priority, key } = describe.meta(&item);
            (describe.known(&item).is_some(), describe.known(&weighed).is_some(), bytes, priority, key.is_some())
        };
        let (new, heavy) = (Description::new, |number: &u32| *number as usize * 10);
        let lanes = |_: &u32| Priority::High;
        assert_eq!(of(&new().describe()), (true, true, 4, Priority::Normal, false));
        assert_eq!(of(&new().weigh(SizeOf).priority(AllNormal).describe()), (true, true, 4, Priority::Normal, false));
        assert_eq!(of(&new().weigh(heavy).describe()), (false, true, 70, Priority::Normal, false));
        assert_eq!(of(&new().priority(lanes).describe()), (false, false, 4, Priority::High, false));
        assert_eq!(of(&new().weigh(heavy).priority(lanes).describe()), (false, false, 70, Priority::High, false));
        assert_eq!(of(&new().key(itself).describe()), (false, false, 4, Priority::Normal, true));
        assert_eq!(of(&new().key(Unkeyed).describe()), (false, false, 4, Priority::Normal, true));
    }

    #[test]
    fn no_function_runs_for_what_an_offer_states() {
        let describe = Description::new()
            .weigh(|_: &u32| -> usize { panic!("weight") })
            .priority(|_: &u32| -> Priority { panic!("lane") })
            .key(itself)
            .describe();
        let said = Offer::new(7).weight(30).priority(Priority::High).fair_share_key(9);
        let OfferMeta { bytes, priority, key } = describe.meta(&said);
        assert_eq!((bytes, priority, key, describe.panics().get()), (30, Priority::High, Some(9), 0));

        // Where no shares are kept, a key of an offer has nothing to count against.
        let OfferMeta { bytes, priority, key } = Description::new().describe().meta(&said);
        assert_eq!((bytes, priority, key), (30, Priority::High, None));
    }

    fn key(item: &u32) -> &u32 {
        assert!(*item != 3, "key");
        item
    }

    #[test]
    fn f18_a_function_that_panics_is_counted_and_gives_its_item_the_default() {
        let describe = Description::new()
            .weigh(|item: &u32| if *item == 1 { panic!("weight") } else { 7 })
            .priority(|item: &u32| if *item == 2 { panic!("lane") } else { Priority::High })
            .key(key)
            .describe();
        let of = |item: u32| {
            let OfferMeta { bytes, priority, key } = describe.meta(&Offer::new(item));
            (bytes, priority, key.is_some())
        };
        assert_eq!(of(0), (7, Priority::High, true));
        assert_eq!(of(1), (4, Priority::High, true));
        assert_eq!(of(2), (7, Priority::Normal, true));
        assert_eq!(of(3), (7, Priority::High, false));
        assert_eq!(describe.clone().panics().get(), 3);

        let describe = Description::new().weigh(|_: &u32| -> usize { panic!("weight") }).describe();
        assert_eq!((describe.meta(&Offer::new(1)).bytes, describe.panics().get()), (4, 1));
    }

    #[test]
    fn f17_an_item_with_heap_memory_is_weighed_with_it() {
        let describe = Description::new().describe::<Vec<u8>>();
        assert!(
            describe.known(&Offer::new(vec![])).is_none() && describe.known(&Offer::new(vec![]).weight(1)).is_some()
        );
        assert!(describe.meta(&Offer::new(vec![0; 20_000])).bytes > 20_000);
    }
}
