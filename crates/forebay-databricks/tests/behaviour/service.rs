//! Against the service of the testkit: real sockets, both endpoints, the flag, and faults.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_databricks::{BearerToken, Connect, DriverTelemetry, FeatureFlag, Settings};
use forebay_testkit::{
    databricks::{Flag, TelemetryService},
    receiver::{Disposition, Fault, ResetWhen},
};
use http::StatusCode;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::time::Duration;

type HyperClient = Client<HttpConnector, Full<Bytes>>;

fn telemetry(flag: Option<FeatureFlag>) -> DriverTelemetry {
    let client: HyperClient = Client::builder(TokioExecutor::new()).build_http();
    let settings =
        Settings { backoff_base: Duration::from_millis(1), backoff_jitter: Duration::ZERO, ..Settings::node() };
    let mut builder = DriverTelemetry::builder(client).settings(settings).kill_switch(None).allow_inside();
    if let Some(flag) = flag {
        builder = builder.feature_flag(flag);
    }
    builder.build().unwrap()
}

fn connect(service: &TelemetryService) -> Connect {
    Connect::new(service.address()).session_id("s-1").credentials(BearerToken::new("token").unwrap())
}

#[tokio::test]
async fn both_endpoints_take_logs_and_faults_are_outlived_under_the_same_ids() {
    let service = TelemetryService::start().await.unwrap();
    let busy = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    service.script([busy, Fault::Reset { when: ResetWhen::Processed }]);
    let telemetry = telemetry(None);
    let connection = telemetry.connect(connect(&service)).await;
    connection.operation("CREATE_SESSION", Duration::from_millis(1));
    connection.close().await;
    let open = telemetry.connect(Connect::new(service.address())).await;
    open.operation("CREATE_SESSION", Duration::from_millis(1));
    open.close().await;

    let requests = service.requests();
    let how: Vec<_> = requests.iter().map(|request| (request.authenticated, request.disposition)).collect();
    let taken = [(true, Disposition::Unprocessed), (true, Disposition::Ambiguous), (true, Disposition::Accepted)];
    assert_eq!(how[..3], taken);
    assert_eq!(how[3..], [(false, Disposition::Accepted)]);
    assert_eq!(requests[2].authorization.as_deref(), Some("Bearer token"));
    assert_eq!(
        (requests[0].status, requests[3].authorization.as_deref()),
        (Some(StatusCode::SERVICE_UNAVAILABLE), None)
    );
    let logs = service.logs();
    assert_eq!((logs.len(), &logs[0]["frontend_log_event_id"]), (3, &logs[1]["frontend_log_event_id"]));
}

#[tokio::test]
async fn the_service_says_yes_no_nothing_and_that_a_part_was_taken() {
    for (flag, enabled) in [
        (Flag::On, true),
        (Flag::Off, false),
        (Flag::Missing, false),
        (Flag::Status(StatusCode::INTERNAL_SERVER_ERROR), false),
        (Flag::Body("<html>".to_owned()), false),
    ] {
        let service = TelemetryService::start().await.unwrap();
        service.set_flag(flag.clone());
        service.take_at_most(1);
        let telemetry = telemetry(Some(FeatureFlag::node("1.12.0")));
        let connection = telemetry.connect(connect(&service)).await;
        assert_eq!((connection.is_enabled(), service.flags_asked()), (enabled, 1), "{flag:?}");
        if enabled {
            (0..3).for_each(|_| connection.operation("x", Duration::ZERO));
            connection.flush().await;
            let logs = connection.report().unwrap().logs;
            assert_eq!((logs.delivered, logs.dropped.total()), (1, 2));
        }
    }
}

#[tokio::test]
async fn what_is_no_envelope_of_logs_is_refused() {
    let service = TelemetryService::start().await.unwrap();
    let client: HyperClient = Client::builder(TokioExecutor::new()).build_http();
    for (body, status) in [
        (r#"{"uploadTime":1,"items":[],"protoLogs":["{}"]}"#, 200),
        (r#"{"uploadTime":1,"protoLogs":[]}"#, 200),
        (r#"{"protoLogs":["{}"]}"#, 400),
        (r#"{"uploadTime":1,"protoLogs":[{}]}"#, 400),
        (r#"{"uploadTime":1,"protoLogs":["x"]}"#, 400),
        ("", 400),
    ] {
        let request = http::Request::post(service.address() + "/telemetry-ext").body(Full::from(body)).unwrap();
        assert_eq!(client.request(request).await.unwrap().status(), status, "{body}");
    }
    assert_eq!((service.requests().len(), service.logs().len()), (6, 1));
}
