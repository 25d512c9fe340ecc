//! OTLP/JSON: the JSON mapping of protobuf with hex ids and numbers for enums, written by hand.
//!
//! Every member of an object and every element of an array begins with its comma; closing the object or array puts
//! its bracket in the place of the first one.

mod lists;
mod message;
mod number;
mod text;
mod value;

pub(crate) use self::message::Json;

use crate::wire::Buf;

/// Ends an object or array whose first comma is, or would be, at `start`.
#[inline(always)]
fn close(buf: &mut Buf, start: usize, brackets: [u8; 2]) {
    let [open, close] = brackets;
    match buf.tail(start).first_mut() {
        Some(comma) => *comma = open,
        None => buf.put(&[open]),
    }
    buf.put(&[close]);
}
