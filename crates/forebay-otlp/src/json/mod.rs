//! OTLP/JSON: the JSON mapping of protobuf with hex ids and numbers for enums, written by hand.
//!
//! Every member of an object and every element of an array begins with a comma; the close of the object or array replaces
//! the first comma by the opening bracket.

mod lists;
mod message;
mod number;
mod text;
mod value;

pub(crate) use self::message::Json;

use crate::wire::Buf;

/// Closes an object or array whose first comma is, or would be, at `start`.
#[inline(always)]
fn close(buf: &mut Buf, start: usize, brackets: [u8; 2]) {
    let [open, close] = brackets;
    match buf.tail(start).first_mut() {
        Some(comma) => *comma = open,
        None => buf.put(&[open]),
    }
    buf.put(&[close]);
}
