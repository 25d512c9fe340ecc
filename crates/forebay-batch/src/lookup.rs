//! One element for each key of a batch, in the order of the items.

use crate::{Items, Unmatched};
use forebay_core::BoxError;
use pin_project_lite::pin_project;
use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::Hash,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// Asks an inner service for each distinct key of a batch once, and gives each item the element that has its key.
///
/// [`BatchBuilder::respond_per_key`](crate::BatchBuilder::respond_per_key) puts it in front of the inner service. Its response has one
/// `Option` per item, in the order of the items. A response with an element that belongs to no item is an [`Unmatched`].
#[derive(Clone)]
pub struct Lookup<S, KI, KE> {
    inner: S,
    item_key: KI,
    element_key: KE,
}

pin_project! {
    /// Response future of [`Lookup`].
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the inner future.
    #[must_use = "futures do nothing unless polled"]
    pub struct LookupFuture<F, K, KE, E> {
        #[pin]
        inner: F,
        // The key of each item, in the order of the items; taken when the response has arrived.
        asked: Vec<K>,
        element_key: KE,
        element: PhantomData<fn() -> E>,
    }
}

/// Up to where elements that belong to no item are counted, so that a response without an end is read to an end.
const MOST_UNMATCHED: usize = 65_536;

// === impl Lookup ===

impl<S, KI, KE> Lookup<S, KI, KE> {
    pub(crate) fn new(inner: S, item_key: KI, element_key: KE) -> Self {
        Self { inner, item_key, element_key }
    }

    /// The key of each item, and whether the item is the first one with its key.
    fn keys<T, K>(&self, items: &[T]) -> (Vec<K>, Vec<bool>)
    where
        KI: Fn(&T) -> K,
        K: Hash + Eq,
    {
        let keys: Vec<K> = items.iter().map(&self.item_key).collect();
        let mut known = HashMap::with_capacity(keys.len());
        let first = keys.iter().map(|key| known.insert(key, ()).is_none()).collect();
        (keys, first)
    }
}

impl<T, S, K, E, KI, KE> Service<Vec<T>> for Lookup<S, KI, KE>
where
    S: Service<Vec<T>>,
    S::Response: IntoIterator<Item = E>,
    S::Error: Into<BoxError>,
    KI: Fn(&T) -> K,
    KE: Fn(&E) -> K + Clone,
    K: Hash + Eq,
    E: Clone,
{
    type Response = Vec<Option<E>>;
    type Error = BoxError;
    type Future = LookupFuture<S::Future, K, KE, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, items: Vec<T>) -> Self::Future {
        let (asked, first) = self.keys(&items);
        let distinct = items.into_iter().zip(first).filter_map(|(item, first)| first.then_some(item)).collect();
        LookupFuture::new(self.inner.call(distinct), asked, self.element_key.clone())
    }
}

/// The batch retains the items, so that items with equal keys are left out of a copy.
impl<T, S, K, E, KI, KE> Service<Items<T>> for Lookup<S, KI, KE>
where
    T: Clone,
    S: Service<Items<T>>,
    S::Response: IntoIterator<Item = E>,
    S::Error: Into<BoxError>,
    KI: Fn(&T) -> K,
    KE: Fn(&E) -> K + Clone,
    K: Hash + Eq,
    E: Clone,
{
    type Response = Vec<Option<E>>;
    type Error = BoxError;
    type Future = LookupFuture<S::Future, K, KE, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, items: Items<T>) -> Self::Future {
        let (asked, first) = self.keys(&items);
        let distinct = if first.iter().all(|first| *first) {
            items
        } else {
            items.iter().zip(first).filter(|(_, first)| *first).map(|(item, _)| item.clone()).collect::<Vec<_>>().into()
        };
        LookupFuture::new(self.inner.call(distinct), asked, self.element_key.clone())
    }
}

impl<S: fmt::Debug, KI, KE> fmt::Debug for Lookup<S, KI, KE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("inner", &self.inner).finish_non_exhaustive()
    }
}

// === impl LookupFuture ===

impl<F, K, KE, E> LookupFuture<F, K, KE, E> {
    fn new(inner: F, asked: Vec<K>, element_key: KE) -> Self {
        Self { inner, asked, element_key, element: PhantomData }
    }
}

impl<F, Res, Err, K, KE, E> Future for LookupFuture<F, K, KE, E>
where
    F: Future<Output = Result<Res, Err>>,
    Res: IntoIterator<Item = E>,
    Err: Into<BoxError>,
    KE: Fn(&E) -> K,
    K: Hash + Eq,
    E: Clone,
{
    type Output = Result<Vec<Option<E>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx)).map_err(Into::into)?;
        let asked = std::mem::take(this.asked);
        Poll::Ready(join(&asked, response, &*this.element_key).map_err(Into::into))
    }
}

impl<F, K, KE, E> fmt::Debug for LookupFuture<F, K, KE, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupFuture").field("items", &self.asked.len()).finish_non_exhaustive()
    }
}

/// The element of each key that was asked for, in that order.
fn join<K, E>(
    asked: &[K],
    response: impl IntoIterator<Item = E>,
    key_of: impl Fn(&E) -> K,
) -> Result<Vec<Option<E>>, Unmatched>
where
    K: Hash + Eq,
    E: Clone,
{
    let mut found: HashMap<&K, Option<E>> = asked.iter().map(|key| (key, None)).collect();
    let mut unmatched = 0;
    for element in response {
        match found.get_mut(&key_of(&element)) {
            Some(place @ None) => *place = Some(element),
            // Only the server knows which of two elements is meant, or why it sent one that no item asked for.
            Some(Some(_)) | None => unmatched += 1,
        }
        if unmatched >= MOST_UNMATCHED {
            break;
        }
    }
    if unmatched > 0 {
        return Err(Unmatched::new(unmatched));
    }
    Ok(asked.iter().map(|key| found.get(key).cloned().flatten()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(asked: &[u32], response: &[(u32, char)]) -> Result<Vec<Option<char>>, Unmatched> {
        let joined = join(asked, response.iter().copied(), |(key, _)| *key)?;
        Ok(joined.into_iter().map(|element| element.map(|(_, value)| value)).collect())
    }

    #[test]
    fn f04_an_element_reaches_the_items_of_its_key_and_no_other() {
        assert_eq!(of(&[1, 2, 1, 3], &[(3, 'c'), (1, 'a')]), Ok(vec![Some('a'), None, Some('a'), Some('c')]));
        assert_eq!(of(&[], &[]), Ok(vec![]));
        assert_eq!(of(&[1], &[(2, 'b'), (1, 'a')]), Err(Unmatched::new(1)), "not asked for");
        assert_eq!(of(&[1], &[(1, 'a'), (1, 'b'), (1, 'c')]), Err(Unmatched::new(2)), "one key, two elements");
    }

    #[test]
    fn f04_a_response_without_an_end_has_one() {
        let endless = join(&[1], std::iter::repeat(7), |key| *key);
        assert_eq!(endless, Err(Unmatched::new(MOST_UNMATCHED)));
    }
}
