use crate::{
    origin::{AsResource, AsScope},
    wire::{Attributed, Buf, Field, Message, Outer, TooDeep, Wire, fields},
};
use std::sync::Arc;

fields! {
    // ResourceLogs and ScopeLogs
    RESOURCE = 1, "resource";
    SCOPE = 1, "scope";
    SCHEMA_URL = 3, "schemaUrl";
    // Resource
    RESOURCE_ATTRIBUTES = 1, "attributes";
    RESOURCE_DROPPED_ATTRIBUTES_COUNT = 2, "droppedAttributesCount";
    // InstrumentationScope
    NAME = 1, "name";
    VERSION = 2, "version";
    SCOPE_ATTRIBUTES = 3, "attributes";
    SCOPE_DROPPED_ATTRIBUTES_COUNT = 4, "droppedAttributesCount";
}

/// The encoding of a `ResourceLogs` or `ScopeLogs` around its children.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    bytes: Arc<[u8]>,
    /// The index at which the children belong.
    split: usize,
}

/// The kind of a `Resource`.
enum ResourceMessage {}

/// The kind of an `InstrumentationScope`.
enum ScopeMessage {}

impl Attributed for ResourceMessage {
    const ATTRIBUTES: Field = RESOURCE_ATTRIBUTES;
}

impl Attributed for ScopeMessage {
    const ATTRIBUTES: Field = SCOPE_ATTRIBUTES;
}

// === impl Section ===

impl Section {
    /// A section of the bytes that [`put_resource`] or [`put_scope`] wrote.
    pub(crate) fn new(bytes: &[u8], split: usize) -> Self {
        Self { bytes: bytes.into(), split }
    }

    /// The bytes before the children.
    pub(crate) fn head(&self) -> &[u8] {
        self.bytes.get(..self.split).unwrap_or_default()
    }

    /// The bytes after the children.
    pub(crate) fn tail(&self) -> &[u8] {
        self.bytes.get(self.split..).unwrap_or_default()
    }

    /// Head and tail.
    pub(crate) fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

/// Writes the section of `resource` at the end of `buf`, and returns the length of its head.
pub(crate) fn put_resource<W: Wire>(buf: &mut Buf, resource: &impl AsResource) -> Result<usize, TooDeep> {
    put::<W>(buf, resource.schema_url(), |parent| {
        parent.message::<ResourceMessage>(RESOURCE, |m| {
            resource.attributes(m);
            m.uint32(RESOURCE_DROPPED_ATTRIBUTES_COUNT, resource.dropped_attributes_count());
        });
    })
}

/// Writes the section of `scope` at the end of `buf`, and returns the length of its head.
pub(crate) fn put_scope<W: Wire>(buf: &mut Buf, scope: &impl AsScope) -> Result<usize, TooDeep> {
    put::<W>(buf, scope.schema_url(), |parent| {
        parent.message::<ScopeMessage>(SCOPE, |m| {
            m.string(NAME, scope.name());
            m.string(VERSION, scope.version());
            scope.attributes(m);
            m.uint32(SCOPE_DROPPED_ATTRIBUTES_COUNT, scope.dropped_attributes_count());
        });
    })
}

fn put<W: Wire>(
    buf: &mut Buf,
    schema_url: &str,
    head: impl FnOnce(&mut W::Message<'_, Outer>),
) -> Result<usize, TooDeep> {
    let start = buf.len();
    W::fragment(buf, head);
    let split = buf.len() - start;
    W::fragment::<Outer>(buf, |parent| parent.string(SCHEMA_URL, schema_url));
    if buf.take_too_deep() { Err(TooDeep) } else { Ok(split) }
}
