//! The protobuf wire format, written by hand: canonical, in one pass.
//!
//! The length of a message precedes it, and is not known before it is written. Where it cannot be computed at once, room
//! for a guess is left, and the message is moved if the guess was wrong, so that a length always takes as few bytes as
//! possible. A separate pass that computes all lengths was measured to be slower, and would rely on items that write the
//! same twice.

mod length;
mod message;
mod put;
mod value;

pub(crate) use self::{message::Protobuf, put::varint_len};

/// How the payload of a field is laid out.
#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    I64 = 1,
    Len = 2,
    I32 = 5,
}
