use crate::wire::Buf;

/// Writes an integer in decimal.
#[inline]
pub(super) fn put_integer(buf: &mut Buf, value: impl itoa::Integer) {
    buf.put(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes a 64-bit integer as a string, because many readers keep only 53 bits of a JSON number.
#[inline]
pub(super) fn put_long(buf: &mut Buf, value: impl itoa::Integer) {
    buf.put(b"\"");
    put_integer(buf, value);
    buf.put(b"\"");
}

/// Writes the shortest number that reads back as `value`. A value that is no finite number is a string.
#[inline]
pub(super) fn put_double(buf: &mut Buf, value: f64) {
    if value.is_finite() {
        buf.put(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_nan() {
        buf.put(b"\"NaN\"");
    } else if value.is_sign_positive() {
        buf.put(b"\"Infinity\"");
    } else {
        buf.put(b"\"-Infinity\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut buf = Buf::new(BytesMut::new());
        put_double(&mut buf, value);
        String::from_utf8(buf.into_inner().to_vec()).unwrap()
    }

    #[test]
    fn what_is_no_number_is_a_string_of_the_json_mapping() {
        assert_eq!(double(f64::NAN), "\"NaN\"");
        assert_eq!(double(-f64::NAN), "\"NaN\"");
        assert_eq!(double(f64::INFINITY), "\"Infinity\"");
        assert_eq!(double(f64::NEG_INFINITY), "\"-Infinity\"");
    }

    proptest! {
        #[test]
        fn serde_json_reads_every_finite_number_back(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
            let read: serde_json::Value = serde_json::from_str(&double(value)).unwrap();
            prop_assert_eq!(read.as_f64().unwrap().to_bits(), value.to_bits());
        }
    }
}
