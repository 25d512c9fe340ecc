use super::proto::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::LogRecord,
    resource::v1::Resource,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value as Json};
use std::{borrow::Cow, sync::Arc};

/// One log record that was taken in, without what most tests never look at.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Log {
    /// The body as text: a string as it is, bytes as UTF-8 with replacement characters, anything else as JSON.
    pub body: String,
    /// From 1 (trace) to 24 (fatal); 0 is unspecified.
    pub severity_number: i32,
    /// The severity in the words of its source.
    pub severity_text: String,
    /// When it happened, in nanoseconds since 1970; 0 is unknown.
    pub time_unix_nano: u64,
    /// When it was seen, in nanoseconds since 1970.
    pub observed_time_unix_nano: u64,
    /// The attributes of the record.
    pub attributes: Vec<KeyValue>,
    /// What produced it, shared by its neighbours.
    pub resource: Arc<Resource>,
    /// Which part of the program produced it, shared by its neighbours.
    pub scope: Arc<InstrumentationScope>,
}

/// The body of a log record.
pub(super) struct Body<'a>(Option<&'a Value>);

// === impl Log ===

impl Log {
    pub(super) fn new(record: &LogRecord, resource: &Arc<Resource>, scope: &Arc<InstrumentationScope>) -> Self {
        Self {
            body: String::from_utf8_lossy(&Body::of(record).bytes()).into_owned(),
            severity_number: record.severity_number,
            severity_text: record.severity_text.clone(),
            time_unix_nano: record.time_unix_nano,
            observed_time_unix_nano: record.observed_time_unix_nano,
            attributes: record.attributes.clone(),
            resource: Arc::clone(resource),
            scope: Arc::clone(scope),
        }
    }

    /// An attribute of the record as text, in the form of [`body`](Self::body).
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<String> {
        text_of(&self.attributes, key)
    }

    /// An attribute of the resource as text, in the form of [`body`](Self::body).
    #[must_use]
    pub fn resource_attribute(&self, key: &str) -> Option<String> {
        text_of(&self.resource.attributes, key)
    }
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    let value = Body(attribute.value.as_ref().and_then(|value| value.value.as_ref()));
    Some(String::from_utf8_lossy(&value.bytes()).into_owned())
}

// === impl Body ===

impl<'a> Body<'a> {
    pub(super) fn of(record: &'a LogRecord) -> Self {
        Self(record.body.as_ref().and_then(|body| body.value.as_ref()))
    }

    /// What a body is counted by.
    pub(super) fn bytes(&self) -> Cow<'a, [u8]> {
        match self.0 {
            Some(Value::StringValue(text)) => Cow::Borrowed(text.as_bytes()),
            Some(Value::BytesValue(bytes)) => Cow::Borrowed(bytes),
            Some(value) => Cow::Owned(json(value).to_string().into_bytes()),
            None => Cow::Borrowed(&[]),
        }
    }
}

fn json(value: &Value) -> Json {
    let inner = |value: &AnyValue| value.value.as_ref().map_or(Json::Null, json);
    match value {
        Value::StringValue(text) => text.as_str().into(),
        Value::BoolValue(truth) => (*truth).into(),
        Value::IntValue(number) => (*number).into(),
        // JSON has no word for what is not finite.
        Value::DoubleValue(number) if !number.is_finite() => number.to_string().into(),
        Value::DoubleValue(number) => (*number).into(),
        Value::ArrayValue(array) => array.values.iter().map(inner).collect(),
        Value::KvlistValue(list) => {
            let entry = |pair: &KeyValue| (pair.key.clone(), pair.value.as_ref().map_or(Json::Null, inner));
            Json::Object(list.values.iter().map(entry).collect::<Map<_, _>>())
        }
        Value::BytesValue(bytes) => STANDARD.encode(bytes).into(),
        // A place in a table of strings, which only the profiles signal has.
        Value::StringValueStrindex(index) => (*index).into(),
    }
}
