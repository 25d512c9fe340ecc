use forebay_otlp::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::common::v1 as proto;
use proptest::{collection::vec, prelude::*};
use std::borrow::Cow;

/// Which doubles to make: JSON has no numbers for some, and its test support does not read their strings.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doubles {
    All,
    Finite,
}

pub(crate) fn double(doubles: Doubles) -> BoxedStrategy<f64> {
    use proptest::num::f64::{ANY, NORMAL, SUBNORMAL, ZERO};
    match doubles {
        Doubles::All => prop_oneof![6 => ANY, 1 => Just(0.0), 1 => Just(f64::MIN)].boxed(),
        Doubles::Finite => prop_oneof![6 => NORMAL | SUBNORMAL | ZERO, 1 => Just(f64::MAX)].boxed(),
    }
}

/// For fields that are left out if they are zero: `prost` leaves out -0.0 as well, which protobuf says is not zero.
pub(crate) fn double_but_negative_zero(doubles: Doubles) -> impl Strategy<Value = f64> {
    double(doubles).prop_map(|double| if double == 0.0 { 0.0 } else { double })
}

/// Mostly short, often nasty, and sometimes so long that a length takes one more byte.
pub(crate) fn text() -> BoxedStrategy<Cow<'static, str>> {
    prop_oneof![
        24 => "[a-z.]{0,12}".prop_map(Cow::Owned),
        12 => any::<String>().prop_map(Cow::Owned),
        6 => prop::sample::select(vec![
            "\0", "\"\\/\u{8}\u{c}\n\r\t", "\u{1f}\u{7f}\u{80}\u{2028}\u{feff}", "😀\u{10ffff}", "</script>", "{\"a\":1}"
        ]).prop_map(Cow::Borrowed),
        3 => (100_usize..150).prop_map(|len| Cow::Owned("x".repeat(len))),
        1 => (16_350_usize..16_400).prop_map(|len| Cow::Owned("\u{e9}".repeat(len / 2))),
    ]
    .boxed()
}

pub(crate) fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![4 => any::<i64>(), 4 => -200_i64..200, 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
}

pub(crate) fn unsigned() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 4 => any::<u64>(), 2 => 0_u64..300, 1 => Just(u64::MAX)]
}

pub(crate) fn small() -> impl Strategy<Value = u32> {
    prop_oneof![2 => Just(0), 2 => any::<u32>(), 2 => 0_u32..300, 1 => Just(u32::MAX)]
}

pub(crate) fn id<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    prop_oneof![1 => Just([0; N]), 3 => any::<[u8; N]>()]
}

pub(crate) fn value(doubles: Doubles) -> BoxedStrategy<AnyValue> {
    let leaf = prop_oneof![
        1 => Just(AnyValue::Empty),
        4 => text().prop_map(AnyValue::String),
        1 => any::<bool>().prop_map(AnyValue::Bool),
        3 => integer().prop_map(AnyValue::Int),
        3 => double(doubles).prop_map(AnyValue::Double),
        2 => vec(any::<u8>(), 0..40).prop_map(AnyValue::from),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(AnyValue::Array),
            vec((text(), inner), 0..4)
                .prop_map(|pairs| AnyValue::KvList(pairs.into_iter().map(|(k, v)| KeyValue::new(k, v)).collect())),
        ]
    })
    .boxed()
}

pub(crate) fn attributes(doubles: Doubles) -> impl Strategy<Value = Vec<KeyValue>> {
    vec((text(), value(doubles)).prop_map(|(key, value)| KeyValue::new(key, value)), 0..5)
}

pub(crate) fn proto_value(value: &AnyValue) -> proto::AnyValue {
    use proto::any_value::Value;
    let value = match value {
        AnyValue::Empty => None,
        AnyValue::String(text) => Some(Value::StringValue(text.to_string())),
        AnyValue::Bool(value) => Some(Value::BoolValue(*value)),
        AnyValue::Int(value) => Some(Value::IntValue(*value)),
        AnyValue::Double(value) => Some(Value::DoubleValue(*value)),
        AnyValue::Bytes(bytes) => Some(Value::BytesValue(bytes.to_vec())),
        AnyValue::Array(values) => {
            Some(Value::ArrayValue(proto::ArrayValue { values: values.iter().map(proto_value).collect() }))
        }
        AnyValue::KvList(pairs) => Some(Value::KvlistValue(proto::KeyValueList { values: proto_attributes(pairs) })),
    };
    proto::AnyValue { value }
}

pub(crate) fn proto_attributes(attributes: &[KeyValue]) -> Vec<proto::KeyValue> {
    attributes
        .iter()
        .map(|kv| proto::KeyValue { key: kv.key.to_string(), value: Some(proto_value(&kv.value)), key_strindex: 0 })
        .collect()
}

/// An id of zeros is none.
pub(crate) fn proto_id(id: &[u8]) -> Vec<u8> {
    if id.iter().all(|byte| *byte == 0) { Vec::new() } else { id.to_vec() }
}
