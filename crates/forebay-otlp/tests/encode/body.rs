//! The buffer: what is in it stays, it is never longer than allowed, and the same batch always gives the same bytes.

use crate::any::{self, values::Doubles};
use bytes::BytesMut;
use forebay_core::{Advice, DropReason, Seen, Verdict};
use forebay_export::{BodyTooLarge, Encode};
use forebay_otlp::{AsLogRecord, LogRecord, LogRecordWriter, LogsEncoder, Protocol, Resource, Scope};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

fn encoder(protocol: Protocol, max_request_bytes: usize) -> LogsEncoder {
    LogsEncoder::builder()
        .protocol(protocol)
        .scope(Scope::new("scope"))
        .max_request_bytes(max_request_bytes)
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn what_was_in_the_buffer_stays_in_front(records in vec(any::logs::record(Doubles::All), 0..4)) {
        for protocol in Protocol::ALL {
            let encoder = encoder(protocol, 1 << 20);
            let (mut alone, mut behind) = (BytesMut::new(), BytesMut::from(&b"frame"[..]));
            encoder.encode(&records, &mut alone).unwrap();
            encoder.encode(&records, &mut behind).unwrap();
            prop_assert_eq!(&behind[..5], b"frame");
            prop_assert_eq!(&behind[5..], &alone[..]);
        }
    }

    #[test]
    fn r10_a_batch_always_gives_the_same_bytes(batches in vec(vec(any::logs::record(Doubles::All), 0..4), 1..4)) {
        for protocol in Protocol::ALL {
            let (used, mut body) = (encoder(protocol, 1 << 20), BytesMut::new());
            for batch in &batches {
                let mut fresh = BytesMut::new();
                encoder(protocol, 1 << 20).encode(batch, &mut fresh).unwrap();
                body.clear();
                used.encode(batch, &mut body).unwrap();
                prop_assert_eq!(&body, &fresh, "what an encoder learnt of sizes must not show");
            }
        }
    }

    #[test]
    fn no_body_is_larger_than_allowed_and_what_fits_fits(
        records in vec(any::logs::record(Doubles::All), 1..8),
        room in 20_usize..3000,
    ) {
        for protocol in Protocol::ALL {
            let encoder = encoder(protocol, room + 100);
            let mut body = BytesMut::new();
            match encoder.encode(&records, &mut body) {
                Ok(_) => prop_assert!(body.len() <= room + 100),
                Err(error) => {
                    let too_large = error.downcast_ref::<BodyTooLarge>().unwrap();
                    prop_assert!(body.is_empty());
                    prop_assert!(too_large.fits() < records.len(), "a part is smaller than the whole");
                    let mut full = BytesMut::new();
                    self::encoder(protocol, usize::MAX).encode(&records, &mut full).unwrap();
                    prop_assert!(full.len() > room + 100, "the whole would have fitted");
                }
            }
        }
    }
}

#[test]
fn a_body_that_would_be_too_large_says_how_much_fits() {
    let records: Vec<LogRecord> = (0..100).map(|at| LogRecord::new("x".repeat(1000)).attribute("at", at)).collect();
    for protocol in Protocol::ALL {
        let error = encoder(protocol, 10_500).encode(&records, &mut BytesMut::new()).unwrap_err();
        let too_large = error.downcast_ref::<BodyTooLarge>().unwrap();
        assert_eq!(too_large.limit(), 10_500);
        assert!((8..=10).contains(&too_large.fits()), "{too_large}");
        let verdict = Verdict::of(&*error).unwrap();
        assert_eq!(
            (verdict.reason(), verdict.seen(), verdict.advice()),
            (DropReason::TooLarge, Seen::No, Advice::Never)
        );

        let mut body = BytesMut::new();
        encoder(protocol, 10_500).encode(&records[..too_large.fits()], &mut body).unwrap();
        assert!(body.len() <= 10_500);
        let alone = encoder(protocol, 900).encode(&records[..1], &mut body).unwrap_err();
        assert_eq!(alone.downcast_ref::<BodyTooLarge>().unwrap().fits(), 0);
    }
}

#[test]
fn what_stands_behind_the_records_counts_too() {
    let records = [LogRecord::new("one of two"), LogRecord::new("the other of two")];
    let scope = Scope::new("scope").schema_url("https://opentelemetry.io/schemas/1.27.0");
    for protocol in Protocol::ALL {
        let with = |max_request_bytes: usize| {
            let builder = LogsEncoder::builder().protocol(protocol).scope(scope.clone());
            builder.max_request_bytes(max_request_bytes).build().unwrap()
        };
        let mut full = BytesMut::new();
        with(1000).encode(&records, &mut full).unwrap();
        let mut body = BytesMut::new();
        with(full.len()).encode(&records, &mut body).unwrap();
        assert_eq!(body, full);
        for less in 1..=30 {
            let error = with(full.len() - less).encode(&records, &mut BytesMut::new()).unwrap_err();
            assert!(error.downcast_ref::<BodyTooLarge>().unwrap().fits() < 2, "{protocol}, {less} less");
        }
    }
}

#[test]
fn one_giant_does_not_make_the_next_batch_reserve_for_giants() {
    let encoder = LogsEncoder::builder().build().unwrap();
    encoder.encode(&[LogRecord::new("x".repeat(1 << 20))], &mut BytesMut::new()).unwrap();
    let small: Vec<LogRecord> = (0..512).map(|_| LogRecord::new("x")).collect();
    let mut body = BytesMut::new();
    encoder.encode(&small, &mut body).unwrap();
    assert!(body.capacity() < 2 << 20, "{} bytes reserved for {}", body.capacity(), body.len());
}

#[test]
fn a_limit_that_the_resource_alone_exceeds_is_refused() {
    let builder = LogsEncoder::builder().resource(Resource::new().attribute("service.name", "shop"));
    let error = builder.max_request_bytes(1).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`max_request_bytes` is 1; allowed: more than the 26 bytes of the resource and the scope"
    );
}

#[test]
fn negative_zero_is_sent_where_zero_is_left_out() {
    use forebay_otlp::{Metric, MetricData, MetricsEncoder, Quantile, SummaryPoint};
    let mut point = SummaryPoint::new(0);
    point.quantiles = vec![Quantile { quantile: 0.0, value: -0.0 }];
    let mut body = BytesMut::new();
    let metrics = [Metric::new("m", MetricData::Summary(vec![point]))];
    MetricsEncoder::builder().build().unwrap().encode(&metrics, &mut body).unwrap();
    assert_eq!(&body[body.len() - 11..], b"\x32\x09\x11\0\0\0\0\0\0\0\x80");
    ExportMetricsServiceRequest::decode(body).unwrap();
}

#[test]
fn a_record_that_panics_leaves_a_usable_encoder_and_an_empty_body() {
    struct Bomb;

    impl AsLogRecord for Bomb {
        fn record<W: LogRecordWriter>(&self, w: &mut W) {
            w.body("half");
            panic!("boom");
        }
    }

    let encoder = LogsEncoder::builder().build().unwrap();
    let mut body = BytesMut::new();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| encoder.encode(&[Bomb], &mut body)));
    assert!(caught.is_err());
    assert!(body.is_empty());
    encoder.encode(&[LogRecord::new("whole")], &mut body).unwrap();
    assert_eq!(ExportLogsServiceRequest::decode(body).unwrap().resource_logs.len(), 1);
}
