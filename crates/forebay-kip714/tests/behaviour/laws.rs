//! What of the laws of `tower::Service` applies to the transport.

use forebay_core::{Seen, Verdict};
use forebay_kip714::{
    GetTelemetrySubscriptionsRequest, Kip714Client, TelemetryRequest, TelemetryUnsupported,
    tcp::{Sasl, TcpTransport, TransportError, Trouble},
};
use forebay_testkit::{kafka::Broker, laws};
use tower::{Service, ServiceExt};

fn question() -> TelemetryRequest {
    TelemetryRequest::GetSubscriptions(GetTelemetrySubscriptionsRequest::default())
}

#[test]
fn all_that_is_handed_around_is_send_and_sync() {
    fn check<T: Send + Sync + 'static>() {}
    check::<TcpTransport>();
    check::<Kip714Client>();
    check::<TransportError>();
    check::<Sasl>();
    fn future<T: Send + 'static>() {}
    future::<<TcpTransport as Service<TelemetryRequest>>::Future>();
}

#[tokio::test]
async fn an_error_says_each_thing_once_and_whether_the_broker_has_seen_it() {
    let away = Broker::start().await;
    let address = away.address();
    away.stop().await;
    let transport = TcpTransport::builder().bootstrap(&address).build().unwrap();
    let error = transport.oneshot(question()).await.unwrap_err();
    laws::error_chain_has_one_link_per_sentence(&*error);
    let refused = error.downcast_ref::<TransportError>().unwrap();
    assert_eq!((refused.trouble(), refused.broker()), (&Trouble::Connect, Some(&*address)));
    assert_eq!(Verdict::of(&*error).unwrap().seen(), Seen::No);

    let old = Broker::start().await;
    old.knows_telemetry(false);
    let transport = TcpTransport::builder().bootstrap(&old.address()).build().unwrap();
    let error = transport.oneshot(question()).await.unwrap_err();
    laws::error_chain_has_one_link_per_sentence(&*error);
    assert!(error.is::<TelemetryUnsupported>());
}

#[tokio::test]
async fn readiness_is_stable_and_clones_share_one_connection() {
    let broker = Broker::start().await;
    let mut transport = TcpTransport::builder().bootstrap(&broker.address()).build().unwrap();
    let mut clone = transport.clone();
    laws::readiness_is_stable(transport.clone()).await;
    transport.ready().await.unwrap();
    clone.ready().await.unwrap();
    transport.ready().await.unwrap();
    transport.call(question()).await.unwrap();
    clone.call(question()).await.unwrap();
    assert_eq!(broker.seen().connections, 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_no_response_for_the_next_one() {
    use forebay_testkit::kafka::{Api, Fault};
    let broker = Broker::start().await;
    broker.script(Api::Get, [Fault::Silence]);
    let mut transport = TcpTransport::builder().bootstrap(&broker.address()).build().unwrap();
    let call = transport.ready().await.unwrap().call(question());
    broker.until(|seen| seen.gets.len() == 1).await;
    drop(call);
    transport.ready().await.unwrap().call(question()).await.unwrap();
    assert_eq!(broker.seen().connections, 2);
}

#[test]
fn a_transport_that_cannot_be_is_refused() {
    let build =
        |servers: &str| TcpTransport::builder().bootstrap(servers).build().map(drop).map_err(|error| error.knob());
    for servers in ["", " , ", "host", "host:", ":9092", "host:0", "host:99999", "host:9092,other"] {
        assert_eq!(build(servers), Err("bootstrap"), "{servers}");
    }
    // All is well but the runtime.
    assert_eq!(build("[::1]:9092"), Err("build"));
    let odd = TcpTransport::builder().bootstrap("host:9092").software("-forebay", "1").build();
    assert_eq!(odd.unwrap_err().knob(), "software");
}
