use crate::ServerText;
use http::{HeaderMap, HeaderValue};

/// The secret header values of one request. A server may repeat them in its responses.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<HeaderValue>);

/// Shorter values are no secrets, and their redaction would remove words from a text.
const SHORTEST: usize = 6;
/// A secret that is cut at the end of a text is recognized by this many characters.
const START: usize = 4;

// === impl Secrets ===

impl Secrets {
    /// The sensitive values of `headers`. Nothing is allocated where there are none.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.values().filter(|value| value.is_sensitive()).cloned().collect())
    }

    /// `text` without the secrets.
    pub(crate) fn redact(&self, text: &ServerText) -> ServerText {
        const INSTEAD: &str = "[redacted]";
        let mut redacted = text.as_str().to_owned();
        for value in self.0.iter().filter_map(|value| value.to_str().ok()) {
            // The secret follows `Bearer `, and a server may repeat it alone.
            let last = value.rsplit(' ').next().unwrap_or(value);
            for secret in [value, last].into_iter().filter(|secret| secret.len() >= SHORTEST) {
                redacted = redacted.replace(secret, INSTEAD);
                let whole = redacted.strip_suffix(ServerText::ELLIPSIS).map(str::len);
                let cut = whole.and_then(|end| {
                    let starts = (START..secret.len()).rev().filter_map(|length| secret.get(..length));
                    let mut starts = starts.filter(|start| redacted[..end].ends_with(start));
                    starts.next().map(|start| end - start.len())
                });
                if let Some(cut) = cut {
                    redacted.truncate(cut);
                    redacted.push_str(INSTEAD);
                }
            }
        }
        ServerText::new(&redacted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x04_what_a_server_repeats_of_a_secret_is_taken_out() {
        let mut value = HeaderValue::from_static("Bearer hunter2-and-more");
        value.set_sensitive(true);
        let mut short = HeaderValue::from_static("a");
        short.set_sensitive(true);
        let name = http::header::AUTHORIZATION;
        let headers = HeaderMap::from_iter([(name, value), (http::header::COOKIE, short)]);
        let secrets = Secrets::of(&headers);
        let redact = |text: &str| secrets.redact(&ServerText::new(text)).to_string();
        assert_eq!(redact("no such token: hunter2-and-more"), "no such token: [redacted]");
        assert_eq!(redact("`Bearer hunter2-and-more` is bad"), "`[redacted]` is bad");
        assert_eq!(redact("all is well"), "all is well");
        for length in 1_000..1_040 {
            let cut = redact(&format!("{}hunter2-and-more and so on", "x".repeat(length)));
            assert!(!cut.contains("hunt"), "{length}: {cut}");
        }
    }
}
