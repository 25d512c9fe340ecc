//! Records of a batch are grouped by resource and scope, and keep their order.

use crate::any::{
    self,
    values::{Doubles, attributes, proto_attributes, small, text},
};
use bytes::BytesMut;
use forebay_export::{BodyTooLarge, Encode, Skipped};
use forebay_otlp::{
    AnyValue, AsLogRecord, AsResource, AsScope, LogRecord, LogRecordWriter, LogsEncoder, MAX_DEPTH, Protocol, Resource,
    Scope,
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::InstrumentationScope, logs::v1 as proto,
    resource::v1::Resource as ProtoResource,
};
use proptest::{collection::vec, option, prelude::*, sample};
use prost::Message;

#[derive(Clone, Debug)]
struct Sent {
    record: LogRecord,
    resource: Option<Resource>,
    scope: Option<Scope>,
}

impl AsLogRecord for Sent {
    fn record<W: LogRecordWriter>(&self, w: &mut W) {
        self.record.record(w);
    }

    fn scope(&self) -> Option<impl AsScope> {
        self.scope.as_ref()
    }

    fn resource(&self) -> Option<impl AsResource> {
        self.resource.as_ref()
    }
}

fn resource() -> impl Strategy<Value = Resource> {
    (attributes(Doubles::Finite), small(), text()).prop_map(|(attributes, dropped, schema_url)| {
        let mut resource = Resource::new().schema_url(schema_url);
        resource.attributes = attributes;
        resource.dropped_attributes_count = dropped;
        resource
    })
}

fn scope() -> impl Strategy<Value = Scope> {
    let fields = (text(), text(), attributes(Doubles::Finite), small(), text());
    fields.prop_map(|(name, version, attributes, dropped, schema_url)| {
        let mut scope = Scope::new(name).version(version).schema_url(schema_url);
        scope.attributes = attributes;
        scope.dropped_attributes_count = dropped;
        scope
    })
}

/// Few origins, so that they repeat; some records leave theirs to the encoder.
fn batch() -> impl Strategy<Value = Vec<Sent>> {
    (vec(resource(), 1..3), vec(scope(), 1..4)).prop_flat_map(|(resources, scopes)| {
        let sent = (
            any::<u64>(),
            option::weighted(0.8, sample::select(resources)),
            option::weighted(0.8, sample::select(scopes)),
        );
        vec(sent, 1..20).prop_map(|sent| {
            let number = |(at, (id, resource, scope)): (i64, _)| Sent {
                record: LogRecord::new(at).time_unix_nano(id),
                resource,
                scope,
            };
            (0..).zip(sent).map(number).collect()
        })
    })
}

type ScopeGroups = Vec<(Option<Scope>, Vec<proto::LogRecord>)>;

/// Puts each record where its like went before, searching the plain way.
fn expected(sent: &[Sent], own: &(Option<Resource>, Option<Scope>)) -> ExportLogsServiceRequest {
    let mut groups: Vec<(Option<Resource>, ScopeGroups)> = Vec::new();
    for Sent { record, resource, scope } in sent {
        if !groups.iter().any(|(known, _)| known == resource) {
            groups.push((resource.clone(), Vec::new()));
        }
        let (_, scopes) = groups.iter_mut().find(|(known, _)| known == resource).unwrap();
        if !scopes.iter().any(|(known, _)| known == scope) {
            scopes.push((scope.clone(), Vec::new()));
        }
        let (_, records) = scopes.iter_mut().find(|(known, _)| known == scope).unwrap();
        records.push(any::logs::proto_record(record));
    }
    let proto_scope = |(scope, log_records): (Option<Scope>, _)| {
        let scope = scope.or_else(|| own.1.clone());
        proto::ScopeLogs {
            schema_url: scope.as_ref().map(|scope| scope.schema_url.to_string()).unwrap_or_default(),
            scope: scope.map(|scope| InstrumentationScope {
                name: scope.name.to_string(),
                version: scope.version.to_string(),
                attributes: proto_attributes(&scope.attributes),
                dropped_attributes_count: scope.dropped_attributes_count,
            }),
            log_records,
        }
    };
    let proto_resource = |(resource, scopes): (Option<Resource>, Vec<_>)| {
        let resource = resource.or_else(|| own.0.clone());
        proto::ResourceLogs {
            schema_url: resource.as_ref().map(|resource| resource.schema_url.to_string()).unwrap_or_default(),
            resource: resource.map(|resource| ProtoResource {
                attributes: proto_attributes(&resource.attributes),
                dropped_attributes_count: resource.dropped_attributes_count,
                entity_refs: Vec::new(),
            }),
            scope_logs: scopes.into_iter().map(proto_scope).collect(),
        }
    };
    ExportLogsServiceRequest { resource_logs: groups.into_iter().map(proto_resource).collect() }
}

fn encoder(protocol: Protocol, own: &(Option<Resource>, Option<Scope>)) -> LogsEncoder {
    let mut builder = LogsEncoder::builder().protocol(protocol);
    if let Some(resource) = &own.0 {
        builder = builder.resource(resource.clone());
    }
    if let Some(scope) = &own.1 {
        builder = builder.scope(scope.clone());
    }
    builder.build().unwrap()
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn records_are_grouped_without_reordering(sent in batch(), own in (option::of(resource()), option::of(scope()))) {
        let expected = expected(&sent, &own);
        let [mut protobuf, mut json] = [BytesMut::new(), BytesMut::new()];
        encoder(Protocol::HttpProtobuf, &own).encode(&sent, &mut protobuf).unwrap();
        encoder(Protocol::HttpJson, &own).encode(&sent, &mut json).unwrap();
        prop_assert_eq!(&protobuf[..], &expected.encode_to_vec()[..]);
        prop_assert_eq!(&serde_json::from_slice::<ExportLogsServiceRequest>(&json).unwrap(), &expected);
    }
}

#[test]
fn a_scope_that_cannot_be_encoded_costs_only_its_records() {
    let too_deep = (0..=MAX_DEPTH).fold(AnyValue::Empty, |inner, _| AnyValue::Array(vec![inner]));
    let bad = Scope::new("bad").attribute("deep", too_deep);
    let of = |at: i64, scope: &Scope| Sent { record: LogRecord::new(at), resource: None, scope: Some(scope.clone()) };
    let good = Scope::new("good");
    let sent = [of(0, &good), of(1, &bad), of(2, &good), of(3, &bad)];

    for protocol in Protocol::ALL {
        let mut body = BytesMut::new();
        let skipped = encoder(protocol, &(None, None)).encode(&sent, &mut body).unwrap();
        assert_eq!(skipped, Skipped(vec![1, 3]));
        let read = match protocol {
            Protocol::HttpProtobuf | Protocol::Grpc => ExportLogsServiceRequest::decode(body).unwrap(),
            _ => serde_json::from_slice(&body).unwrap(),
        };
        assert_eq!(read, expected(&[sent[0].clone(), sent[2].clone()], &(None, None)));
    }
}

#[test]
fn skipped_records_are_listed_in_the_order_of_the_batch() {
    let too_deep = (0..=MAX_DEPTH).fold(AnyValue::Empty, |inner, _| AnyValue::Array(vec![inner]));
    let of = |body: AnyValue, scope: Scope| Sent { record: LogRecord::new(body), resource: None, scope: Some(scope) };
    let sent = [
        of(1.into(), Scope::new("a")),
        of(too_deep.clone(), Scope::new("b")),
        of(too_deep.clone(), Scope::new("a")),
        of(1.into(), Scope::new("bad").attribute("deep", too_deep.clone())),
        of(too_deep, Scope::new("b")),
    ];
    let mut body = BytesMut::new();
    let skipped = encoder(Protocol::HttpProtobuf, &(None, None)).encode(&sent, &mut body).unwrap();
    assert_eq!(skipped, Skipped(vec![1, 2, 3, 4]));
}

#[test]
fn a_batch_that_is_too_large_is_given_up_at_the_first_group_that_does_not_fit() {
    for protocol in Protocol::ALL {
        let encoder = LogsEncoder::builder().protocol(protocol).max_request_bytes(5_000).build().unwrap();
        let sent = |at: usize| Sent {
            record: LogRecord::new("x".repeat(1_000)),
            resource: at.is_multiple_of(2).then(|| Resource::new().attribute("at", format!("{at}"))),
            scope: Some(Scope::new(format!("scope {at}"))),
        };
        let mut body = BytesMut::new();
        let error = encoder.encode(&(0..1_000).map(sent).collect::<Vec<_>>(), &mut body).unwrap_err();
        assert_eq!(error.downcast_ref::<BodyTooLarge>().unwrap().fits(), 4);
        assert!(body.is_empty() && body.capacity() < 20_000, "{} bytes for 5,000", body.capacity());
    }
}

#[test]
fn a_thousand_scopes_in_one_batch_are_a_thousand_groups() {
    let sent: Vec<Sent> = (0..3000_i64)
        .map(|at| Sent {
            record: LogRecord::new(at),
            resource: None,
            scope: Some(Scope::new(format!("scope {}", at % 1000))),
        })
        .collect();
    let mut body = BytesMut::new();
    encoder(Protocol::HttpProtobuf, &(None, None)).encode(&sent, &mut body).unwrap();
    let read = ExportLogsServiceRequest::decode(body).unwrap();
    assert_eq!(read, expected(&sent, &(None, None)));
    assert_eq!(read.resource_logs[0].scope_logs.len(), 1000);
}
