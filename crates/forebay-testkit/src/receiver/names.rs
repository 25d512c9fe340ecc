//! How a fault is spelled: `NAME` with the usual parameter, or `NAME=PARAMETER`.

use super::{
    fault::{Fault, ResetWhen, RetryAfter},
    words::{self, Escaped},
};
use http::{HeaderValue, StatusCode};
use std::{fmt, time::Duration};

/// Every name but the status codes, and what it takes.
pub(super) const NAMES: &str = "a status from 200 to 999 [=RETRY-AFTER[;RETRY-AFTER]...], slow [=DURATION], \
    blackhole, blackhole-unprocessed, deaf, reset, reset-unprocessed, reset-unread, halfclose, halfclose-unprocessed, \
    garbage, garbage-unprocessed, truncated, trickle [=DURATION], oversized [=BYTES], gzipbomb [=BYTES], \
    headers [=COUNT], redirect [=STATUS;LOCATION], partial [=REJECTED;MESSAGE], wrongtype [=TYPE]";

const RETRY_AFTER: &str = "seconds, date+SECONDS, date-SECONDS or raw=TEXT";
const STATUS: &str = "from 200 to 999";

impl Fault {
    /// The name without parameter.
    fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::None => "none",
            Self::Status { .. } => return None,
            Self::Slow { .. } => "slow",
            Self::BlackHole { processed: true } => "blackhole",
            Self::BlackHole { processed: false } => "blackhole-unprocessed",
            Self::Deaf => "deaf",
            Self::Reset { when: ResetWhen::Processed } => "reset",
            Self::Reset { when: ResetWhen::Unprocessed } => "reset-unprocessed",
            Self::Reset { when: ResetWhen::Unread } => "reset-unread",
            Self::HalfClose { processed: true } => "halfclose",
            Self::HalfClose { processed: false } => "halfclose-unprocessed",
            Self::Garbage { processed: true } => "garbage",
            Self::Garbage { processed: false } => "garbage-unprocessed",
            Self::Truncated => "truncated",
            Self::Trickle { .. } => "trickle",
            Self::Oversized { .. } => "oversized",
            Self::GzipBomb { .. } => "gzipbomb",
            Self::ManyHeaders { .. } => "headers",
            Self::Redirect { .. } => "redirect",
            Self::Partial { .. } => "partial",
            Self::WrongContentType { .. } => "wrongtype",
        })
    }

    /// The fault of that name, with the usual parameter.
    fn usual(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "slow" => Self::Slow { by: Duration::from_millis(250) },
            "blackhole" => Self::BlackHole { processed: true },
            "blackhole-unprocessed" => Self::BlackHole { processed: false },
            "deaf" => Self::Deaf,
            "reset" => Self::Reset { when: ResetWhen::Processed },
            "reset-unprocessed" => Self::Reset { when: ResetWhen::Unprocessed },
            "reset-unread" => Self::Reset { when: ResetWhen::Unread },
            "halfclose" => Self::HalfClose { processed: true },
            "halfclose-unprocessed" => Self::HalfClose { processed: false },
            "garbage" => Self::Garbage { processed: true },
            "garbage-unprocessed" => Self::Garbage { processed: false },
            "truncated" => Self::Truncated,
            "trickle" => Self::Trickle { every: Duration::from_millis(5) },
            "oversized" => Self::Oversized { bytes: 1 << 30 },
            "gzipbomb" => Self::GzipBomb { bytes: 1 << 30 },
            "headers" => Self::ManyHeaders { count: 10_000 },
            // Port 9 discards: a client that follows this reaches no server.
            "redirect" => Self::Redirect {
                status: StatusCode::TEMPORARY_REDIRECT,
                location: HeaderValue::from_static("http://127.0.0.1:9/"),
            },
            "partial" => Self::Partial { rejected: 1, message: "rejected on demand".to_owned() },
            "wrongtype" => Self::WrongContentType { content_type: HeaderValue::from_static("text/html") },
            code => Self::status(final_status(code)?),
        })
    }

    /// Reads one fault; the error says what was wrong with it and what is allowed.
    pub(super) fn read(text: &str) -> Result<Self, Misread> {
        let (name, parameter) = match text.split_once('=') {
            Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
            None => (text.trim(), None),
        };
        let usual = Self::usual(name).ok_or_else(|| Misread::new("fault", name, NAMES))?;
        let Some(parameter) = parameter else { return Ok(usual) };
        Ok(match usual {
            Self::Status { status, .. } => {
                let retry_after = parameter.split(';').map(RetryAfter::read).collect::<Result<_, _>>()?;
                Self::Status { status, retry_after }
            }
            Self::Slow { .. } => Self::Slow { by: duration(parameter)? },
            Self::Trickle { .. } => Self::Trickle { every: duration(parameter)? },
            Self::Oversized { .. } => Self::Oversized { bytes: bytes(parameter)? },
            Self::GzipBomb { .. } => Self::GzipBomb { bytes: bytes(parameter)? },
            Self::ManyHeaders { .. } => {
                let count = parameter.parse().ok().filter(|count| *count <= Self::MOST_HEADERS);
                let allowed = format!("from 0 to {}", Self::MOST_HEADERS);
                Self::ManyHeaders { count: count.ok_or_else(|| Misread::new("number of headers", parameter, allowed))? }
            }
            Self::Redirect { .. } => {
                let (status, location) = two(parameter, "redirect", "STATUS;LOCATION")?;
                let status = final_status(status).ok_or_else(|| Misread::new("status", status, STATUS))?;
                Self::Redirect { status, location: header(location)? }
            }
            Self::Partial { .. } => {
                let (rejected, message) = two(parameter, "partial success", "REJECTED;MESSAGE")?;
                let not_a_number = |_| Misread::new("number of rejected records", rejected, "a 64-bit integer");
                let count = rejected.parse().map_err(not_a_number)?;
                let message = String::from_utf8(words::unescape(message)?)
                    .map_err(|_not_utf8| Misread::new("message", message, "UTF-8"))?;
                Self::Partial { rejected: count, message }
            }
            Self::WrongContentType { .. } => Self::WrongContentType { content_type: header(parameter)? },
            Self::None
            | Self::BlackHole { .. }
            | Self::Deaf
            | Self::Reset { .. }
            | Self::HalfClose { .. }
            | Self::Garbage { .. }
            | Self::Truncated => return Err(Misread::new("parameter", parameter, format!("none for `{name}`"))),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (Some(name), _) => f.write_str(name)?,
            (None, Self::Status { status, .. }) => write!(f, "{}", status.as_u16())?,
            (None, _) => {}
        }
        if self.name().is_some_and(|name| Self::usual(name).is_none_or(|usual| usual == *self)) {
            return Ok(());
        }
        match self {
            Self::Status { retry_after, .. } => retry_after
                .iter()
                .enumerate()
                .try_for_each(|(at, value)| write!(f, "{}{value}", if at == 0 { '=' } else { ';' })),
            Self::Slow { by: time } | Self::Trickle { every: time } => write!(f, "={}", words::Time(*time)),
            Self::Oversized { bytes } | Self::GzipBomb { bytes } => write!(f, "={}", words::Size(*bytes)),
            Self::ManyHeaders { count } => write!(f, "={count}"),
            Self::Redirect { status, location } => write!(f, "={};{}", status.as_u16(), Escaped(location.as_bytes())),
            Self::Partial { rejected, message } => write!(f, "={rejected};{}", Escaped(message.as_bytes())),
            Self::WrongContentType { content_type } => write!(f, "={}", Escaped(content_type.as_bytes())),
            Self::None
            | Self::BlackHole { .. }
            | Self::Deaf
            | Self::Reset { .. }
            | Self::HalfClose { .. }
            | Self::Garbage { .. }
            | Self::Truncated => Ok(()),
        }
    }
}

impl RetryAfter {
    fn read(text: &str) -> Result<Self, Misread> {
        let wrong = || Misread::new("Retry-After", text, RETRY_AFTER);
        if let Some(raw) = text.strip_prefix("raw=") {
            return header(raw).map(Self::Raw);
        }
        if let Some(offset) = text.strip_prefix("date") {
            let signed = offset.starts_with(['+', '-']);
            return offset.parse().ok().filter(|_| signed).map(Self::Date).ok_or_else(wrong);
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map(Self::Seconds).ok_or_else(wrong)
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "{seconds}"),
            Self::Date(offset) => write!(f, "date{offset:+}"),
            Self::Raw(value) => write!(f, "raw={}", Escaped(value.as_bytes())),
        }
    }
}

fn final_status(code: &str) -> Option<StatusCode> {
    let three_digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    let status = StatusCode::from_bytes(code.as_bytes()).ok().filter(|_| three_digits)?;
    (!status.is_informational()).then_some(status)
}

fn duration(text: &str) -> Result<Duration, Misread> {
    words::time(text).ok_or_else(|| Misread::new("duration", text, "a whole number of ns, us, ms or s, as in 250ms"))
}

fn bytes(text: &str) -> Result<u64, Misread> {
    words::size(text).ok_or_else(|| Misread::new("size", text, "a whole number of B, KiB, MiB or GiB, as in 64KiB"))
}

fn header(text: &str) -> Result<HeaderValue, Misread> {
    let wrong = |_| Misread::new("header value", text, "no control character, spelled %XX or not");
    HeaderValue::from_bytes(&words::unescape(text)?).map_err(wrong)
}

fn two<'a>(text: &'a str, what: &'static str, allowed: &'static str) -> Result<(&'a str, &'a str), Misread> {
    text.split_once(';').ok_or_else(|| Misread::new(what, text, allowed))
}

/// What was given, and what would have been allowed in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misread {
    pub(super) what: &'static str,
    pub(super) given: String,
    pub(super) allowed: String,
}

impl Misread {
    pub(super) fn new(what: &'static str, given: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { what, given: given.into(), allowed: allowed.into() }
    }
}
