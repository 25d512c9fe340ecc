//! A batch as a record of the spool: one line of text, then the request as it was received.

use crate::{
    batch::{Batch, BatchId, Facts},
    ledgers::{SIGNALS, signal_name},
};
use bytes::Bytes;
use forebay::otlp::Signal;
use forebay_spool::{Group, NewRecord};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::sync::Arc;

const MAGIC: &str = "forebay-gateway-batch/1 ";

/// The longest first line: a tenant of 256 bytes, each of them escaped, and the rest.
pub(super) const MAX_HEAD: usize = 2 << 10;

/// The group that holds `batch` alone, in its lane, for the destination `name`. Its key is the name of its signal.
pub(super) fn group(batch: &Batch, name: &str) -> Group {
    let payload = [head(batch).as_bytes(), &batch.body].concat();
    let record = NewRecord::new(payload).key(signal_name(batch.signal));
    Group::new([record]).priority(batch.priority()).destination(name)
}

/// How many bytes the record of `batch` has.
pub(super) fn length(batch: &Batch) -> u64 {
    (head(batch).len() + batch.body.len()) as u64
}

fn head(batch: &Batch) -> String {
    let Batch { id, signal, received, facts, .. } = batch;
    let Facts { records, has_error, has_slow } = facts;
    let tenant = utf8_percent_encode(&batch.tenant, NON_ALPHANUMERIC);
    format!(
        "{MAGIC}id={id} signal={} records={records} received={received} error={} slow={} tenant={tenant}\n",
        signal_name(*signal),
        u8::from(*has_error),
        u8::from(*has_slow)
    )
}

/// Reads a batch back; `None` if the record is none.
pub(super) fn batch(payload: &Bytes) -> Option<Batch> {
    let end = payload.iter().take(MAX_HEAD).position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&payload[..end]).ok()?.strip_prefix(MAGIC)?;
    let (mut id, mut signal, mut received) = (None, None, None);
    let (mut tenant, mut facts) = (Arc::from(""), Facts::default());
    for (name, value) in head.split(' ').filter_map(|word| word.split_once('=')) {
        match name {
            "id" => id = Some(BatchId(u128::from_str_radix(value, 16).ok()?)),
            "signal" => signal = Some(self::signal(value)?),
            "received" => received = Some(value.parse().ok()?),
            "records" => facts.records = value.parse().ok()?,
            "error" => facts.has_error = value == "1",
            "slow" => facts.has_slow = value == "1",
            "tenant" => tenant = Arc::from(percent_decode_str(value).decode_utf8_lossy()),
            // A later version may say more.
            _ => {}
        }
    }
    let body = payload.slice(end + 1..);
    Some(Batch { id: id?, signal: signal?, tenant, body, facts, received: received? })
}

fn signal(name: &str) -> Option<Signal> {
    SIGNALS.into_iter().find(|signal| signal_name(*signal) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_it_was_written_and_nothing_else_is() {
        let batch = Batch {
            id: BatchId(u128::MAX),
            signal: Signal::Metrics,
            tenant: "a shop = 100 %\n".into(),
            body: Bytes::from_static(b"\n\0body"),
            facts: Facts { records: 9, has_error: true, has_slow: false },
            received: 17,
        };
        let payload = group(&batch, "sink").records[0].payload.clone();
        assert_eq!(payload.len() as u64, length(&batch));
        assert_eq!(self::batch(&payload), Some(batch));
        for other in ["", "\n", "half a let", "forebay-gateway-batch/1 id=1 signal=logs\n", "id=1\nbody"] {
            assert_eq!(self::batch(&Bytes::from(other)), None, "{other}");
        }
    }

    #[test]
    fn the_longest_tenant_fits_into_the_first_line() {
        let batch = Batch {
            id: BatchId(u128::MAX),
            signal: Signal::Metrics,
            tenant: "~".repeat(256).into(),
            body: Bytes::new(),
            facts: Facts { records: u64::MAX, has_error: true, has_slow: true },
            received: u64::MAX,
        };
        assert!(length(&batch) <= MAX_HEAD as u64);
    }
}
