use http::{
    HeaderMap, HeaderValue,
    header::{DATE, RETRY_AFTER},
};
use std::time::{Duration, SystemTime};

/// What `Retry-After` asks for: seconds, or an HTTP date ([RFC 9110, 10.2.3]).
///
/// A date is measured from `now`; one that has passed asks for no wait at all. A number too large for a `Duration` is
/// [`Duration::MAX`], and the caller that waits must cap it. `None` is a value that is neither: signed, fractional, not ASCII.
///
/// ```
/// use forebay_core::http::parse_retry_after;
/// use http::HeaderValue;
/// use std::time::{Duration, SystemTime};
///
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
/// let parse = |text| parse_retry_after(&HeaderValue::from_static(text), now);
/// assert_eq!(parse("120"), Some(Duration::from_secs(120)));
/// assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
/// assert_eq!(parse("-1"), None);
/// ```
///
/// [RFC 9110, 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
#[must_use]
pub fn parse_retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // All digits and still no `u64`: the number is too large, not malformed.
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// The longest wait that the `Retry-After` headers of a response ask for.
///
/// A date is measured from the response's own `Date` header, so that a wrong local clock does not matter, and from
/// the local clock where there is none. Headers that cannot be read are passed over.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    // Most responses have none: the clock is read only where a date may have to be measured.
    let mut values = headers.get_all(RETRY_AFTER).iter().peekable();
    values.peek()?;
    let now = headers.get(DATE).and_then(http_date).unwrap_or_else(local_time);
    values.filter_map(|value| parse_retry_after(value, now)).max()
}

fn http_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[expect(clippy::disallowed_methods, reason = "the edge: a wall-clock date came in from outside")]
fn local_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn hint(values: &[&'static str]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static(NOW));
        for value in values {
            headers.append(RETRY_AFTER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        retry_after(&headers)
    }

    #[test]
    fn r12_seconds_and_dates_are_read() {
        assert_eq!(hint(&["5"]), Some(Duration::from_secs(5)));
        assert_eq!(hint(&[" 5 "]), Some(Duration::from_secs(5)));
        assert_eq!(hint(&["0"]), Some(Duration::ZERO));
        assert_eq!(hint(&["Sun, 06 Nov 1994 08:50:37 GMT"]), Some(Duration::from_secs(60)));
        assert_eq!(hint(&["Sunday, 06-Nov-94 08:50:37 GMT"]), Some(Duration::from_secs(60)), "RFC 850");
        assert_eq!(hint(&["Sun Nov  6 08:50:37 1994"]), Some(Duration::from_secs(60)), "asctime");
    }

    #[test]
    fn r12_a_date_is_measured_from_the_date_of_the_response() {
        assert_eq!(hint(&["Thu, 01 Jan 1970 00:00:00 GMT"]), Some(Duration::ZERO));
        let far = hint(&["Fri, 31 Dec 9999 23:59:59 GMT"]).unwrap();
        assert!(far > Duration::from_secs(60 * 60 * 24 * 365 * 8000));
    }

    #[test]
    fn r12_nonsense_is_no_hint_and_never_a_panic() {
        for text in ["", " ", "-1", "+1", "1.5", "1e20", "soon", "0x10", "5s", "NaN", "ß", "５"] {
            assert_eq!(hint(&[text]), None, "{text:?}");
        }
        assert_eq!(hint(&["99999999999999999999999999"]), Some(Duration::MAX));
        assert_eq!(hint(&["100000000000000000000"]), Some(Duration::MAX), "1e20");
        assert_eq!(hint(&[]), None);
    }

    #[test]
    fn r12_of_two_headers_the_longer_wait_counts() {
        assert_eq!(hint(&["3", "9"]), Some(Duration::from_secs(9)));
        assert_eq!(hint(&["9", "garbage"]), Some(Duration::from_secs(9)));
    }
}
