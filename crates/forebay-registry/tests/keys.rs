//! What is one endpoint, and what is none.

#![cfg(not(any(loom, shuttle)))]

use forebay_registry::{EndpointError, Endpoints, Identity};
use proptest::prelude::*;

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
    let knob = |builder: forebay_registry::EndpointsBuilder| builder.build().unwrap_err().knob();
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
