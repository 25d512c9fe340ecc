//! How a record stands in a message: its payload is that of the message, and the rest is in headers.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use bytes::Bytes;
use forebay_core::Priority;
use forebay_spool::{NewRecord, Record};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The bytes of all headers of a record, at most.
pub(crate) const MAX_HEADERS: usize = 4096;
/// The bytes of a key, at most.
pub(crate) const MAX_KEY: usize = 1024;

const ID: &str = "Forebay-Id";
const KEY: &str = "Forebay-Key";
const FIRST_SEEN: &str = "Forebay-First-Seen";
const ATTEMPTS: &str = "Forebay-Attempts";
const CHECKSUM: &str = "Forebay-Crc32";
const REASON: &str = "Forebay-Reason";

/// A record that is appended for the first time.
pub(crate) fn first(id: u64, record: NewRecord, now: SystemTime) -> (HeaderMap, Bytes) {
    let NewRecord { payload, key, first_seen, .. } = record;
    let mut record = Record::new(id, first_seen.unwrap_or(now), payload);
    record.key = key;
    let headers = headers(&record, &id.to_string());
    (headers, record.payload)
}

/// The headers of a record in a message that the server knows by `message_id`.
pub(crate) fn headers(record: &Record, message_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, message_id);
    headers.insert(ID, record.id.to_string());
    if !record.key.is_empty() {
        headers.insert(KEY, hex(&record.key));
    }
    headers.insert(FIRST_SEEN, to_millis(record.first_seen).to_string());
    if record.attempts > 0 {
        headers.insert(ATTEMPTS, record.attempts.to_string());
    }
    headers.insert(CHECKSUM, crc32fast::hash(&record.payload).to_string());
    headers
}

/// The id of the record of these headers, as it is written.
pub(crate) fn id(headers: &HeaderMap) -> &str {
    headers.get(ID).map_or("", |id| id.as_str())
}

/// Notes why the record of these headers is a dead letter. A header is one line, and not a long one.
pub(crate) fn note_reason(headers: &mut HeaderMap, reason: &str) {
    let line: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(256).collect();
    headers.insert(REASON, line);
}

pub(crate) fn reason(headers: &HeaderMap) -> String {
    headers.get(REASON).map(ToString::to_string).unwrap_or_default()
}

/// The record of a message, or why it has none: it was not appended by a spool, or is damaged.
pub(crate) fn record(headers: Option<&HeaderMap>, payload: Bytes, priority: Priority) -> Result<Record, &'static str> {
    let headers = headers.ok_or("a message without headers")?;
    let number = |name| headers.get(name).and_then(|value| value.as_str().parse::<u64>().ok());
    let id = number(ID).ok_or("a message without the id of a record")?;
    if number(CHECKSUM) != Some(u64::from(crc32fast::hash(&payload))) {
        return Err("a payload with another checksum");
    }
    let mut record = Record::new(id, from_millis(number(FIRST_SEEN).unwrap_or_default()), payload);
    if let Some(key) = headers.get(KEY) {
        record.key = unhex(key.as_str()).ok_or("a key that cannot be read")?;
    }
    record.attempts = number(ATTEMPTS).and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or_default();
    record.priority = priority;
    Ok(record)
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16);
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(digit).collect()
}

fn unhex(hex: &str) -> Option<Bytes> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn from_millis(millis: u64) -> SystemTime {
    // Year 9999: every platform can show it.
    const LAST: u64 = 253_402_300_799_000;
    UNIX_EPOCH.checked_add(Duration::from_millis(millis.min(LAST))).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let new = NewRecord::new("payload").key(vec![0, 255, b'\n']).first_seen(time);
        let (headers, payload) = first(7, new, UNIX_EPOCH);
        let read = record(Some(&headers), payload, Priority::High).unwrap();
        assert_eq!((read.id, &read.key[..], read.first_seen), (7, &[0, 255, b'\n'][..], time));
        assert_eq!((read.attempts, read.priority, &read.payload[..]), (0, Priority::High, &b"payload"[..]));
    }

    #[test]
    fn what_was_not_appended_by_a_spool_or_is_damaged_is_no_record() {
        let (headers, _) = first(7, NewRecord::new("payload"), UNIX_EPOCH);
        assert!(record(None, Bytes::new(), Priority::Normal).is_err());
        assert!(record(Some(&HeaderMap::new()), Bytes::new(), Priority::Normal).is_err());
        assert!(record(Some(&headers), Bytes::from_static(b"qayload"), Priority::Normal).is_err());
        for key in ["0", "zz", "ab\u{e9}"] {
            assert_eq!(unhex(key), None);
        }
    }

    #[test]
    fn the_headers_of_the_largest_record_fit() {
        let new = NewRecord::new("").key(vec![255; MAX_KEY]);
        let (mut headers, _) = first(u64::MAX, new, UNIX_EPOCH);
        note_reason(&mut headers, &"\u{10ffff}\r\n".repeat(400));
        let bytes: usize =
            headers.iter().map(|(name, values)| name.to_string().len() + values[0].as_str().len() + 4).sum();
        assert!(bytes + 300 < MAX_HEADERS, "{bytes}, and those of a batch");
        assert!(!reason(&headers).contains(['\r', '\n']));
    }
}
