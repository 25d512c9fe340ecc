//! The feature flag: how often the service is asked, and under which credentials.

use crate::common::{Answer, Fake, HOST, advance, build, connect, flag};
use forebay_core::BoxError;
use forebay_databricks::{Connect, Credentials, DriverTelemetry, FeatureFlag, Identity};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use std::time::Duration;

/// Credentials of one identity, which send a header of their own and may be of no use.
struct Named(&'static str, bool);

impl Credentials for Named {
    fn identity(&self) -> Identity {
        Identity::named("one")
    }

    fn authorize(&self) -> BoxFuture<'_, Result<HeaderMap, BoxError>> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(self.0))]);
        Box::pin(std::future::ready(if self.1 { Ok(headers) } else { Err("expired".into()) }))
    }
}

fn with_flag(fake: &Fake) -> DriverTelemetry {
    build(DriverTelemetry::builder(fake.clone()).feature_flag(FeatureFlag::node("1"))).0
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_off_or_in_trouble_is_not_asked_at_every_connect() {
    for (response, holds) in [
        (flag("false", 900), 900),
        (flag("false", 60), 60),
        (Answer::Body(200, r#"{"flags":[]}"#.to_owned()), 900),
        (Answer::Status(500), 60),
        (Answer::Status(403), 60),
        (Answer::Error("reset"), 60),
        (Answer::Body(200, "<html>".to_owned()), 60),
    ] {
        let fake = Fake::new();
        fake.flags_otherwise(response.clone());
        let telemetry = with_flag(&fake);
        for _ in 0..10 {
            let connection = telemetry.connect(connect()).await;
            assert!(!connection.is_enabled());
            connection.close().await;
        }
        assert_eq!(fake.asked().len(), 1, "{response:?}");
        advance(Duration::from_secs(holds - 1)).await;
        drop(telemetry.connect(connect()).await);
        assert_eq!(fake.asked().len(), 1, "{response:?} still holds");
        advance(Duration::from_secs(2)).await;
        drop(telemetry.connect(connect()).await);
        assert_eq!(fake.asked().len(), 2, "{response:?} is over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flag_is_kept_while_no_connection_is_open_and_each_host_has_its_own() {
    let fake = Fake::new();
    let telemetry = with_flag(&fake);
    for _ in 0..3 {
        let connection = telemetry.connect(connect()).await;
        assert!(connection.is_enabled());
        connection.close().await;
        advance(Duration::from_secs(200)).await;
    }
    assert_eq!(fake.asked().len(), 1);
    drop(telemetry.connect(Connect::new("other.example")).await);
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_flag_is_asked_for_under_the_credentials_of_a_connection_that_is_open() {
    let fake = Fake::new();
    let telemetry = with_flag(&fake);
    let connect = |name, usable| telemetry.connect(Connect::new(HOST).credentials(Named(name, usable)));
    let first = connect("Bearer first", true).await;
    assert!(first.is_enabled());
    first.close().await;
    advance(Duration::from_secs(901)).await;
    // Nothing of the first one is used any more.
    let second = connect("Bearer second", true).await;
    assert!(second.is_enabled());
    advance(Duration::from_secs(901)).await;
    // Of those that are open, the first that can be used.
    let unusable = connect("Bearer third", false).await;
    assert!(unusable.is_enabled());
    let under: Vec<_> = fake.asked().iter().map(|asked| asked.headers["authorization"].clone()).collect();
    assert_eq!(under, ["Bearer first", "Bearer second", "Bearer second"]);
}
