//! How a payload is compressed, in the framing that Kafka's own decompressors read.

use bytes::Bytes;
use std::{error::Error, fmt};

/// A compression type of Kafka's protocol.
///
/// | type | id | framing | feature |
/// | --- | --- | --- | --- |
/// | `None` | 0 | – | – |
/// | `Gzip` | 1 | gzip | `gzip` |
/// | `Snappy` | 2 | blocks of snappy as of xerial's `SnappyOutputStream`, not Google's frames | `snappy` |
/// | `Lz4` | 3 | LZ4 frames of independent blocks; Kafka refuses linked ones | `lz4` |
/// | `Zstd` | 4 | a zstd frame | `zstd` |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As it is. A broker always takes it, though it never lists it.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// snappy.
    Snappy = 2,
    /// LZ4.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

/// A payload could not be compressed.
#[derive(Clone, Debug)]
pub struct CompressionFailed {
    codec: Codec,
    what: String,
}

/// The compression types that have been refused, or have failed, in the life of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codecs {
    refused: [bool; Codec::ALL.len()],
}

// === impl Codec ===

impl Codec {
    /// Every compression type, at the index that is its id.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The type with this id.
    #[must_use]
    pub fn from_id(id: i8) -> Option<Self> {
        usize::try_from(id).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    /// Its id on the wire.
    #[must_use]
    pub const fn id(self) -> i8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Whether this build can compress so.
    #[must_use]
    pub const fn is_available(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// Compresses a payload.
    ///
    /// # Errors
    ///
    /// When the compressor fails, or is not part of this build.
    pub fn compress(self, plain: &Bytes) -> Result<Bytes, CompressionFailed> {
        match self {
            Self::None => Ok(plain.clone()),
            Self::Gzip => gzip(plain),
            Self::Snappy => snappy(plain),
            Self::Lz4 => lz4(plain),
            Self::Zstd => zstd(plain),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(feature = "gzip")]
fn gzip(plain: &[u8]) -> Result<Bytes, CompressionFailed> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.map(Bytes::from).map_err(|error| CompressionFailed::new(Codec::Gzip, error))
}

#[cfg(feature = "snappy")]
fn snappy(plain: &[u8]) -> Result<Bytes, CompressionFailed> {
    /// What `SnappyOutputStream` puts before everything: a magic, its version, and the oldest that can read it.
    const HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
    /// The length of its blocks before compression, as is its default.
    const BLOCK: usize = 32 * 1024;

    let mut encoder = snap::raw::Encoder::new();
    let mut out = Vec::from(HEADER);
    for block in plain.chunks(BLOCK) {
        let compressed = encoder.compress_vec(block).map_err(|error| CompressionFailed::new(Codec::Snappy, error))?;
        let length = u32::try_from(compressed.len()).map_err(|error| CompressionFailed::new(Codec::Snappy, error))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out.into())
}

#[cfg(feature = "lz4")]
fn lz4(plain: &[u8]) -> Result<Bytes, CompressionFailed> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(plain).map_err(|error| CompressionFailed::new(Codec::Lz4, error))?;
    encoder.finish().map(Bytes::from).map_err(|error| CompressionFailed::new(Codec::Lz4, error))
}

#[cfg(feature = "zstd")]
fn zstd(plain: &[u8]) -> Result<Bytes, CompressionFailed> {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    // The encoder is pure Rust and young. Should it panic, the payload goes uncompressed and the host lives on.
    std::panic::catch_unwind(|| compress_to_vec(plain, CompressionLevel::Fastest))
        .map(Bytes::from)
        .map_err(|_panic| CompressionFailed::new(Codec::Zstd, "the encoder panicked"))
}

#[cfg(not(feature = "gzip"))]
fn gzip(_: &[u8]) -> Result<Bytes, CompressionFailed> {
    Err(CompressionFailed::new(Codec::Gzip, NOT_BUILT))
}

#[cfg(not(feature = "snappy"))]
fn snappy(_: &[u8]) -> Result<Bytes, CompressionFailed> {
    Err(CompressionFailed::new(Codec::Snappy, NOT_BUILT))
}

#[cfg(not(feature = "lz4"))]
fn lz4(_: &[u8]) -> Result<Bytes, CompressionFailed> {
    Err(CompressionFailed::new(Codec::Lz4, NOT_BUILT))
}

#[cfg(not(feature = "zstd"))]
fn zstd(_: &[u8]) -> Result<Bytes, CompressionFailed> {
    Err(CompressionFailed::new(Codec::Zstd, NOT_BUILT))
}

#[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
const NOT_BUILT: &str = "it is not part of this build";

// === impl Codecs ===

impl Codecs {
    /// Never chooses this one again. `None` cannot be refused: there is nothing left after it.
    pub fn refuse(&mut self, codec: Codec) {
        if codec != Codec::None {
            self.refused[codec as usize] = true;
        }
    }

    /// Whether this one was refused.
    #[must_use]
    pub fn is_refused(&self, codec: Codec) -> bool {
        self.refused[codec as usize]
    }

    /// The first of what a broker accepts that is part of this build and was not refused, or none. Ids that are not
    /// known are passed over.
    #[must_use]
    pub fn choose(&self, accepted: &[i8]) -> Codec {
        let known = accepted.iter().filter_map(|id| Codec::from_id(*id));
        known.into_iter().find(|codec| codec.is_available() && !self.is_refused(*codec)).unwrap_or_default()
    }
}

// === impl CompressionFailed ===

impl CompressionFailed {
    fn new(codec: Codec, what: impl fmt::Display) -> Self {
        Self { codec, what: what.to_string() }
    }

    /// The type that failed.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }
}

impl fmt::Display for CompressionFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot compress with {}: {}", self.codec, self.what)
    }
}

impl Error for CompressionFailed {}
