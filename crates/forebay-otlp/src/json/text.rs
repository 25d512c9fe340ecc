use crate::wire::Buf;

/// The short escape of a byte in a JSON string; `None` for one that needs none, or `\u00..`.
const fn escape(byte: u8) -> Option<[u8; 2]> {
    match byte {
        b'"' => Some(*b"\\\""),
        b'\\' => Some(*b"\\\\"),
        b'\n' => Some(*b"\\n"),
        b'\r' => Some(*b"\\r"),
        b'\t' => Some(*b"\\t"),
        0x08 => Some(*b"\\b"),
        0x0c => Some(*b"\\f"),
        _ => None,
    }
}

/// Whether a byte must be escaped in a JSON string.
#[inline(always)]
const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Writes `text` as the content of a JSON string.
#[inline]
pub(super) fn put_text(buf: &mut Buf, text: &str) {
    // Without a branch per byte the compiler makes vector instructions of the check, and most texts pass it.
    if text.bytes().fold(false, |special, byte| special | is_special(byte)) {
        put_escaped(buf, text);
    } else {
        buf.put(text.as_bytes());
    }
}

#[cold]
fn put_escaped(buf: &mut Buf, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
        let (plain, special) = rest.split_at(at);
        buf.put(plain);
        let Some((&byte, behind)) = special.split_first() else { return };
        match escape(byte) {
            Some(short) => buf.put(&short),
            None => {
                let [high, low] = hex(byte);
                buf.put(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
        rest = behind;
    }
    buf.put(rest);
}

/// Two lower-case digits.
#[inline(always)]
const fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 0xf) as usize]]
}

/// Writes `bytes` as hex digits.
#[inline]
pub(super) fn put_hex(buf: &mut Buf, bytes: &[u8]) {
    bytes.iter().for_each(|byte| buf.put(&hex(*byte)));
}

/// Writes `bytes` in base64 with the standard alphabet and padding (RFC 4648, section 4).
pub(super) fn put_base64(buf: &mut Buf, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |a: u8, b: u8, c: u8| {
        let bits = u32::from_be_bytes([0, a, b, c]);
        [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 0x3f) as usize])
    };
    let (triples, rest) = bytes.as_chunks::<3>();
    for &[a, b, c] in triples {
        buf.put(&digits(a, b, c));
    }
    match *rest {
        [a] => {
            let [first, second, ..] = digits(a, 0, 0);
            buf.put(&[first, second, b'=', b'=']);
        }
        [a, b] => {
            let [first, second, third, _] = digits(a, b, 0);
            buf.put(&[first, second, third, b'=']);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Buf)) -> String {
        let mut buf = Buf::new(BytesMut::new());
        write(&mut buf);
        String::from_utf8(buf.into_inner().to_vec()).unwrap()
    }

    #[test]
    fn base64_passes_the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(written(|buf| put_base64(buf, bytes.as_bytes())), text);
        }
        assert_eq!(written(|buf| put_base64(buf, &[0xfb, 0xff, 0xfe])), "+//+");
    }

    #[test]
    fn hex_has_two_lower_case_digits_for_each_byte() {
        assert_eq!(written(|buf| put_hex(buf, &[0x00, 0x5b, 0x8e, 0xff])), "005b8eff");
    }

    #[test]
    fn control_characters_quotes_and_backslashes_are_escaped_and_nothing_else() {
        let text = "a\"b\\c\u{1}\u{8}\t\n\u{c}\r\u{1f}\u{7f}\u{2028}é😀";
        let expected = "a\\\"b\\\\c\\u0001\\b\\t\\n\\f\\r\\u001f\u{7f}\u{2028}é😀";
        assert_eq!(written(|buf| put_text(buf, text)), expected);
    }

    proptest! {
        #[test]
        fn serde_json_reads_every_text_back(text: String) {
            let json = format!("\"{}\"", written(|buf| put_text(buf, &text)));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
