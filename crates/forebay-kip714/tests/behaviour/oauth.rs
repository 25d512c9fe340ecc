//! Tokens of OAuth 2 against a broker that asks for one.
//!
//! Real sockets and a paused clock do not go together, so time is real here, and short.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use forebay_core::{BoxError, ConfigError};
use forebay_kip714::{
    ClientBuilder, GetTelemetrySubscriptionsRequest, Kip714Client, TelemetryRequest,
    tcp::{OAuthToken, Sasl, TcpTransport},
};
use forebay_otlp::{Metric, MetricData, NumberPoint};
use forebay_testkit::kafka::{Broker, BrokerLog, Login, Subscription};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::timeout;
use tower::ServiceExt;

fn builder() -> ClientBuilder {
    Kip714Client::builder()
        .metrics(|out| out.push(Metric::new("a", MetricData::Gauge(vec![NumberPoint::new(0, 1.0)]))))
        .request_timeout(Duration::from_secs(5))
}

async fn until(broker: &Broker, enough: impl FnMut(&BrokerLog) -> bool) -> BrokerLog {
    timeout(Duration::from_secs(20), broker.until(enough)).await.unwrap()
}

async fn subscribed() -> Broker {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::all().every(Duration::from_millis(100)));
    broker
}

fn ask() -> TelemetryRequest {
    TelemetryRequest::GetSubscriptions(GetTelemetrySubscriptionsRequest::default())
}

#[tokio::test]
async fn a_token_is_fetched_for_each_connection_and_replaced_ahead_of_its_end() {
    let broker = subscribed().await;
    broker.require(Login::OAuthBearer("token-1".into()));
    let fetched = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&fetched);
    let sasl = Sasl::oauth_bearer(move || {
        let number = count.fetch_add(1, Relaxed) + 1;
        async move {
            tokio::task::yield_now().await;
            let token = OAuthToken::new(&format!("token-{number}"))?.extension("logicalCluster", "lkc-1")?;
            Ok::<_, ConfigError>(token.valid_for(Duration::from_millis(500)))
        }
    });
    let transport = TcpTransport::builder().bootstrap(&broker.address()).sasl(sasl).build().unwrap();
    let client = builder().build(transport).unwrap();
    until(&broker, |seen| seen.pushes.len() >= 2).await;
    assert_eq!((broker.seen().logins, fetched.load(Relaxed)), (1, 1));
    // The next token is another one, and is asked for before the first one ends.
    broker.require(Login::OAuthBearer("token-2".into()));
    let seen = until(&broker, |seen| seen.logins >= 2).await;
    let pushes = seen.pushes.len();
    until(&broker, |seen| seen.pushes.len() > pushes).await;
    assert_eq!(client.status().counters.failures, 0);
}

#[tokio::test]
async fn a_token_that_is_refused_or_cannot_be_had_is_said_without_it() {
    type Provide = fn() -> Result<OAuthToken, BoxError>;
    let refused: Provide = || Ok(OAuthToken::new("s3cret-token")?);
    let none: Provide = || Err("the token endpoint is away".into());
    let panics: Provide = || panic!("in the provider");
    for (provide, why) in
        [(refused, "invalid_token"), (none, "the token endpoint is away"), (panics, "in the provider")]
    {
        let broker = subscribed().await;
        broker.require(Login::OAuthBearer("another".into()));
        let sasl = Sasl::oauth_bearer(move || async move { provide() });
        let transport = TcpTransport::builder().bootstrap(&broker.address()).sasl(sasl.clone()).build().unwrap();
        let error = transport.clone().oneshot(ask()).await.unwrap_err();
        let words = format!("{error} {error:?} {sasl:?} {transport:?}");
        assert!(words.contains(why) && words.contains("authentication failed"), "{words}");
        assert!(!words.contains("s3cret-token"), "{words}");
        assert_eq!((broker.seen().logins, broker.seen().connections), (0, 1));
    }
}

/// Panics where it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in the drop of a provider's future");
    }
}

impl std::fmt::Display for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no token")
    }
}

impl std::fmt::Debug for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bomb")
    }
}

impl std::error::Error for Bomb {}

#[tokio::test]
async fn f18_a_fetch_or_an_error_that_panics_when_dropped_costs_one_attempt() {
    for hangs in [true, false] {
        let broker = subscribed().await;
        broker.require(Login::OAuthBearer("token".into()));
        let fetched = Arc::new(AtomicI64::new(0));
        let count = Arc::clone(&fetched);
        let sasl = Sasl::oauth_bearer(move || {
            let first = count.fetch_add(1, Relaxed) == 0;
            async move {
                if first && hangs {
                    let _bomb = Bomb;
                    std::future::pending::<()>().await;
                }
                if first { Err(BoxError::from(Bomb)) } else { Ok(OAuthToken::new("token")?) }
            }
        });
        let transport = TcpTransport::builder().bootstrap(&broker.address()).sasl(sasl);
        let transport = transport.connect_timeout(Duration::from_millis(200)).build().unwrap();
        // The attempt to connect is given up, and what it waited for is dropped; or it ends with the error.
        assert!(transport.clone().oneshot(ask()).await.is_err());
        assert!(transport.clone().oneshot(ask()).await.is_ok(), "the transport goes on");
        assert_eq!(fetched.load(Relaxed), 2);
    }
}
