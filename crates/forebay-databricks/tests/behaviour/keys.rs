//! What is one endpoint, and what is none.

use forebay_core::BoxError;
use forebay_databricks::{EndpointError, EndpointKey, Endpoints, Identity};
use forebay_registry::Registry;
use proptest::prelude::*;
use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

fn origin(written: &str) -> Result<String, EndpointError> {
    Endpoints::default().key(written, Identity::anonymous()).map(|key| key.origin().to_owned())
}

#[test]
fn g02_what_is_no_endpoint_is_refused_by_its_fault() {
    for (written, error) in [
        ("https://user:hunter2@db.example", EndpointError::UserInfo),
        ("user@db.example", EndpointError::UserInfo),
        ("https://user:hunter2@", EndpointError::UserInfo),
        ("1ttps://db.example", EndpointError::Scheme),
        ("://db.example", EndpointError::Scheme),
        ("ht tps://db.example", EndpointError::Scheme),
        ("", EndpointError::Host),
        ("   ", EndpointError::Host),
        ("https://", EndpointError::Host),
        ("https:///path", EndpointError::Host),
        (".", EndpointError::Host),
        ("db..example", EndpointError::Host),
        ("db.example..", EndpointError::Host),
        ("db example", EndpointError::Host),
        ("db.example\r\nHost: evil", EndpointError::Host),
        ("db.exämple", EndpointError::Host),
        ("db%2eexample", EndpointError::Host),
        ("https://db.example\\evil", EndpointError::Host),
        ("[::1", EndpointError::Host),
        ("[db.example]", EndpointError::Host),
        ("[fe80::1%eth0]", EndpointError::Host),
        ("::1", EndpointError::Host),
        ("db.example:0", EndpointError::Port),
        ("db.example:65536", EndpointError::Port),
        ("db.example:+443", EndpointError::Port),
        ("db.example:443:443", EndpointError::Port),
        ("[::1]443", EndpointError::Port),
        ("nats://db.example", EndpointError::NoPort),
    ] {
        assert_eq!(origin(written), Err(error), "{written:?}");
        assert!(!error.to_string().contains("hunter2"));
    }
    assert_eq!(origin(&"a".repeat(64)), Err(EndpointError::Host));
    assert_eq!(origin(&"a.".repeat(130)), Err(EndpointError::Host));
}

#[test]
fn g02_the_parts_of_a_key_are_readable() {
    let key = Endpoints::default().key("WSS://[0:0::1]:8443/x", Identity::named("tenant-7")).unwrap();
    assert_eq!((key.scheme(), key.host(), key.port(), key.authority()), ("wss", "[::1]", 8443, "[::1]:8443"));
    assert_eq!(key.to_string(), "wss://[::1]:8443");
    assert_eq!(key.identity().name(), Some("tenant-7"));
}

#[test]
fn g02_aliases_are_checked_when_they_are_given() {
    let knob = |builder: forebay_databricks::EndpointsBuilder| builder.build().unwrap_err().knob();
    assert_eq!(knob(Endpoints::builder().alias("a b", "c")), "alias");
    assert_eq!(knob(Endpoints::builder().alias("a", "b").alias("b", "c")), "alias");
    assert_eq!(knob(Endpoints::builder().alias("a", "b").alias("A.", "c")), "alias");
    assert_eq!(knob(Endpoints::builder().default_port("nats", 0)), "default_port");
    assert_eq!(knob(Endpoints::builder().default_port("n ats", 1)), "default_port");
    assert_eq!(knob(Endpoints::builder().default_scheme("nats")), "default_scheme");
    let endpoints =
        Endpoints::builder().default_port("nats", 4222).default_scheme("nats").alias("Q.", "queue").build().unwrap();
    assert_eq!(endpoints.key("q", Identity::anonymous()).unwrap().origin(), "nats://queue:4222");
    assert!(Endpoints::builder().alias("a", "b").alias("A", "B.").build().is_ok(), "twice the same");
    assert!(Endpoints::builder().alias("a", "a").build().is_ok(), "it stands for itself");
}

#[tokio::test]
async fn g02_aliases_ports_dots_and_case_are_one_key() {
    let endpoints = Endpoints::builder().alias("db", "db.example").default_port("nats", 4222).build().unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let registry = Registry::builder(move |_: EndpointKey| ready(Ok::<_, BoxError>(count.fetch_add(1, SeqCst))));
    let registry = registry.build().unwrap();
    let mut leases = Vec::new();
    for written in [
        "https://db.example",
        "HTTPS://DB.Example.:443/sql?warehouse=1#x",
        " db.example ",
        "db",
        "DB.:443",
        "db.example:",
        "https://db.example/sql@home",
    ] {
        leases.push(registry.acquire(&endpoints.key(written, Identity::anonymous()).unwrap()).await.unwrap());
    }
    assert_eq!(made.load(SeqCst), 1);
    for (written, origin) in [
        ("http://db.example", "http://db.example:80"),
        ("https://db.example:8443", "https://db.example:8443"),
        ("http://db.example:443", "http://db.example:443"),
        ("nats://q", "nats://q:4222"),
        ("[0:0:0:0:0:0:0:1]:8080", "https://[::1]:8080"),
    ] {
        let key = endpoints.key(written, Identity::anonymous()).unwrap();
        assert_eq!(key.origin(), origin);
        leases.push(registry.acquire(&key).await.unwrap());
    }
    assert_eq!(made.load(SeqCst), 6);
}

#[tokio::test]
async fn g02_the_identity_is_part_of_the_key() {
    let endpoints = Endpoints::default();
    let registry =
        Registry::builder(|key: EndpointKey| ready(Ok::<_, BoxError>(key.identity().clone()))).build().unwrap();
    let (ours, theirs) = (Identity::of_secret("our token"), Identity::of_secret("their token"));
    let mut leases = Vec::new();
    for identity in [&ours, &theirs, &Identity::anonymous(), &Identity::named("tenant-7")] {
        let key = endpoints.key("db.example", identity.clone()).unwrap();
        let lease = registry.acquire(&key).await.unwrap();
        assert_eq!(*lease, *identity, "a client of another identity was handed out");
        leases.push(lease);
    }
    assert_eq!(registry.snapshot().entries.len(), 4);
}

#[tokio::test]
async fn g07_an_unauthenticated_first_user_does_not_pin_the_host() {
    let endpoints = Endpoints::default();
    let registry = Registry::builder(|key: EndpointKey| {
        ready(Ok::<_, BoxError>(key.identity().name().unwrap_or("nobody").to_owned()))
    })
    .build()
    .unwrap();
    // It is never released, as in the failure log of the Python driver.
    let nobody = registry.acquire(&endpoints.key("db.example", Identity::anonymous()).unwrap()).await.unwrap();
    let tenant = registry.acquire(&endpoints.key("db.example", Identity::named("tenant-7")).unwrap()).await.unwrap();
    assert_eq!((nobody.as_str(), tenant.as_str()), ("nobody", "tenant-7"));
}

proptest! {
    /// A key is its own normal form, and no text brings the parser down.
    #[test]
    fn g02_a_key_is_its_own_normal_form(written in "(https?://)?[a-zA-Z0-9.:/@\\[\\]-]{0,20}") {
        if let Ok(once) = origin(&written) {
            prop_assert_eq!(origin(&once), Ok(once.clone()));
        }
    }

    #[test]
    fn no_text_brings_the_parser_down(written in any::<String>()) {
        if let Ok(origin) = origin(&written) {
            prop_assert!(origin.is_ascii() && !origin.contains(char::is_whitespace) && !origin.contains('@'));
        }
    }
}
