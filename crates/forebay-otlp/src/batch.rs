use crate::{
    group::{Group, Groups},
    protobuf::varint_len,
    section::Section,
    signal::{Envelope, WriteItem},
    wire::{Buf, Message, Outer, TooDeep, Wire},
};

/// The messages around the items of every body, and the limit on its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'e> {
    pub(crate) envelope: Envelope,
    pub(crate) resource: Option<&'e Section>,
    pub(crate) scope: Option<&'e Section>,
    /// The greatest length of the whole body, in bytes.
    pub(crate) max_request_bytes: usize,
    /// The expected length of the body, in bytes.
    pub(crate) expected: usize,
}

/// The state of one batch while it is written.
struct BatchWriter<'a, T> {
    frame: Frame<'a>,
    items: &'a [T],
    /// Items in the body so far.
    written: usize,
    /// The indices of the items that were left out.
    skipped: Vec<usize>,
    /// How many bytes the length prefix of the last item took, as the guess for the next one.
    item_width: usize,
    /// The body is longer than it may be.
    too_large: bool,
}

/// The body is too long; `written` items were in it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) written: usize,
}

/// Writes the request for `items` at the end of `buf`, and returns the indices of those that were left out.
pub(crate) fn write<W: Wire, S: WriteItem<T>, T>(
    frame: Frame<'_>,
    items: &[T],
    buf: &mut Buf,
) -> Result<Vec<usize>, TooLarge> {
    let mut batch = BatchWriter { frame, items, written: 0, skipped: Vec::new(), item_width: 1, too_large: false };
    W::request(buf, |request| {
        // For a type of item without an origin of its own, the compiler removes this check and the branch below.
        if items.iter().all(|item| S::scope(item).is_none() && S::resource(item).is_none()) {
            batch.one_group::<S, _>(request);
        } else {
            batch.groups::<W, S>(request);
        }
    });
    let BatchWriter { written, mut skipped, too_large, .. } = batch;
    if too_large || buf.len() > frame.max_request_bytes {
        // The tails of the sections may be the excess; a part must be smaller than the whole.
        return Err(TooLarge { written: written.min(items.len().saturating_sub(1)) });
    }
    skipped.sort_unstable();
    Ok(skipped)
}

// === impl BatchWriter ===

impl<T> BatchWriter<'_, T> {
    fn one_group<S: WriteItem<T>, M: Message>(&mut self, request: &mut M) {
        let Frame { envelope, resource, scope, expected, .. } = self.frame;
        let items = self.items.iter().enumerate();
        request.element::<Outer>(envelope.resources.wide(varint_len(expected as u64)), |m| {
            within(m, resource, |m| self.scope::<S, _>(m, scope, expected, items));
        });
    }

    fn groups<W: Wire, S: WriteItem<T>>(&mut self, request: &mut W::Message<'_, Outer>) {
        let Frame { envelope, resource, scope, expected, .. } = self.frame;
        let groups = Groups::of::<W, S, T>(self.items);
        self.skipped.extend(&groups.skipped);
        let share = |part: &Group| expected / self.items.len().max(1) * part.places.len();
        for chunk in groups.by_resource() {
            if self.too_large {
                return;
            }
            let width = varint_len(chunk.iter().map(share).sum::<usize>() as u64);
            let section = chunk.first().and_then(|first| groups.resource(first)).or(resource);
            request.element::<Outer>(envelope.resources.wide(width), |m| {
                within(m, section, |m| {
                    for part in chunk {
                        if self.too_large {
                            return;
                        }
                        let items = part.places.iter().filter_map(|place| Some((*place, self.items.get(*place)?)));
                        self.scope::<S, _>(m, groups.scope(part).or(scope), share(part), items);
                    }
                });
            });
        }
    }

    /// Writes the items of one scope.
    #[inline]
    fn scope<'i, S: WriteItem<T>, M: Message>(
        &mut self,
        resource: &mut M,
        section: Option<&Section>,
        expected: usize,
        items: impl Iterator<Item = (usize, &'i T)>,
    ) where
        T: 'i,
    {
        let Frame { envelope, max_request_bytes, .. } = self.frame;
        resource.element::<Outer>(envelope.scopes.wide(varint_len(expected as u64)), |m| {
            within(m, section, |m| {
                for (place, item) in items {
                    match m.element_if_whole(envelope.items.wide(self.item_width), |m| S::write(item, m)) {
                        Ok(len) => self.item_width = varint_len(len as u64),
                        Err(TooDeep) => self.skipped.push(place),
                    }
                    if m.body_len() > max_request_bytes {
                        self.too_large = true;
                        return;
                    }
                    self.written += 1;
                }
            });
        });
    }
}

/// Writes the children of a section between its head and its tail.
#[inline]
pub(crate) fn within<M: Message>(m: &mut M, section: Option<&Section>, children: impl FnOnce(&mut M)) {
    if let Some(section) = section {
        m.raw(section.head());
    }
    children(m);
    if let Some(section) = section {
        m.raw(section.tail());
    }
}
