use std::{fmt, ops::Deref, sync::Arc};

/// The text of a key, as errors, events and snapshots name it.
///
/// Texts of up to 48 bytes, which hold most authorities, are kept in place: making and cloning one allocates nothing.
// Whole words throughout: a rejected call copies it, and a processor waits where it has to put together one load from
// several stores.
pub struct KeyLabel {
    /// The text itself where it is short.
    bytes: [u8; SHORT],
    /// How many of the bytes are the text.
    len: usize,
    /// All of the text where it is long.
    long: Option<Arc<String>>,
}

const SHORT: usize = 48;

// === impl KeyLabel ===

impl KeyLabel {
    /// The label of nothing.
    pub(crate) const EMPTY: Self = Self { bytes: [0; SHORT], len: 0, long: None };

    /// The text that the `Display` of `key` writes.
    #[inline]
    pub(crate) fn new(key: impl fmt::Display) -> Self {
        let mut label = Self::EMPTY;
        // A `Display` that fails leaves what it has written: a part of a name is better than none.
        let _partial = fmt::write(&mut label, format_args!("{key}"));
        label
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.long {
            None => self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default(),
            Some(text) => text,
        }
    }
}

impl Clone for KeyLabel {
    #[inline(always)]
    fn clone(&self) -> Self {
        // First what may have to be counted: the bytes are then copied once, to where they are to stay.
        let long = self.long.clone();
        Self { bytes: self.bytes, len: self.len, long }
    }
}

/// Writes more text to its end.
impl fmt::Write for KeyLabel {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.long.is_none()
            && let Some(room) = self.bytes.get_mut(self.len..self.len + text.len())
        {
            room.copy_from_slice(text.as_bytes());
            self.len += text.len();
            return Ok(());
        }
        let long = [self.as_str(), text].concat();
        self.long = Some(Arc::new(long));
        Ok(())
    }
}

impl Deref for KeyLabel {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for KeyLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl AsRef<str> for KeyLabel {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// A label equals every text that reads the same.
impl<T: AsRef<str> + ?Sized> PartialEq<T> for KeyLabel {
    fn eq(&self, other: &T) -> bool {
        self.as_str() == other.as_ref()
    }
}

impl Eq for KeyLabel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_texts_come_back_whole() {
        for len in [0, 1, 47, 48, 49, 200] {
            let text: String = "é".repeat(len / 2) + if len % 2 == 1 { "x" } else { "" };
            assert_eq!(KeyLabel::new(&text), text.as_str());
            // In pieces, as a `Display` of several fields writes.
            let halves = text.split_at(text.len() / 4 * 2);
            assert_eq!(KeyLabel::new(format_args!("{}{}", halves.0, halves.1)), text.as_str());
        }
    }

    #[test]
    fn numbers_name_themselves() {
        assert_eq!(KeyLabel::new(42_u64).to_string(), "42");
        assert_eq!(format!("{:?}", KeyLabel::new("a\"b")), r#""a\"b""#);
        assert_eq!(size_of::<KeyLabel>(), 64);
    }
}
