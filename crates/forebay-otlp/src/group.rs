use crate::{
    section::{Section, put_resource, put_scope},
    signal::WriteItem,
    wire::{Buf, TooDeep, Wire},
};
use bytes::BytesMut;
use std::{collections::HashMap, sync::Arc};

/// The items of a batch by their origin.
///
/// Origins are in the order of their first items, and the items of one origin in the order of the batch. Two items have the
/// same origin if its encoding is the same, byte for byte.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    resources: Interner,
    scopes: Interner,
    groups: Vec<Group>,
    by_origin: HashMap<(SectionIndex, SectionIndex), usize>,
    /// The group of the previous item: most items have the origin of the previous one.
    last: usize,
    /// The indices of the items whose origin cannot be encoded.
    pub(crate) skipped: Vec<usize>,
}

/// The items of one scope of one resource.
#[derive(Debug)]
pub(crate) struct Group {
    resource: SectionIndex,
    scope: SectionIndex,
    /// Their indices in the batch, ascending.
    pub(crate) places: Vec<usize>,
}

/// The index of an interned section; `None` is the encoder's own section.
type SectionIndex = Option<usize>;

/// Gives the same index to the same section.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    sections: Vec<Section>,
    by_bytes: HashMap<Arc<[u8]>, usize>,
    /// The section of the previous call.
    last: usize,
}

// === impl Groups ===

impl Groups {
    pub(crate) fn of<W: Wire, S: WriteItem<T>, T>(items: &[T]) -> Self {
        let mut all = Self::default();
        let mut scratch = Buf::new(BytesMut::new());
        for (place, item) in items.iter().enumerate() {
            match all.origin::<W, S, T>(item, &mut scratch) {
                Ok(origin) => all.add(origin, place),
                Err(TooDeep) => all.skipped.push(place),
            }
        }
        all.sort();
        all
    }

    /// Makes the groups of one resource adjacent.
    fn sort(&mut self) {
        let mut order = HashMap::new();
        for group in &self.groups {
            let next = order.len();
            order.entry(group.resource).or_insert(next);
        }
        self.groups.sort_by_key(|group| order.get(&group.resource).copied());
    }

    fn origin<W: Wire, S: WriteItem<T>, T>(
        &mut self,
        item: &T,
        scratch: &mut Buf,
    ) -> Result<(SectionIndex, SectionIndex), TooDeep> {
        let (mut resource, mut scope) = (None, None);
        if let Some(own) = S::resource(item) {
            scratch.truncate(0);
            let split = put_resource::<W>(scratch, &own)?;
            resource = Some(self.resources.intern(scratch.tail(0), split));
        }
        if let Some(own) = S::scope(item) {
            scratch.truncate(0);
            let split = put_scope::<W>(scratch, &own)?;
            scope = Some(self.scopes.intern(scratch.tail(0), split));
        }
        Ok((resource, scope))
    }

    fn add(&mut self, origin: (SectionIndex, SectionIndex), place: usize) {
        let (resource, scope) = origin;
        if self.groups.get(self.last).is_none_or(|last| (last.resource, last.scope) != origin) {
            self.last = *self.by_origin.entry(origin).or_insert_with(|| {
                self.groups.push(Group { resource, scope, places: Vec::new() });
                self.groups.len() - 1
            });
        }
        if let Some(group) = self.groups.get_mut(self.last) {
            group.places.push(place);
        }
    }

    /// The groups, in one slice for each resource.
    pub(crate) fn by_resource(&self) -> impl Iterator<Item = &[Group]> {
        self.groups.chunk_by(|one, next| one.resource == next.resource)
    }

    /// The resource of a group; `None` if it is the encoder's own.
    pub(crate) fn resource(&self, group: &Group) -> Option<&Section> {
        self.resources.get(group.resource)
    }

    /// The scope of a group; `None` if it is the encoder's own.
    pub(crate) fn scope(&self, group: &Group) -> Option<&Section> {
        self.scopes.get(group.scope)
    }
}

// === impl Interner ===

impl Interner {
    fn intern(&mut self, bytes: &[u8], split: usize) -> usize {
        if self.sections.get(self.last).is_none_or(|last| **last.bytes() != *bytes) {
            self.last = self.by_bytes.get(bytes).copied().unwrap_or_else(|| {
                let section = Section::new(bytes, split);
                self.by_bytes.insert(Arc::clone(section.bytes()), self.sections.len());
                self.sections.push(section);
                self.sections.len() - 1
            });
        }
        self.last
    }

    /// Interns like [`intern`](Self::intern), but keeps at most `most` sections.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn intern_up_to(&mut self, most: usize, bytes: &[u8], split: usize) -> Option<usize> {
        let room = self.sections.len() < most || self.by_bytes.contains_key(bytes);
        room.then(|| self.intern(bytes, split))
    }

    pub(crate) fn get(&self, id: SectionIndex) -> Option<&Section> {
        self.sections.get(id?)
    }
}
