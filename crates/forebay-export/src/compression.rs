use bytes::BytesMut;
use forebay_core::{BoxError, ConfigError};
use http::HeaderValue;

/// How the body of a request is compressed.
///
/// Level 1 of gzip is the default level: on telemetry it gives nearly the size of level 6 for a fifth of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all (the default).
    #[default]
    None,
    /// `gzip`, with a level from 1 (fastest) to 9 (smallest).
    #[cfg(feature = "gzip")]
    #[cfg_attr(docsrs, doc(cfg(feature = "gzip")))]
    Gzip(u32),
}

// === impl Compression ===

impl Compression {
    /// `gzip` at its default level, 1.
    #[cfg(feature = "gzip")]
    #[cfg_attr(docsrs, doc(cfg(feature = "gzip")))]
    #[must_use]
    pub const fn gzip() -> Self {
        Self::Gzip(1)
    }

    pub(crate) fn validate(self) -> Result<Self, ConfigError> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip(level) if !(1..=9).contains(&level) => {
                Err(ConfigError::new("compression", format!("gzip level {level}"), "levels 1 to 9"))
            }
            _ => Ok(self),
        }
    }

    /// The value of `Content-Encoding`.
    pub(crate) fn content_encoding(self) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            #[cfg(feature = "gzip")]
            Self::Gzip(_) => Some(HeaderValue::from_static("gzip")),
        }
    }

    /// Compresses `body`; `None` leaves it as it is.
    #[cfg_attr(not(feature = "gzip"), expect(unused_variables, reason = "there is nothing to compress with"))]
    pub(crate) fn compress(self, body: &[u8]) -> Result<Option<BytesMut>, BoxError> {
        match self {
            Self::None => Ok(None),
            #[cfg(feature = "gzip")]
            Self::Gzip(level) => {
                // Telemetry repeats itself: a fifth is seldom exceeded, and growing once more costs little.
                use bytes::BufMut;
                use std::io::Write;

                let out = BytesMut::with_capacity(body.len() / 5 + 64).writer();
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(level));
                encoder.write_all(body)?;
                Ok(Some(encoder.finish()?.into_inner()))
            }
        }
    }
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn gzip_gives_the_same_bytes_back() {
        let body = b"telemetry ".repeat(1000);
        for level in 1..=9 {
            let packed = Compression::Gzip(level).validate().unwrap().compress(&body).unwrap().unwrap();
            assert!(packed.len() < body.len() / 10);
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, body);
        }
        assert_eq!(Compression::Gzip(0).validate().unwrap_err().knob(), "compression");
        assert!(Compression::None.compress(&body).unwrap().is_none());
    }
}
