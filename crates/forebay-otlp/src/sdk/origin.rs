//! Where the items of an SDK come from: its resource, and their scopes.

use super::values::attributes;
use crate::{
    group::Interner,
    json::Json,
    origin::{AsResource, AsScope},
    protobuf::Protobuf,
    protocol::Encoding,
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
struct Of<'a>(&'a Resource);

/// A scope of the SDK; what logs name as their target takes the place of its name.
pub(super) struct ScopeOf<'a> {
    pub(super) scope: &'a InstrumentationScope,
    pub(super) target: Option<&'a str>,
}

/// The resource that the provider tells once its processors stand, ready encoded.
#[derive(Clone, Debug)]
pub(super) struct Resourced {
    encoding: Encoding,
    section: Arc<Mutex<Option<Section>>>,
}

/// The scopes that items have come from so far, ready encoded; an item carries the number of its own.
#[derive(Debug)]
pub(super) struct Scopes {
    encoding: Encoding,
    /// Tells these scopes from those of any other processor of the program.
    serial: u64,
    known: Mutex<Interner>,
}

/// The scope of one item.
#[derive(Clone, Debug)]
pub(super) enum ScopeId {
    /// One of [`Scopes`].
    Known(u32),
    /// Too many are known already, so it carries its own.
    Own(Arc<Section>),
    /// It cannot be encoded: its attributes are nested too deep.
    None,
}

/// No code of a user runs under these locks, so what they guard is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Of ===

impl AsResource for Of<'_> {
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

// === impl Resourced ===

impl Resourced {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self { encoding, section: Arc::default() }
    }

    /// Attributes of the SDK nest one deep, so nothing in them is too deep.
    pub(super) fn set(&self, resource: &Resource) {
        let mut buf = Buf::new(BytesMut::new());
        let put = match self.encoding {
            Encoding::Protobuf => put_resource::<Protobuf>(&mut buf, &Of(resource)),
            Encoding::Json => put_resource::<Json>(&mut buf, &Of(resource)),
        };
        *lock(&self.section) = put.ok().map(|split| Section::new(&buf.into_inner(), split));
    }

    pub(super) fn get(&self) -> Option<Section> {
        lock(&self.section).clone()
    }
}

// === impl ScopeId ===

impl ScopeId {
    /// Whether both are the same scope, as far as their numbers tell.
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
    /// Targets are the modules of a program as a rule. Whoever makes them up as it goes pays for it, and not with memory.
    const MOST: usize = 4096;

    pub(super) fn new(encoding: Encoding) -> Self {
        static SERIALS: AtomicU64 = AtomicU64::new(0);
        Self { encoding, serial: SERIALS.fetch_add(1, Relaxed), known: Mutex::default() }
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The number of this scope, which is encoded for it; [`Pen`](super::pen::Pen) remembers those that are asked for often.
    #[cold]
    pub(super) fn id_of(&self, scope: &ScopeOf<'_>) -> ScopeId {
        let mut buf = Buf::new(BytesMut::new());
        let put = match self.encoding {
            Encoding::Protobuf => put_scope::<Protobuf>(&mut buf, scope),
            Encoding::Json => put_scope::<Json>(&mut buf, scope),
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
