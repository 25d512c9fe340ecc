use forebay::otlp::{AsLogRecord, LogRecordWriter, Severity};

/// One line of a log, without its line break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its bytes; whether they are UTF-8 is looked at when it is encoded.
    pub body: Vec<u8>,
    /// How long it was; more than `body` has where it was too long to be kept.
    pub length: usize,
    /// When it was read, in nanoseconds since 1970.
    pub read_at: u64,
    /// Whether it goes before the others.
    pub urgent: bool,
}

// === impl Line ===

impl Line {
    /// The memory it holds; what was too long to be kept weighs what it would have held.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.length.max(self.body.capacity()) + size_of::<Self>()
    }
}

impl AsLogRecord for Line {
    fn record<W: LogRecordWriter>(&self, w: &mut W) {
        w.time_unix_nano(self.read_at);
        w.observed_time_unix_nano(self.read_at);
        w.severity(if self.urgent { Severity::Error } else { Severity::Info });
        match std::str::from_utf8(&self.body) {
            Ok(text) => w.body(text),
            Err(_not_text) => w.body_bytes(&self.body),
        }
    }
}

/// Whether a line goes into the high lane: an access log line whose status is 500 or more, or one with the word `ERROR`.
#[must_use]
pub fn is_urgent(line: &[u8]) -> bool {
    has_word(line, b"ERROR") || status(line).is_some_and(|status| status >= 500)
}

fn has_word(line: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find_iter(line, word).any(|start| {
        let before = start.checked_sub(1).and_then(|place| line.get(place));
        let after = line.get(start + word.len());
        [before, after].into_iter().flatten().all(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
    })
}

/// The status in a line of the common or combined log format: three digits after the request, which stands in quotes.
fn status(line: &[u8]) -> Option<u16> {
    let mut quotes = memchr::memchr_iter(b'"', line);
    let end = quotes.nth(1)?;
    let rest = line.get(end + 1..)?.strip_prefix(b" ")?;
    let digits = rest.get(..3)?;
    let ends = rest.get(3).is_none_or(|byte| *byte == b' ');
    if !ends || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_or_the_word_error_is_urgent() {
        let access = |status| format!(r#"127.0.0.1 - - [x] "GET /500 HTTP/1.1" {status} 512 "-" "curl""#);
        assert!(is_urgent(access("500").as_bytes()));
        assert!(is_urgent(access("503").as_bytes()));
        assert!(!is_urgent(access("499").as_bytes()));
        assert!(!is_urgent(access("5000").as_bytes()));
        assert!(!is_urgent(access("200").as_bytes()));
        assert!(is_urgent(br#""GET /" 502"#), "nothing after the status");
        assert!(is_urgent(b"2026-11-21 ERROR disk full"));
        assert!(is_urgent(b"[ERROR]") && is_urgent(b"ERROR"));
        assert!(!is_urgent(b"MIRRORED TERRORS ERRORS NO_ERROR error"));
        assert!(!is_urgent(b"") && !is_urgent(b"\"\"") && !is_urgent(b"\"\" "));
    }
}
