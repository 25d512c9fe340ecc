//! Everything that is encoded reads back with `opentelemetry-proto`, field by field, and the protobuf is canonical.

use crate::any::{self, values::Doubles};
use bytes::BytesMut;
use forebay_export::{Encode, Skipped};
use forebay_otlp::{Encoder, LogsEncoder, MetricsEncoder, Protocol, SignalKind, TracesEncoder};
use forebay_testkit::receiver::{Signal, read_json};
use proptest::{collection::vec, prelude::*};
use prost::Message;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What `encoder` makes of `items`, in a buffer that was used before.
fn body<S: SignalKind, T>(encoder: &Encoder<S>, items: &[T]) -> BytesMut
where
    Encoder<S>: Encode<T>,
{
    let mut body = BytesMut::from(&b"an earlier batch"[..]);
    body.clear();
    assert_eq!(encoder.encode(items, &mut body).unwrap(), Skipped::NONE);
    body
}

/// The bytes are those that `prost` makes of the same message: nothing is missing, nothing is longer than it must be,
/// and doubles are the same to the bit, NaN included. They read back as well.
fn check_protobuf<P: Message + Default>(body: &BytesMut, expected: &P) -> Result<(), TestCaseError> {
    prop_assert_eq!(&body[..], &expected.encode_to_vec()[..]);
    let read = P::decode(&body[..]).unwrap();
    prop_assert_eq!(&read.encode_to_vec()[..], &body[..]);
    Ok(())
}

fn check_json<P: DeserializeOwned + PartialEq + Debug>(body: &BytesMut, expected: &P) -> Result<(), TestCaseError> {
    let read: P = serde_json::from_slice(body)
        .map_err(|why| TestCaseError::fail(format!("{why} in {}", String::from_utf8_lossy(body))))?;
    prop_assert_eq!(&read, expected);
    Ok(())
}

/// The reader of the gateway and of the test receiver takes all of it, with every field as it was. Doubles that are no numbers
/// are equal by their names: JSON has no payload of a NaN.
fn check_server<P: Message + Default + Debug>(
    signal: Signal,
    body: &BytesMut,
    expected: &P,
) -> Result<(), TestCaseError> {
    let read = read_json(signal, body).unwrap();
    prop_assert_eq!((read.refused, &*read.why), (0, ""));
    let read = P::decode(&*read.protobuf).unwrap();
    prop_assert_eq!(format!("{read:?}"), format!("{expected:?}"));
    Ok(())
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn logs_in_protobuf(records in vec(any::logs::record(Doubles::All), 0..6)) {
        let encoder = LogsEncoder::builder().build().unwrap();
        check_protobuf(&body(&encoder, &records), &any::logs::proto_request(&records))?;
    }

    #[test]
    fn traces_in_protobuf(spans in vec(any::traces::span(Doubles::All), 0..4)) {
        let encoder = TracesEncoder::builder().build().unwrap();
        check_protobuf(&body(&encoder, &spans), &any::traces::proto_request(&spans))?;
    }

    #[test]
    fn metrics_in_protobuf(metrics in vec(any::metrics::metric(Doubles::All), 0..4)) {
        let encoder = MetricsEncoder::builder().build().unwrap();
        check_protobuf(&body(&encoder, &metrics), &any::metrics::proto_request(&metrics))?;
    }

    #[test]
    fn logs_in_json(records in vec(any::logs::record(Doubles::Finite), 1..6)) {
        let encoder = LogsEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
        check_json(&body(&encoder, &records), &any::logs::proto_request(&records))?;
    }

    #[test]
    fn traces_in_json(spans in vec(any::traces::span(Doubles::Finite), 1..4)) {
        let encoder = TracesEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
        check_json(&body(&encoder, &spans), &any::traces::proto_request(&spans))?;
    }

    #[test]
    fn f06_every_field_of_logs_in_json_is_read_by_a_server(records in vec(any::logs::record(Doubles::All), 1..6)) {
        let encoder = LogsEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
        check_server(Signal::Logs, &body(&encoder, &records), &any::logs::proto_request(&records))?;
    }

    #[test]
    fn f06_every_field_of_traces_in_json_is_read_by_a_server(spans in vec(any::traces::span(Doubles::All), 1..4)) {
        let encoder = TracesEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
        check_server(Signal::Traces, &body(&encoder, &spans), &any::traces::proto_request(&spans))?;
    }

    #[test]
    fn f06_every_field_of_metrics_in_json_is_read_by_a_server(metrics in vec(any::metrics::metric(Doubles::All), 1..4)) {
        let encoder = MetricsEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
        check_server(Signal::Metrics, &body(&encoder, &metrics), &any::metrics::proto_request(&metrics))?;
    }

    #[test]
    fn metrics_in_json(metrics in vec(any::metrics::metric(Doubles::Finite), 1..4)) {
        let encoder = MetricsEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
        check_json(&body(&encoder, &metrics), &any::metrics::proto_request(&metrics))?;
    }
}
