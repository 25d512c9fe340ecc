use crate::{
    Environment, MAX_DEPTH,
    encoder::Encoder,
    json::Json,
    origin::{Resource, Scope},
    protobuf::Protobuf,
    protocol::Protocol,
    section::{Section, put_resource, put_scope},
    signal::SignalKind,
    size::SizeHint,
    wire::{Buf, TooDeep, Wire},
};
use bytes::BytesMut;
use forebay_core::ConfigError;
use std::marker::PhantomData;

/// Builds an [`Encoder`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`protocol`](Self::protocol), [`environment`](Self::environment) | `http/protobuf` | |
/// | [`resource`](Self::resource) | none: the server does not learn which entity sent the items | |
/// | [`scope`](Self::scope) | none: unknown | |
/// | [`max_request_bytes`](Self::max_request_bytes) | 64 MiB | more than the resource and the scope take |
/// | [`observe`](Self::observe) | `()`: responses are only settled | |
#[derive(Clone, Debug)]
#[must_use]
pub struct EncoderBuilder<S, O = ()> {
    protocol: Protocol,
    resource: Option<Resource>,
    scope: Option<Scope>,
    max_request_bytes: usize,
    observer: O,
    signal: PhantomData<fn() -> S>,
}

// === impl EncoderBuilder ===

impl<S: SignalKind> EncoderBuilder<S> {
    /// The greatest body that a client should send, in bytes, before compression as well as after: 64 MiB.
    ///
    /// From the OTLP specification, `docs/specification.md` of opentelemetry-proto.
    pub const MAX_REQUEST_BYTES: usize = 64 << 20;

    pub(crate) fn new() -> Self {
        Self {
            protocol: Protocol::default(),
            resource: None,
            scope: None,
            max_request_bytes: Self::MAX_REQUEST_BYTES,
            observer: (),
            signal: PhantomData,
        }
    }
}

impl<S: SignalKind, O> EncoderBuilder<S, O> {
    /// Sets how requests are encoded.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets the [`protocol`](Self::protocol) to that of the `OTEL_EXPORTER_OTLP_*` variables of the process, for the signal of the
    /// encoder; without one it is `http/protobuf`. An [`ExporterBuilder`](forebay_export::ExporterBuilder) takes the other
    /// variables: see [`ExporterBuilderExt`](crate::ExporterBuilderExt).
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the endpoint is no valid URL for the protocol; the error names its variable.
    pub fn environment(self) -> Result<Self, ConfigError> {
        Ok(self.read(&Environment::read(S::SIGNAL)?))
    }

    /// Sets the protocol to that of the variables that `lookup` returns, like [`environment`](Self::environment).
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the endpoint is no valid URL for the protocol; the error names its variable.
    pub fn environment_of(self, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Ok(self.read(&Environment::of(S::SIGNAL, lookup)?))
    }

    fn read(self, environment: &Environment) -> Self {
        self.protocol(environment.protocol.unwrap_or_default())
    }

    /// Sets the entity that sends the items, unless an item names its own.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Sets the part of the program that the items come from, unless an item names its own.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Sets the greatest body of a request, in bytes, before compression.
    ///
    /// A batch that does not fit is a [`BodyTooLarge`](forebay_export::BodyTooLarge) error, so that it can be split.
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// Sets the observer of what servers report in their responses: a closure `Fn(&OtlpEvent)`, or any
    /// [`Observe<OtlpEvent>`](forebay_core::Observe).
    pub fn observe<P>(self, observer: P) -> EncoderBuilder<S, P> {
        let Self { protocol, resource, scope, max_request_bytes, observer: _, signal } = self;
        EncoderBuilder { protocol, resource, scope, max_request_bytes, observer, signal }
    }

    /// Encodes the resource and the scope once for all batches.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the resource or the scope has a value that is nested deeper than [`MAX_DEPTH`], or when
    /// they alone do not fit the greatest body.
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
        if self.max_request_bytes <= fixed {
            let allowed = format!("more than the {fixed} bytes of the resource and the scope");
            return Err(ConfigError::new("max_request_bytes", self.max_request_bytes, allowed));
        }
        Ok(Encoder {
            protocol: self.protocol,
            resource,
            scope,
            max_request_bytes: self.max_request_bytes,
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
