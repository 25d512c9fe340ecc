//! Where to send to.

use forebay::export::{Endpoint, EndpointGuard};
use std::net::IpAddr;

pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            let shown = format!("{endpoint} {endpoint:?}");
            assert!(!shown.contains(['?', '#']) && !shown.contains(char::is_control), "{shown:?}");
            assert!(!endpoint.uri().authority().unwrap().as_str().contains('@'));
            let again: Endpoint = endpoint.to_string().parse().unwrap();
            assert_eq!(again.uri().authority(), endpoint.uri().authority());
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }

    let guard = EndpointGuard::new();
    match guard.check(&text) {
        Ok(endpoint) => {
            let uri = endpoint.uri();
            assert_eq!(uri.scheme_str(), Some("https"));
            assert!(uri.query().is_none() && !text.contains('\\'));
            let host = uri.host().unwrap().trim_matches(['[', ']']).trim_end_matches('.');
            assert!(host.contains(['.', ':']) && !host.eq_ignore_ascii_case("localhost"), "{host:?}");
            if let Ok(address) = host.parse::<IpAddr>() {
                assert!(guard.allows(address) && !address.is_loopback(), "{address}");
            }
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
}
