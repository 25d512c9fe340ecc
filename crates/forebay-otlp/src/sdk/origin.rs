//! The origin of the items of an SDK: its resource, and their scopes.

use super::values::attributes;
use crate::{
    group::Interner,
    json::Json,
    origin::{AsResource, AsScope},
    protobuf::Protobuf,
    protocol::BodyEncoding,
    section::{Section, put_resource, put_scope},
    value::AttributesWriter,
    wire::{Buf, TooDeep},
};
use bytes::BytesMut;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A resource of the SDK.
struct ResourceOf<'a>(&'a Resource);

/// A scope of the SDK. The target of a log record replaces its name.
pub(super) struct ScopeOf<'a> {
    pub(super) scope: &'a InstrumentationScope,
    pub(super) target: Option<&'a str>,
}

/// The resource, encoded. The provider sets it after its processors are built.
#[derive(Clone, Debug)]
pub(super) struct LateResource {
    encoding: BodyEncoding,
    section: Arc<Mutex<Option<Section>>>,
}

/// The scopes of the items so far, encoded. An item has the index of its own.
#[derive(Debug)]
pub(super) struct Scopes {
    encoding: BodyEncoding,
    /// Distinguishes these scopes from those of any other processor of the program.
    serial: u64,
    known: Mutex<Interner>,
}

/// The scope of one item.
#[derive(Clone, Debug)]
pub(super) enum ScopeId {
    /// One of [`Scopes`].
    Known(u32),
    /// The scope itself, because too many are known already.
    Own(Arc<Section>),
    /// The scope cannot be encoded: its attributes are nested too deep.
    None,
}

/// CORRECTNESS: no user code runs under these locks, so a poisoned one guards a whole value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl ResourceOf ===

impl AsResource for ResourceOf<'_> {
    fn attributes<W: AttributesWriter>(&self, w: &mut W) {
        self.0.iter().for_each(|(key, value)| w.attribute(key.as_str(), super::values::Attribute(value)));
    }

    fn schema_url(&self) -> &str {
        self.0.schema_url().unwrap_or_default()
    }
}

// === impl ScopeOf ===

impl AsScope for ScopeOf<'_> {
    fn name(&self) -> &str {
        self.target.unwrap_or_else(|| self.scope.name())
    }

    fn version(&self) -> &str {
        self.scope.version().unwrap_or_default()
    }

    fn attributes<W: AttributesWriter>(&self, w: &mut W) {
        attributes(self.scope.attributes(), w);
    }

    fn schema_url(&self) -> &str {
        self.scope.schema_url().unwrap_or_default()
    }
}

// === impl LateResource ===

impl LateResource {
    pub(super) fn new(encoding: BodyEncoding) -> Self {
        Self { encoding, section: Arc::default() }
    }

    /// Encodes the resource. Attributes of the SDK nest one deep, so none is too deep.
    pub(super) fn set(&self, resource: &Resource) {
        let mut buf = Buf::new(BytesMut::new());
        let put = match self.encoding {
            BodyEncoding::Protobuf => put_resource::<Protobuf>(&mut buf, &ResourceOf(resource)),
            BodyEncoding::Json => put_resource::<Json>(&mut buf, &ResourceOf(resource)),
        };
        *lock(&self.section) = put.ok().map(|split| Section::new(&buf.into_inner(), split));
    }

    pub(super) fn get(&self) -> Option<Section> {
        lock(&self.section).clone()
    }
}

// === impl ScopeId ===

impl ScopeId {
    /// Whether both are the same scope, judged by their indices.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(one), Self::Known(other)) => one == other,
            (Self::Own(one), Self::Own(other)) => one.bytes() == other.bytes(),
            (Self::None, Self::None) => true,
            _ => false,
        }
    }
}

// === impl Scopes ===

impl Scopes {
    /// The greatest number of known scopes. Targets are usually the modules of a program; a program that invents targets at run
    /// time spends time on each, and no memory.
    const MOST: usize = 4096;

    pub(super) fn new(encoding: BodyEncoding) -> Self {
        static SERIALS: AtomicU64 = AtomicU64::new(0);
        Self { encoding, serial: SERIALS.fetch_add(1, Relaxed), known: Mutex::default() }
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn encoding(&self) -> BodyEncoding {
        self.encoding
    }

    /// The index of this scope, which is encoded to find it. A [`RecordWriter`](super::record_writer::RecordWriter) remembers the
    /// indices that are used often.
    #[cold]
    pub(super) fn id_of(&self, scope: &ScopeOf<'_>) -> ScopeId {
        let mut buf = Buf::new(BytesMut::new());
        let put = match self.encoding {
            BodyEncoding::Protobuf => put_scope::<Protobuf>(&mut buf, scope),
            BodyEncoding::Json => put_scope::<Json>(&mut buf, scope),
        };
        let Ok(split) = put.map_err(|TooDeep| ()) else { return ScopeId::None };
        let bytes = buf.into_inner();
        match lock(&self.known).intern_up_to(Self::MOST, &bytes, split).map(u32::try_from) {
            Some(Ok(id)) => ScopeId::Known(id),
            _ => ScopeId::Own(Arc::new(Section::new(&bytes, split))),
        }
    }

    pub(super) fn section(&self, id: &ScopeId) -> Option<Section> {
        match id {
            ScopeId::Known(id) => lock(&self.known).get(usize::try_from(*id).ok()).cloned(),
            ScopeId::Own(section) => Some(Section::clone(section)),
            ScopeId::None => None,
        }
    }
}
