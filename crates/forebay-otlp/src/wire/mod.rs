//! The common base of the two encodings: messages of numbered and named fields.
//!
//! The schema of OTLP is written once, in `logs/`, `traces/` and `metrics/`, in terms of [`Message`]; `protobuf/` and
//! `json/` write fields, and know nothing of OTLP.

mod buf;
mod field;
mod message;

pub(crate) use self::{
    buf::Buf,
    field::{Field, fields},
    message::{Attributed, Message, Outer, TooDeep, Wire, setters},
};
