use bytes::{Bytes, BytesMut};
use forebay_core::{BoxError, ConfigError};
use http::HeaderValue;
#[cfg(any(feature = "gzip", feature = "zstd"))]
use std::io::Read;

/// How the body of a request is compressed.
///
/// Level 1 is the default level of both: on telemetry it gives nearly the size of a higher one for a fifth of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// No compression (the default).
    #[default]
    None,
    /// `gzip`, with a level from 1 (fastest) to 9 (smallest).
    #[cfg(feature = "gzip")]
    #[cfg_attr(docsrs, doc(cfg(feature = "gzip")))]
    Gzip(u32),
    /// `zstd`, with a level from 1 (fastest) to 22 (smallest). OTLP servers need not support it; the Collector does.
    #[cfg(feature = "zstd")]
    #[cfg_attr(docsrs, doc(cfg(feature = "zstd")))]
    Zstd(i32),
}

/// The result of decompressing a response.
#[derive(Debug)]
pub(crate) enum Unpacked {
    Whole(Bytes),
    /// The content is longer than the cap allows.
    TooLong,
    /// The content does not match its encoding, or this build does not support the encoding.
    Unreadable,
}

// === impl Compression ===

impl Compression {
    /// The names of the compressions of this build, as `OTEL_EXPORTER_OTLP_COMPRESSION` and `Content-Encoding` spell them.
    pub const NAMES: &[&str] = &[
        "none",
        #[cfg(feature = "gzip")]
        "gzip",
        #[cfg(feature = "zstd")]
        "zstd",
    ];

    /// The compressions that a gRPC response may have.
    pub(crate) const ACCEPTED: &str = match (cfg!(feature = "gzip"), cfg!(feature = "zstd")) {
        (false, false) => "identity",
        (true, false) => "identity,gzip",
        (false, true) => "identity,zstd",
        (true, true) => "identity,gzip,zstd",
    };

    /// `gzip` at its default level, 1.
    #[cfg(feature = "gzip")]
    #[cfg_attr(docsrs, doc(cfg(feature = "gzip")))]
    #[must_use]
    pub const fn gzip() -> Self {
        Self::Gzip(1)
    }

    /// `zstd` at its default level, 1.
    #[cfg(feature = "zstd")]
    #[cfg_attr(docsrs, doc(cfg(feature = "zstd")))]
    #[must_use]
    pub const fn zstd() -> Self {
        Self::Zstd(1)
    }

    pub(crate) fn validate(self) -> Result<Self, ConfigError> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip(level) if !(1..=9).contains(&level) => {
                Err(ConfigError::new("compression", format!("gzip level {level}"), "levels 1 to 9"))
            }
            #[cfg(feature = "zstd")]
            Self::Zstd(level) if !(1..=22).contains(&level) => {
                Err(ConfigError::new("compression", format!("zstd level {level}"), "levels 1 to 22"))
            }
            _ => Ok(self),
        }
    }

    /// The value of `Content-Encoding` or `grpc-encoding`.
    pub(crate) fn content_encoding(self) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            #[cfg(feature = "gzip")]
            Self::Gzip(_) => Some(HeaderValue::from_static("gzip")),
            #[cfg(feature = "zstd")]
            Self::Zstd(_) => Some(HeaderValue::from_static("zstd")),
        }
    }

    /// Compresses all of `body` except its first `prefix` bytes, which are kept; `None` leaves it as it is.
    #[cfg_attr(
        not(any(feature = "gzip", feature = "zstd")),
        expect(unused_variables, reason = "there is nothing to compress with")
    )]
    pub(crate) fn compress(self, body: &[u8], prefix: usize) -> Result<Option<BytesMut>, BoxError> {
        match self {
            Self::None => Ok(None),
            #[cfg(feature = "gzip")]
            Self::Gzip(level) => {
                use std::io::Write;

                let mut encoder = flate2::write::GzEncoder::new(packed(body, prefix), flate2::Compression::new(level));
                encoder.write_all(body.get(prefix..).unwrap_or_default())?;
                Ok(Some(encoder.finish()?.into_inner()))
            }
            #[cfg(feature = "zstd")]
            Self::Zstd(level) => {
                use std::io::Write;

                let message = body.get(prefix..).unwrap_or_default();
                let mut encoder = zstd::stream::write::Encoder::new(packed(body, prefix), level)?;
                encoder.set_pledged_src_size(Some(message.len() as u64))?;
                encoder.write_all(message)?;
                Ok(Some(encoder.finish()?.into_inner()))
            }
        }
    }
}

impl std::str::FromStr for Compression {
    type Err = ConfigError;

    /// Reads one of [`NAMES`](Self::NAMES).
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] for any other name; the feature of another compression may be missing.
    fn from_str(name: &str) -> Result<Self, ConfigError> {
        match name {
            "none" => Ok(Self::None),
            #[cfg(feature = "gzip")]
            "gzip" => Ok(Self::gzip()),
            #[cfg(feature = "zstd")]
            "zstd" => Ok(Self::zstd()),
            _ => Err(ConfigError::new("compression", format!("{name:?}"), Self::NAMES.join(", "))),
        }
    }
}

#[cfg(any(feature = "gzip", feature = "zstd"))]
fn packed(body: &[u8], prefix: usize) -> bytes::buf::Writer<BytesMut> {
    use bytes::BufMut;

    // Telemetry repeats itself: its compressed size is rarely above a fifth, and one more allocation costs little.
    let mut out = BytesMut::with_capacity(body.len() / 5 + 64);
    out.extend_from_slice(body.get(..prefix).unwrap_or_default());
    out.writer()
}

/// Decompresses a response with this `encoding`, up to `cap` bytes of content.
pub(crate) fn unpack(encoding: &[u8], body: &Bytes, cap: usize) -> Unpacked {
    let name = encoding.trim_ascii();
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    if name.is_empty() || is("identity") {
        return if body.len() > cap { Unpacked::TooLong } else { Unpacked::Whole(body.clone()) };
    }
    #[cfg(feature = "gzip")]
    if is("gzip") {
        return read_up_to(flate2::read::MultiGzDecoder::new(&**body), cap);
    }
    #[cfg(feature = "zstd")]
    if is("zstd") {
        // The library allows windows up to 128 MiB; the cap bounds them further.
        let Ok(mut decoder) = zstd::stream::read::Decoder::with_buffer(&**body) else { return Unpacked::Unreadable };
        return match decoder.window_log_max(window_log(cap)) {
            Ok(()) => read_up_to(decoder, cap),
            Err(_) => Unpacked::Unreadable,
        };
    }
    Unpacked::Unreadable
}

/// The smallest power of two that has room for `cap` bytes, within the range of zstd; frames of level 1 need 2^19.
#[cfg(feature = "zstd")]
fn window_log(cap: usize) -> u32 {
    cap.max(1).ilog2().saturating_add(1).clamp(20, 27)
}

#[cfg(any(feature = "gzip", feature = "zstd"))]
fn read_up_to(from: impl Read, cap: usize) -> Unpacked {
    let mut out = Vec::new();
    // One byte more distinguishes a content that fits exactly from one that does not.
    match from.take(cap as u64 + 1).read_to_end(&mut out) {
        Ok(_) if out.len() > cap => Unpacked::TooLong,
        Ok(_) => Unpacked::Whole(out.into()),
        Err(_) => Unpacked::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Compression> {
        let lists = [
            vec![Compression::None],
            #[cfg(feature = "gzip")]
            (1..=9).map(Compression::Gzip).collect(),
            #[cfg(feature = "zstd")]
            [1, 3, 9, 19].map(Compression::Zstd).to_vec(),
        ];
        lists.concat()
    }

    #[test]
    fn every_compression_gives_the_same_bytes_back_behind_the_prefix() {
        let body = [b"head.".as_slice(), &b"telemetry ".repeat(1000)].concat();
        for compression in all() {
            let Some(packed) = compression.validate().unwrap().compress(&body, 5).unwrap() else {
                assert_eq!(compression, Compression::None);
                continue;
            };
            assert!(packed.len() < body.len() / 10, "{compression:?}: {}", packed.len());
            assert_eq!(packed[..5], body[..5]);
            let (encoding, packed) = (compression.content_encoding().unwrap(), packed.freeze().slice(5..));
            let Unpacked::Whole(whole) = unpack(encoding.as_bytes(), &packed, 10_000) else {
                panic!("{compression:?}")
            };
            assert_eq!(whole, body[5..]);
            assert!(matches!(unpack(encoding.as_bytes(), &packed, 9_999), Unpacked::TooLong), "{compression:?}");
            let torn = packed.slice(..packed.len() / 2);
            assert!(matches!(unpack(encoding.as_bytes(), &torn, 10_000), Unpacked::Unreadable), "{compression:?}");
        }
        assert!(matches!(unpack(b"br", &Bytes::new(), 1), Unpacked::Unreadable));
        let plain = Bytes::from_static(b"12");
        assert!(matches!(unpack(b" Identity", &plain, 2), Unpacked::Whole(_)));
        assert!(matches!(unpack(b"", &plain, 1), Unpacked::TooLong));
    }

    #[test]
    fn names_are_read_and_levels_checked() {
        for name in Compression::NAMES {
            let compression: Compression = name.parse().unwrap();
            let encoding = compression.content_encoding();
            assert_eq!(encoding.as_ref().map_or("none", |value| value.to_str().unwrap()), *name);
        }
        assert_eq!("br".parse::<Compression>().unwrap_err().knob(), "compression");
        #[cfg(feature = "gzip")]
        assert_eq!(Compression::Gzip(0).validate().unwrap_err().knob(), "compression");
        #[cfg(feature = "zstd")]
        assert_eq!(Compression::Zstd(23).validate().unwrap_err().knob(), "compression");
    }
}
