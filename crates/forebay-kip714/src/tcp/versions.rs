//! Which versions of which requests a broker speaks.
//!
//! Read by hand, and only as far as it is needed: the response grows with each release of Kafka, and the response to a
//! version that a broker does not speak has version 0.

use super::error::TransportError;
use crate::wire::ErrorCode;
use bytes::{Buf, Bytes};

/// The response to an `ApiVersions` request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions {
    /// API key, lowest and highest version.
    ranges: Vec<(i16, i16, i16)>,
}

// === impl Versions ===

impl Versions {
    /// Reads the body of a response; `None` if the broker asks for an older version of the request.
    pub(super) fn decode(version: i16, body: &mut Bytes) -> Result<Option<Self>, TransportError> {
        let short = |_short| TransportError::malformed("ApiVersions ends too soon");
        let code = ErrorCode(body.try_get_i16().map_err(short)?);
        if code == ErrorCode::UNSUPPORTED_VERSION && version > 0 {
            return Ok(None);
        }
        if code != ErrorCode::NONE {
            return Err(TransportError::malformed(format_args!("ApiVersions says {code}")));
        }
        let flexible = version >= 3;
        let count = if flexible {
            varint(body).map(|count| count.saturating_sub(1))
        } else {
            body.try_get_i32().ok().and_then(|count| u32::try_from(count).ok())
        };
        let count = count.ok_or_else(|| TransportError::malformed("ApiVersions ends too soon"))?;
        let mut ranges = Vec::new();
        for _ in 0..count {
            let range = (
                body.try_get_i16().map_err(short)?,
                body.try_get_i16().map_err(short)?,
                body.try_get_i16().map_err(short)?,
            );
            if flexible {
                skip_tags(body).ok_or_else(|| TransportError::malformed("ApiVersions ends too soon"))?;
            }
            ranges.push(range);
        }
        Ok(Some(Self { ranges }))
    }

    /// The highest version that both sides speak, of a request that we speak up to `ours`.
    pub(super) fn highest(&self, key: i16, ours: i16) -> Option<i16> {
        let (_, lowest, highest) = self.ranges.iter().find(|(known, ..)| *known == key)?;
        let agreed = ours.min(*highest);
        (agreed >= *lowest && agreed >= 0).then_some(agreed)
    }
}

/// An unsigned number in groups of seven bits, the lowest first.
pub(super) fn varint(body: &mut Bytes) -> Option<u32> {
    let mut number = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = body.try_get_u8().ok()?;
        number |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

pub(super) fn skip_tags(body: &mut Bytes) -> Option<()> {
    for _ in 0..varint(body)? {
        varint(body)?;
        let length = usize::try_from(varint(body)?).ok()?;
        if length > body.remaining() {
            return None;
        }
        body.advance(length);
    }
    Some(())
}
