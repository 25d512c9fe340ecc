use crate::value::{AnyValue, AttributesWriter, KeyValue};
use std::borrow::Cow;

/// A description of the entity that produced telemetry: a service, a process, a host.
pub trait AsResource {
    /// Writes its attributes to `w`.
    fn attributes<W: AttributesWriter>(&self, w: &mut W);

    /// The number of attributes that a limit dropped.
    fn dropped_attributes_count(&self) -> u32 {
        0
    }

    /// The schema of its attributes; empty if unknown.
    fn schema_url(&self) -> &str {
        ""
    }
}

/// A description of the part of a program that produced telemetry: a library, a module.
pub trait AsScope {
    /// Its name; empty if unknown.
    fn name(&self) -> &str;

    /// Its version; empty if unknown.
    fn version(&self) -> &str {
        ""
    }

    /// Writes its attributes to `w`.
    fn attributes<W: AttributesWriter>(&self, w: &mut W) {
        let _none = w;
    }

    /// The number of attributes that a limit dropped.
    fn dropped_attributes_count(&self) -> u32 {
        0
    }

    /// The schema of its telemetry; empty if unknown.
    fn schema_url(&self) -> &str {
        ""
    }
}

/// The entity that produces telemetry, owned.
///
/// ```
/// let resource = forebay_otlp::Resource::new()
///     .attribute("service.name", "shop")
///     .attribute("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09");
/// assert_eq!(resource.attributes.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Resource {
    /// The attributes of the entity; `service.name` should be among them.
    pub attributes: Vec<KeyValue>,
    /// The number of attributes that a limit dropped.
    pub dropped_attributes_count: u32,
    /// The schema of its attributes; empty if unknown.
    pub schema_url: Cow<'static, str>,
}

/// The part of a program that produces telemetry, owned.
///
/// ```
/// let scope = forebay_otlp::Scope::new("shop::checkout").version("1.4.2");
/// assert_eq!(scope.name, "shop::checkout");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Scope {
    /// Its name; empty if unknown.
    pub name: Cow<'static, str>,
    /// Its version; empty if unknown.
    pub version: Cow<'static, str>,
    /// The attributes that distinguish it from others of its name.
    pub attributes: Vec<KeyValue>,
    /// The number of attributes that a limit dropped.
    pub dropped_attributes_count: u32,
    /// The schema of its telemetry; empty if unknown.
    pub schema_url: Cow<'static, str>,
}

// === impl Resource ===

impl Resource {
    /// A resource without attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Sets the schema of its attributes; none by default.
    #[must_use]
    pub fn schema_url(mut self, url: impl Into<Cow<'static, str>>) -> Self {
        self.schema_url = url.into();
        self
    }
}

impl AsResource for Resource {
    fn attributes<W: AttributesWriter>(&self, w: &mut W) {
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
    }

    fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }

    fn schema_url(&self) -> &str {
        &self.schema_url
    }
}

impl<R: AsResource + ?Sized> AsResource for &R {
    fn attributes<W: AttributesWriter>(&self, w: &mut W) {
        (**self).attributes(w);
    }

    fn dropped_attributes_count(&self) -> u32 {
        (**self).dropped_attributes_count()
    }

    fn schema_url(&self) -> &str {
        (**self).schema_url()
    }
}

// === impl Scope ===

impl Scope {
    /// A scope with this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Sets its version; none by default.
    #[must_use]
    pub fn version(mut self, version: impl Into<Cow<'static, str>>) -> Self {
        self.version = version.into();
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Sets the schema of its telemetry; none by default.
    #[must_use]
    pub fn schema_url(mut self, url: impl Into<Cow<'static, str>>) -> Self {
        self.schema_url = url.into();
        self
    }
}

impl AsScope for Scope {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn attributes<W: AttributesWriter>(&self, w: &mut W) {
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
    }

    fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }

    fn schema_url(&self) -> &str {
        &self.schema_url
    }
}

impl<S: AsScope + ?Sized> AsScope for &S {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn version(&self) -> &str {
        (**self).version()
    }

    fn attributes<W: AttributesWriter>(&self, w: &mut W) {
        (**self).attributes(w);
    }

    fn dropped_attributes_count(&self) -> u32 {
        (**self).dropped_attributes_count()
    }

    fn schema_url(&self) -> &str {
        (**self).schema_url()
    }
}
