use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderName, header::CONTENT_ENCODING};
use std::io::{self, Read};

/// The content encodings that can be taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    #[cfg(feature = "zstd")]
    Zstd,
}

/// Why a body could not be decoded.
#[derive(Debug)]
pub(super) enum Undecodable {
    /// It is longer than allowed.
    TooLarge,
    /// It is not what it claims to be.
    Malformed(io::Error),
}

// === impl Encoding ===

impl Encoding {
    /// The encodings that a response lists as understood.
    pub(super) const ACCEPTED: &str = if cfg!(feature = "zstd") { "gzip, zstd, identity" } else { "gzip, identity" };

    /// The encoding of a request with these headers; the header itself where it is none of ours.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, String> {
        Self::named(headers, &CONTENT_ENCODING)
    }

    /// As [`of`](Self::of), of another header.
    pub(super) fn named(headers: &HeaderMap, name: &HeaderName) -> Result<Self, String> {
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(Self::Identity) };
        let text = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
        match text.as_str() {
            _ if values.next().is_some() => Err("more than one".to_owned()),
            "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            #[cfg(feature = "zstd")]
            "zstd" => Ok(Self::Zstd),
            _ => Err(text),
        }
    }

    /// Takes the encoding off, up to `most` bytes of what comes out.
    pub(super) fn decode(self, body: &Bytes, most: usize) -> Result<Bytes, Undecodable> {
        match self {
            Self::Identity if body.len() > most => Err(Undecodable::TooLarge),
            Self::Identity => Ok(body.clone()),
            Self::Gzip => read_up_to(MultiGzDecoder::new(&**body), most),
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd_frames(body, most),
        }
    }
}

/// A body may be several frames, one after the other.
#[cfg(feature = "zstd")]
fn zstd_frames(mut rest: &[u8], most: usize) -> Result<Bytes, Undecodable> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut rest)
            .map_err(|error| Undecodable::Malformed(io::Error::other(error)))?;
        all.extend_from_slice(&read_up_to(frame, most - all.len())?);
    }
    Ok(all.into())
}

fn read_up_to(from: impl Read, most: usize) -> Result<Bytes, Undecodable> {
    let mut out = Vec::new();
    // One byte more separates a body that fits exactly from one that does not.
    from.take(most as u64 + 1).read_to_end(&mut out).map_err(Undecodable::Malformed)?;
    if out.len() > most { Err(Undecodable::TooLarge) } else { Ok(out.into()) }
}
