//! What a server says of an export.

use forebay::{
    core::{Fate, Settlement},
    export::{Encode, ServerText},
    otlp::{LogRecord, LogsEncoder, Metric, MetricsEncoder, Protocol, Span, TracesEncoder},
};
use http::{HeaderValue, Response, header::CONTENT_TYPE};

const ITEMS: usize = 10;
const MEDIA_TYPES: [&str; 4] = ["application/x-protobuf", "application/json", "application/grpc", "text/html"];

pub(crate) fn check(data: &[u8]) {
    for protocol in Protocol::ALL {
        all::<LogRecord>(&LogsEncoder::builder().protocol(protocol).build().unwrap(), data);
        all::<Span>(&TracesEncoder::builder().protocol(protocol).build().unwrap(), data);
        all::<Metric>(&MetricsEncoder::builder().protocol(protocol).build().unwrap(), data);
    }
}

fn all<T>(encoder: &impl Encode<T>, body: &[u8]) {
    for media_type in MEDIA_TYPES {
        let value = HeaderValue::from_static(media_type);
        let mut head = Response::new(()).into_parts().0;
        head.headers.insert(CONTENT_TYPE, value.clone());
        // The server has the items: whatever it says, they are delivered or refused, and not sent again.
        match encoder.settle(&head, body, ITEMS) {
            Settlement::All(fate) => assert_eq!(fate, Fate::Delivered),
            Settlement::Partial { dropped, .. } => assert!((1..=ITEMS).contains(&dropped), "{dropped}"),
            other => panic!("{other:?}"),
        }
        let text = encoder.explain(Some(&value), body);
        assert!(text.as_str().len() <= ServerText::MAX_LEN && !text.as_str().contains(char::is_control), "{text:?}");
    }
}
