use crate::{
    MAX_DEPTH,
    encoder::Encoder,
    json::Json,
    origin::{Resource, Scope},
    protobuf::Protobuf,
    protocol::Protocol,
    section::{Section, put_resource, put_scope},
    signal::Kind,
    size::SizeHint,
    wire::{Buf, TooDeep, Wire},
};
use bytes::BytesMut;
use forebay_core::ConfigError;
use std::{marker::PhantomData, num::NonZeroUsize};

/// Makes an [`Encoder`].
///
/// | knob | default |
/// | --- | --- |
/// | [`protocol`](Self::protocol) | `http/protobuf` |
/// | [`resource`](Self::resource) | none: the server does not learn who sent the items |
/// | [`scope`](Self::scope) | none: unknown |
/// | [`max_body`](Self::max_body) | 64 MiB |
/// | [`observe`](Self::observe) | `()`: what servers say is only settled |
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder<S, O = ()> {
    protocol: Protocol,
    resource: Option<Resource>,
    scope: Option<Scope>,
    max_body: NonZeroUsize,
    observer: O,
    signal: PhantomData<fn() -> S>,
}

// === impl Builder ===

impl<S: Kind> Builder<S> {
    /// The greatest body that a client should send, in bytes, before compression as well as after: 64 MiB.
    ///
    /// From the OTLP specification, `docs/specification.md` of opentelemetry-proto.
    pub const MAX_BODY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(64 * 1024 * 1024 - 1);

    pub(crate) fn new() -> Self {
        Self {
            protocol: Protocol::default(),
            resource: None,
            scope: None,
            max_body: Self::MAX_BODY,
            observer: (),
            signal: PhantomData,
        }
    }
}

impl<S: Kind, O> Builder<S, O> {
    /// How requests are encoded.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Who sends the items, unless an item says otherwise.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Which part of the program the items come from, unless an item says otherwise.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// The greatest body to write, in bytes, before compression.
    ///
    /// A batch that does not fit is an error, [`BodyTooLarge`](forebay_export::BodyTooLarge), so that it can be split.
    pub fn max_body(mut self, bytes: NonZeroUsize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sees what servers say in their answers: a closure `Fn(&Notice)`, or any
    /// [`Observe<Notice>`](forebay_core::Observe).
    pub fn observe<P>(self, observer: P) -> Builder<S, P> {
        let Self { protocol, resource, scope, max_body, observer: _, signal } = self;
        Builder { protocol, resource, scope, max_body, observer, signal }
    }

    /// Encodes the resource and the scope once for all batches.
    ///
    /// # Errors
    ///
    /// When the resource or the scope has a value that is nested deeper than [`MAX_DEPTH`], or when they alone do not
    /// fit the greatest body.
    pub fn build(self) -> Result<Encoder<S, O>, ConfigError> {
        match self.protocol {
            Protocol::HttpProtobuf | Protocol::Grpc => self.build_for::<Protobuf>(),
            Protocol::HttpJson => self.build_for::<Json>(),
        }
    }

    fn build_for<W: Wire>(self) -> Result<Encoder<S, O>, ConfigError> {
        let resource =
            self.resource.as_ref().map(|resource| section("resource", |buf| put_resource::<W>(buf, resource)));
        let scope = self.scope.as_ref().map(|scope| section("scope", |buf| put_scope::<W>(buf, scope)));
        let (resource, scope) = (resource.transpose()?, scope.transpose()?);
        let fixed = [&resource, &scope].into_iter().flatten().map(|section| section.bytes().len()).sum::<usize>();
        if self.max_body.get() <= fixed {
            let allowed = format!("more than the {fixed} bytes of the resource and the scope");
            return Err(ConfigError::new("max_body", self.max_body, allowed));
        }
        Ok(Encoder {
            protocol: self.protocol,
            resource,
            scope,
            max_body: self.max_body.get(),
            observer: self.observer,
            size: SizeHint::default(),
            signal: PhantomData,
        })
    }
}

fn section(knob: &'static str, put: impl FnOnce(&mut Buf) -> Result<usize, TooDeep>) -> Result<Section, ConfigError> {
    let mut buf = Buf::new(BytesMut::new());
    match put(&mut buf) {
        Ok(split) => Ok(Section::new(&buf.into_inner(), split)),
        Err(TooDeep) => {
            let allowed = format!("values nested up to {MAX_DEPTH} deep");
            Err(ConfigError::new(knob, "nested too deep", allowed))
        }
    }
}
