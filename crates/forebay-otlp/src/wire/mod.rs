//! What the two encodings have in common: messages made of numbered and named fields.
//!
//! The schema of OTLP stands once, in `logs/`, `traces/` and `metrics/`, in terms of [`Message`]; `protobuf/` and
//! `json/` know how a field is written, and nothing of OTLP.

mod buf;
mod field;
mod message;

pub(crate) use self::{
    buf::Buf,
    field::{Field, fields},
    message::{Attributed, Message, Outer, TooDeep, Wire, setters},
};
