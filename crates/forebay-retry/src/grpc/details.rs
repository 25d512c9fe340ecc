//! `google.rpc.RetryInfo`, read out of `grpc-status-details-bin` by hand: three nested messages do not need a protobuf
//! library. Nothing is allocated for the messages, and nothing here can panic or loop on any input.

use std::time::Duration;

/// The wait that a serialised [`google.rpc.Status`] asks for in its `RetryInfo`.
///
/// `None` where it has none, or cannot be read. A `RetryInfo` without a wait, or with a negative one, asks for none at
/// all, which is a wait of zero: it still says that a retry is sensible.
///
/// A tonic `Status` gives the bytes with `details()`.
///
/// [`google.rpc.Status`]: https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto
#[must_use]
pub fn retry_delay(status: &[u8]) -> Option<Duration> {
    // Status { repeated Any details = 3 }, Any { string type_url = 1; bytes value = 2 }
    let mut fields = Fields(status);
    while let Some(field) = fields.next_field()? {
        if let Field { number: 3, value: Value::Bytes(any) } = field
            && let Some(info) = retry_info(any)
        {
            return retry_info_delay(info);
        }
    }
    None
}

/// The bytes of a `-bin` header: base64, with or without padding.
pub(super) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    // Several values of one header may come joined; the first one counts.
    let text = text.split(|byte| *byte == b',').next()?.trim_ascii();
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        // Four digits are three bytes; a last group of three is two bytes, of two is one, of one is nothing.
        let missing = 4 - group.len();
        let [_, first, second, third] = (bits << (6 * missing)).to_be_bytes();
        let decoded = [first, second, third];
        bytes.extend(decoded.get(..3_usize.checked_sub(missing).filter(|length| *length > 0)?)?);
    }
    Some(bytes)
}

struct Fields<'a>(&'a [u8]);

struct Field<'a> {
    number: u64,
    value: Value<'a>,
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The value of an `Any`, if it is a `RetryInfo`.
fn retry_info(any: &[u8]) -> Option<&[u8]> {
    let (mut matches, mut value) = (false, &[][..]);
    let mut fields = Fields(any);
    while let Some(field) = fields.next_field()? {
        match field {
            Field { number: 1, value: Value::Bytes(url) } => matches = url.ends_with(b"/google.rpc.RetryInfo"),
            Field { number: 2, value: Value::Bytes(bytes) } => value = bytes,
            Field { .. } => {}
        }
    }
    matches.then_some(value)
}

/// RetryInfo { Duration retry_delay = 1 }, Duration { int64 seconds = 1; int32 nanos = 2 }
fn retry_info_delay(info: &[u8]) -> Option<Duration> {
    let (mut seconds, mut nanos) = (0_u64, 0_u64);
    let mut fields = Fields(info);
    while let Some(field) = fields.next_field()? {
        let Field { number: 1, value: Value::Bytes(duration) } = field else { continue };
        let mut fields = Fields(duration);
        while let Some(field) = fields.next_field()? {
            match field {
                Field { number: 1, value: Value::Varint(value) } => seconds = value,
                Field { number: 2, value: Value::Varint(value) } => nanos = value,
                Field { .. } => {}
            }
        }
    }
    // A negative number is one with the sign bit of an `int64`.
    let (Ok(_), Ok(_)) = (i64::try_from(seconds), i64::try_from(nanos)) else { return Some(Duration::ZERO) };
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos)))
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// The next field, `Some(None)` after the last one, `None` when the message is cut or malformed.
    fn next_field(&mut self) -> Option<Option<Field<'a>>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.skip(4)?,
            _ => return None,
        };
        Some(Some(Field { number: key >> 3, value }))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<Value<'a>> {
        self.take(length).map(|_| Value::Fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message with these length-delimited fields.
    fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, value) in fields {
            bytes.extend([number << 3 | 2, u8::try_from(value.len()).unwrap()]);
            bytes.extend(*value);
        }
        bytes
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    }

    fn status(seconds: i64, nanos: i64) -> Vec<u8> {
        let duration = [&[8][..], &varint(seconds.cast_unsigned()), &[16], &varint(nanos.cast_unsigned())].concat();
        let info = message(&[(1, &duration)]);
        let other = message(&[(1, b"type.googleapis.com/google.rpc.DebugInfo"), (2, b"xyz")]);
        let info = message(&[(1, b"type.googleapis.com/google.rpc.RetryInfo"), (2, &info)]);
        [&[8, 14][..], &message(&[(2, b"busy"), (3, &other), (3, &info)])].concat()
    }

    #[test]
    fn r12_the_wait_is_found_among_other_details() {
        assert_eq!(retry_delay(&status(5, 0)), Some(Duration::from_secs(5)));
        assert_eq!(retry_delay(&status(0, 250_000_000)), Some(Duration::from_millis(250)));
        assert_eq!(retry_delay(&status(i64::MAX, 0)), Some(Duration::from_secs(i64::MAX.cast_unsigned())));
        assert_eq!(retry_delay(&status(-5, 0)), Some(Duration::ZERO));
        assert_eq!(retry_delay(&status(5, -1)), Some(Duration::ZERO));
        let empty = message(&[(3, &message(&[(1, b"type.googleapis.com/google.rpc.RetryInfo")]))]);
        assert_eq!(retry_delay(&empty), Some(Duration::ZERO), "a RetryInfo without a wait");
        assert_eq!(retry_delay(&[]), None);
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_no_hint_or_the_whole_one() {
        let whole = status(5, 7);
        for length in 0..whole.len() {
            assert_eq!(retry_delay(&whole[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        let decode = |text: &str| decode_base64(text.as_bytes());
        assert_eq!(decode("Zm9vYmFy").unwrap(), b"foobar");
        for text in ["Zm9vYg==", "Zm9vYg", "Zm9vYg==,AAAA", " Zm9vYg== "] {
            assert_eq!(decode(text).unwrap(), b"foob", "{text}");
        }
        assert_eq!(decode("Zm9vYmE=").unwrap(), b"fooba");
        assert_eq!(decode("+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
        assert_eq!(decode("").unwrap(), b"");
        for text in ["Z", "Zm9vY", "Zm 9", "Zm9v*", "=", "==="] {
            assert!(decode(text).is_none_or(|bytes| bytes.is_empty()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _delay: Option<Duration> = retry_delay(&bytes);
            let _bytes: Option<Vec<u8>> = decode_base64(&bytes);
        }

        #[test]
        fn every_wait_is_read_back(seconds in 0..i64::MAX, nanos in 0..1_000_000_000_i64) {
            let expected = Duration::new(seconds.cast_unsigned(), u32::try_from(nanos).unwrap());
            prop_assert_eq!(retry_delay(&status(seconds, nanos)), Some(expected));
        }
    }
}
