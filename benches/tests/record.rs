//! The contenders of the whole stack send the same.

use forebay_benches::e2e::record::{SCOPE, SERVICE, hand_request, orders, proto_request};
use forebay_export::Encode;
use forebay_otlp::{LogsEncoder, Resource, Scope};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

#[test]
fn all_contenders_send_the_same() {
    let orders: Vec<_> = orders().take(300).collect();
    let expected = proto_request(&orders);
    let mut hand = Vec::new();
    hand_request(&orders, &mut hand);
    assert_eq!(ExportLogsServiceRequest::decode(&hand[..]).unwrap(), expected);
    let encoder = LogsEncoder::builder()
        .resource(Resource::new().attribute("service.name", SERVICE))
        .scope(Scope::new(SCOPE))
        .build()
        .unwrap();
    let mut ours = Default::default();
    drop(encoder.encode(&orders, &mut ours).unwrap());
    assert_eq!(ExportLogsServiceRequest::decode(&ours[..]).unwrap(), expected);
}
