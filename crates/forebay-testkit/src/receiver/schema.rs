use opentelemetry_proto::DESCRIPTORS;
use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use std::{collections::HashMap, fmt, sync::LazyLock};

/// The messages of OTLP.
#[derive(Debug)]
pub(super) struct Schema {
    names: HashMap<String, usize>,
    messages: Vec<HashMap<String, Field>>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) json_name: String,
    /// The name in the `.proto` file.
    name: String,
    /// The names of an enum's values.
    pub(super) values: HashMap<String, i32>,
    pub(super) number: u32,
    pub(super) repeated: bool,
    pub(super) kind: Kind,
}

/// What a field holds, and so how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message(usize),
    String,
    /// Base64 in JSON.
    Bytes,
    /// Hexadecimal in JSON.
    Id,
    Bool,
    Double,
    Float,
    Enum,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
}

// === impl Schema ===

impl Schema {
    pub(super) fn of_otlp() -> &'static Self {
        static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
            let set = FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors of OTLP are protobuf");
            Schema::new(&set)
        });
        &SCHEMA
    }

    fn new(set: &FileDescriptorSet) -> Self {
        let (mut descriptors, mut enums) = (Vec::new(), HashMap::new());
        for file in &set.file {
            let package = format!(".{}", file.package());
            collect_enums(&package, &file.enum_type, &mut enums);
            file.message_type.iter().for_each(|message| collect(&package, message, &mut descriptors, &mut enums));
        }
        let names: HashMap<_, _> =
            descriptors.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
        let fields = |message: &DescriptorProto| {
            let field = |field| Field::new(field, &names, &enums).map(|field| (field.json_name.clone(), field));
            message.field.iter().filter_map(field).collect()
        };
        let messages = descriptors.iter().map(|(_, message)| fields(message)).collect();
        Self { names, messages }
    }

    pub(super) fn message(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn field(&self, message: usize, json_name: &str) -> Option<&Field> {
        self.messages.get(message)?.get(json_name)
    }

    /// The same by the name in the `.proto` file.
    pub(super) fn field_by_original_name(&self, message: usize, name: &str) -> Option<&Field> {
        self.messages.get(message)?.values().find(|field| field.name == name)
    }
}

/// Adds `message` and the messages that are declared inside it.
fn collect<'a>(
    scope: &str,
    message: &'a DescriptorProto,
    all: &mut Vec<(String, &'a DescriptorProto)>,
    enums: &mut HashMap<String, HashMap<String, i32>>,
) {
    let name = format!("{scope}.{}", message.name());
    collect_enums(&name, &message.enum_type, enums);
    message.nested_type.iter().for_each(|nested| collect(&name, nested, all, enums));
    all.push((name, message));
}

/// Adds the names of the values of `enums`.
fn collect_enums(scope: &str, enums: &[EnumDescriptorProto], all: &mut HashMap<String, HashMap<String, i32>>) {
    for of in enums {
        let values = of.value.iter().map(|value| (value.name().to_owned(), value.number())).collect();
        all.insert(format!("{scope}.{}", of.name()), values);
    }
}

// === impl Field ===

impl Field {
    /// `None` for what OTLP does not use: groups, and messages that are declared elsewhere.
    fn new(
        field: &FieldDescriptorProto,
        messages: &HashMap<String, usize>,
        enums: &HashMap<String, HashMap<String, i32>>,
    ) -> Option<Self> {
        let kind = match field.r#type() {
            Type::Message => Kind::Message(*messages.get(field.type_name())?),
            Type::Group => return None,
            Type::Bytes if matches!(field.name(), "trace_id" | "span_id" | "parent_span_id") => Kind::Id,
            Type::Bytes => Kind::Bytes,
            Type::String => Kind::String,
            Type::Bool => Kind::Bool,
            Type::Double => Kind::Double,
            Type::Float => Kind::Float,
            Type::Enum => Kind::Enum,
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::Sint32 => Kind::Sint32,
            Type::Sint64 => Kind::Sint64,
            Type::Fixed32 => Kind::Fixed32,
            Type::Fixed64 => Kind::Fixed64,
            Type::Sfixed32 => Kind::Sfixed32,
            Type::Sfixed64 => Kind::Sfixed64,
        };
        let number = u32::try_from(field.number()).ok()?;
        let repeated = field.label() == Label::Repeated;
        let values = enums.get(field.type_name()).cloned().unwrap_or_default();
        Some(Self {
            json_name: field.json_name().to_owned(),
            name: field.name().to_owned(),
            values,
            number,
            repeated,
            kind,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message(_) => "an object",
            Self::String => "a string",
            Self::Bytes => "base64 text",
            Self::Id => "hexadecimal text",
            Self::Bool => "true or false",
            Self::Double | Self::Float => "a number",
            Self::Enum => "the number of an enum value",
            Self::Int32 | Self::Sint32 | Self::Sfixed32 => "a signed 32-bit integer",
            Self::Uint32 | Self::Fixed32 => "an unsigned 32-bit integer",
            Self::Int64 | Self::Sint64 | Self::Sfixed64 => "a signed 64-bit integer",
            Self::Uint64 | Self::Fixed64 => "an unsigned 64-bit integer",
        })
    }
}
