//! What is wrong is refused when the exporter is built, or the endpoints are set.

use crate::servers::{A, B, Builder, Servers, builder};
use forebay_export::{Adaptive, Balance, Credential, Destination, Endpoints, Exporter, Failover};
use std::{future::ready, time::Duration};

fn knob(builder: Builder<()>) -> String {
    let error = builder.client(Servers::default().client()).build().unwrap_err();
    assert!(!error.to_string().contains("hunter"), "{error}");
    error.knob().to_owned()
}

fn of(endpoints: impl Into<Endpoints>) -> String {
    knob(builder(endpoints))
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_cannot_be_are_refused_by_knob() {
    let none: [&str; 0] = [];
    assert_eq!(of(Failover::new(none)), "endpoints");
    assert_eq!(of(Balance::new((0..257).map(|host| format!("https://h{host}.example/")))), "endpoints");
    assert_eq!(of(Balance::new([A, B, A])), "endpoints");
    assert_eq!(of(Balance::new([Destination::new(A).name("x"), Destination::new(B).name("x")])), "endpoints");
    assert_eq!(of(Balance::new([A, "ftp://hunter2@b/"])), "endpoint");
    assert_eq!(of(Balance::new([Destination::new(A).weight(0)])), "weight");
    assert_eq!(of(Balance::new([Destination::new(A).weight(1001)])), "weight");
    assert_eq!(of(Balance::new([Destination::new(A).max_in_flight(0)])), "max_in_flight");
    assert_eq!(of(Balance::new([Destination::new(A).header("content-length", "3")])), "header");
    assert_eq!(of(Balance::new([A]).common_header("a b", "hunter2")), "header");
    assert_eq!(of(Failover::new([A]).return_after(Duration::from_secs(86_401))), "return_after");
    let open = "http://collector.example/";
    assert_eq!(of(Balance::new([Destination::new(open).header("x-api-key", "hunter2")])), "endpoints");
    assert_eq!(of(Balance::new([Destination::new(open).auth(|| ready(Credential::bearer("hunter2")))])), "endpoints");
    assert_eq!(of(Balance::new([open]).common_header("authorization", "hunter2")), "endpoints");
    assert_eq!(knob(builder(Balance::new([A])).header("x-api-key", "hunter2")), "header");
    assert_eq!(knob(builder(Balance::new([A])).auth(|| ready(Credential::bearer("hunter2")))), "auth");
    assert_eq!(knob(builder(Balance::new([A])).fallback(B)), "fallback");
}

#[tokio::test(start_paused = true)]
async fn what_is_allowed_is_built_and_a_refused_change_changes_nothing() {
    let servers = Servers::default();
    let open = Destination::new("http://collector.example/").header("x-api-key", "hunter2");
    let adaptive = Adaptive::builder().ceiling(8).build().unwrap();
    let endpoints = Balance::new([open, Destination::new(A).max_in_flight(adaptive)]);
    let exporter = builder(endpoints).allow_plaintext_credentials().client(servers.client()).build().unwrap();
    let handle = exporter.handle();
    assert_eq!(handle.set_endpoints(Balance::new([A, A])).unwrap_err().knob(), "endpoints");
    assert_eq!(handle.set_endpoint(A).unwrap_err().knob(), "set_endpoint");
    assert_eq!(handle.set_header("x-api-key", "hunter2").unwrap_err().knob(), "set_header");
    assert_eq!(handle.endpoints().len(), 2);

    let one = Exporter::builder().endpoint(A).encoder(crate::servers::Numbers).client(servers.client()).build();
    let one = one.unwrap();
    assert!(one.handle().endpoints().is_empty());
    assert_eq!(one.handle().set_endpoints(Balance::new([A])).unwrap_err().knob(), "set_endpoints");
}
