//! The small words of the grammar: times, sizes, escaped text.

use super::names::Misread;
use std::{fmt, time::Duration};

const TIMES: [(&str, u128); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Shows a duration in the largest unit that leaves a whole number.
pub(super) struct Time(pub(super) Duration);

/// Shows a number of bytes in the largest unit that leaves a whole number.
pub(super) struct Size(pub(super) u64);

/// Shows bytes with everything that has a meaning of its own in the grammar as `%XX`.
pub(super) struct Escaped<'a>(pub(super) &'a [u8]);

pub(super) fn time(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let (_, nanos) = TIMES.iter().find(|(name, _)| *name == unit)?;
    let nanos = u128::from(number).checked_mul(*nanos)?;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).ok()?))
}

pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

pub(super) fn unescape(text: &str) -> Result<Vec<u8>, Misread> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
            let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
            bytes.push(byte.ok_or_else(|| Misread::new("text", text, "% only before two hexadecimal digits"))?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
        }
    }
    Ok(bytes)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let whole = TIMES.iter().find(|(_, unit)| nanos.is_multiple_of(*unit));
        whole.map_or(Ok(()), |(name, unit)| write!(f, "{}{name}", nanos / unit))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SIZES.iter().find(|(_, unit)| self.0.is_multiple_of(*unit));
        whole.map_or(Ok(()), |(name, unit)| write!(f, "{}{name}", self.0 / unit))
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| match byte {
            b'%' | b',' | b';' => write!(f, "%{byte:02X}"),
            byte if byte.is_ascii_graphic() => write!(f, "{}", char::from(*byte)),
            byte => write!(f, "%{byte:02X}"),
        })
    }
}
