use std::fmt;

/// Text from a server, made safe to be logged.
///
/// It has at most [`MAX_LEN`](Self::MAX_LEN) bytes. Characters that a terminal or a log viewer would obey rather than show
/// are escaped: line breaks and other control characters, and those that change the direction of writing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerText(String);

// === impl ServerText ===

impl ServerText {
    /// The greatest length, in bytes. An ellipsis marks a text that was cut.
    pub const MAX_LEN: usize = 1024;

    pub(crate) const ELLIPSIS: char = '…';

    /// Cuts `text` to its greatest length, and escapes its control characters.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut safe = String::with_capacity(text.len().min(Self::MAX_LEN));
        let mut escaped = String::new();
        for char in text.chars() {
            escaped.clear();
            if is_obeyed(char) {
                escaped.extend(char.escape_default());
            } else {
                escaped.push(char);
            }
            if safe.len() + escaped.len() > Self::MAX_LEN - Self::ELLIPSIS.len_utf8() {
                safe.push(Self::ELLIPSIS);
                break;
            }
            safe.push_str(&escaped);
        }
        Self(safe)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ServerText {
    /// Does the same as [`new`](Self::new), with bytes that should be UTF-8.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        // The bytes beyond the greatest length would be cut off in any case.
        Self::new(&String::from_utf8_lossy(bytes.get(..Self::MAX_LEN).unwrap_or(bytes)))
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a viewer does something else with the character than show it.
fn is_obeyed(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl fmt::Display for ServerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_text_stays_and_control_characters_are_escaped() {
        let text = "quota „logs“ used up\r\n\u{1b}[2J\u{202e}gnp\u{85}";
        assert_eq!(ServerText::new(text).as_str(), "quota „logs“ used up\\r\\n\\u{1b}[2J\\u{202e}gnp\\u{85}");
    }

    #[test]
    fn a_text_of_the_greatest_length_but_the_ellipsis_is_whole() {
        let text = "x".repeat(ServerText::MAX_LEN - 3);
        assert_eq!(ServerText::new(&text).as_str(), text);
        assert_eq!(ServerText::new(&(text.clone() + "y")).as_str(), text + "…");
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_printable(text in proptest::collection::vec(any::<char>(), 0..2000)) {
            let safe = ServerText::new(&text.into_iter().collect::<String>());
            prop_assert!(safe.as_str().len() <= ServerText::MAX_LEN);
            prop_assert!(!safe.as_str().contains(is_obeyed));
        }
    }
}
