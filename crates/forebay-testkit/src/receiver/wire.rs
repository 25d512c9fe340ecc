//! The wire format of protobuf, as far as a JSON value needs it.

use super::schema::{Field, Kind};
use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// A JSON value that is neither list nor object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number<'a> {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
}

const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const LENGTH: u32 = 2;
const FOUR_BYTES: u32 = 5;

/// Writes a message that `write` fills.
pub(super) fn nested<E>(
    field: &Field,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    tag(field, LENGTH, out);
    let start = out.len();
    write(out)?;
    // The length is known now, and belongs in front.
    let end = out.len();
    varint((end - start) as u64, out);
    let prefix = out.len() - end;
    out[start..].rotate_right(prefix);
    Ok(())
}

/// Writes `value` if it is one that `field` can hold.
pub(super) fn scalar(field: &Field, value: Number<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let wrong = || format!("{value:?} is not {}", field.kind);
    match field.kind {
        Kind::Message(_) => return Err(wrong()),
        Kind::String => length(field, text(value).ok_or_else(wrong)?.as_bytes(), out),
        Kind::Bytes => length(field, &base64(text(value).ok_or_else(wrong)?).ok_or_else(wrong)?, out),
        Kind::Id => length(field, &hex(text(value).ok_or_else(wrong)?).ok_or_else(wrong)?, out),
        Kind::Bool => match value {
            Number::Bool(truth) => plain(field, truth.into(), out),
            Number::Integer(_) | Number::Float(_) | Number::Text(_) => return Err(wrong()),
        },
        Kind::Double => fixed(field, EIGHT_BYTES, &double(value).ok_or_else(wrong)?.to_le_bytes(), out),
        #[expect(clippy::cast_possible_truncation, reason = "as the ProtoJSON mapping rounds it")]
        Kind::Float => fixed(field, FOUR_BYTES, &(double(value).ok_or_else(wrong)? as f32).to_le_bytes(), out),
        // OTLP allows the number only; a name is text, and no integer.
        Kind::Enum => match value {
            Number::Text(_) => return Err(wrong()),
            Number::Bool(_) | Number::Integer(_) | Number::Float(_) => {
                plain(field, i64::from(integer::<i32>(value).ok_or_else(wrong)?).cast_unsigned(), out);
            }
        },
        Kind::Int32 => plain(field, i64::from(integer::<i32>(value).ok_or_else(wrong)?).cast_unsigned(), out),
        Kind::Int64 => plain(field, integer::<i64>(value).ok_or_else(wrong)?.cast_unsigned(), out),
        Kind::Uint32 => plain(field, integer::<u32>(value).ok_or_else(wrong)?.into(), out),
        Kind::Uint64 => plain(field, integer(value).ok_or_else(wrong)?, out),
        Kind::Sint32 => plain(field, zigzag(integer::<i32>(value).ok_or_else(wrong)?.into()), out),
        Kind::Sint64 => plain(field, zigzag(integer(value).ok_or_else(wrong)?), out),
        Kind::Fixed32 => fixed(field, FOUR_BYTES, &integer::<u32>(value).ok_or_else(wrong)?.to_le_bytes(), out),
        Kind::Fixed64 => fixed(field, EIGHT_BYTES, &integer::<u64>(value).ok_or_else(wrong)?.to_le_bytes(), out),
        Kind::Sfixed32 => fixed(field, FOUR_BYTES, &integer::<i32>(value).ok_or_else(wrong)?.to_le_bytes(), out),
        Kind::Sfixed64 => fixed(field, EIGHT_BYTES, &integer::<i64>(value).ok_or_else(wrong)?.to_le_bytes(), out),
    }
    Ok(())
}

fn tag(field: &Field, wire_type: u32, out: &mut Vec<u8>) {
    varint(u64::from(field.number << 3 | wire_type), out);
}

fn plain(field: &Field, value: u64, out: &mut Vec<u8>) {
    tag(field, VARINT, out);
    varint(value, out);
}

fn fixed(field: &Field, wire_type: u32, bytes: &[u8], out: &mut Vec<u8>) {
    tag(field, wire_type, out);
    out.extend_from_slice(bytes);
}

fn length(field: &Field, bytes: &[u8], out: &mut Vec<u8>) {
    tag(field, LENGTH, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7F;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn text(value: Number<'_>) -> Option<&str> {
    if let Number::Text(text) = value { Some(text) } else { None }
}

/// An integer may be a number, a number with an empty fraction, or either of these as text.
fn integer<T: TryFrom<i128>>(value: Number<'_>) -> Option<T> {
    let whole = match value {
        Number::Integer(integer) => integer,
        Number::Float(float) => whole(float)?,
        Number::Text(text) => match text.parse() {
            Ok(integer) => integer,
            Err(_not_plain) => whole(text.parse().ok()?)?,
        },
        Number::Bool(_) => return None,
    };
    T::try_from(whole).ok()
}

#[expect(clippy::cast_possible_truncation, reason = "checked: whole, and far inside an i128")]
fn whole(float: f64) -> Option<i128> {
    (float.fract() == 0.0 && float.abs() < 1e30).then_some(float as i128)
}

fn double(value: Number<'_>) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "a double is what the field holds")]
        Number::Integer(integer) => Some(integer as f64),
        Number::Float(float) => Some(float),
        Number::Text("NaN") => Some(f64::NAN),
        Number::Text("Infinity") => Some(f64::INFINITY),
        Number::Text("-Infinity") => Some(f64::NEG_INFINITY),
        // Rust also reads `inf` and `nan`, which the mapping does not know.
        Number::Text(text) => text.parse().ok().filter(|float: &f64| float.is_finite()),
        Number::Bool(_) => None,
    }
}

/// Either alphabet, with padding or without, as the mapping allows.
fn base64(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, CONFIG).decode(text).ok()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    if odd.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
