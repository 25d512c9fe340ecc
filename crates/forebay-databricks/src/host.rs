//! Which hosts telemetry is sent to.

use crate::{EndpointKey, Endpoints, Identity};
use forebay_export::EndpointGuard;
use std::{error::Error, fmt};

/// Telemetry is not sent to this address.
///
/// It does not repeat the address, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostError {
    /// There is more in it than a host: a user, a path, a query, a blank, a control or an invisible character.
    NotAHost,
    /// It is neither a name nor an address, or its port is none.
    Malformed,
    /// It is plain `http`, so every machine on the way could read the credentials.
    Plaintext,
    /// It is this machine, a private network, or a cloud's metadata service: telemetry must not reach into a network.
    Inside,
}

/// The host of an address as users write it, normalised: two ways to write one host give one key.
pub(crate) fn host_key(address: &str, identity: Identity, allow_inside: bool) -> Result<EndpointKey, HostError> {
    let address = address.trim_matches(|c: char| c.is_ascii_whitespace());
    let bare = address.split_once("://").map_or(address, |(_, bare)| bare).trim_end_matches('/');
    // Invisible characters are not ASCII; a name that is not is given as `xn--`.
    let strange = |c: char| !c.is_ascii_graphic() || matches!(c, '@' | '/' | '\\' | '?' | '#' | '%');
    if bare.is_empty() || bare.chars().any(strange) {
        return Err(HostError::NotAHost);
    }
    let key = Endpoints::default().key(address, identity).map_err(|_password| HostError::Malformed)?;
    if key.scheme() != "https" && !(allow_inside && key.scheme() == "http") {
        return Err(HostError::Plaintext);
    }
    if !allow_inside && !EndpointGuard::new().allows_host(key.host()) {
        return Err(HostError::Inside);
    }
    Ok(key)
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAHost => "telemetry is not sent there: the address is more than a host",
            Self::Malformed => "telemetry is not sent there: the host is malformed",
            Self::Plaintext => "telemetry is not sent there: the address is not https",
            Self::Inside => "telemetry is not sent there: the host is inside this network",
        })
    }
}

impl Error for HostError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> Result<String, HostError> {
        host_key(address, Identity::anonymous(), false).map(|key| key.origin().to_owned())
    }

    #[test]
    fn g02_aliases_of_one_host_are_one_key() {
        for alias in [
            "adb-1.azuredatabricks.net",
            " https://ADB-1.AzureDatabricks.net/ ",
            "adb-1.azuredatabricks.net.",
            "https://adb-1.azuredatabricks.net:443//",
            "adb-1.azuredatabricks.net.:443",
        ] {
            assert_eq!(key(alias).as_deref(), Ok("https://adb-1.azuredatabricks.net:443"), "{alias}");
        }
        assert_eq!(key("h.example:8443").as_deref(), Ok("https://h.example:8443"));
    }

    #[test]
    fn x06_hosts_that_are_more_or_inside_are_refused() {
        let more = [
            "",
            "a b",
            "a\u{200b}b.c",
            "\u{feff}a.b",
            "u:p@a.b",
            "a.b/sql",
            "a.b?x",
            "a.b#x",
            "a\\b",
            "a\r\nb",
            "a\tb",
            "https://a.b//c",
            "a%2eb",
        ];
        for address in more {
            assert_eq!(key(address), Err(HostError::NotAHost), "{address:?}");
        }
        let inside = [
            "127.0.0.1",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.1",
            "192.168.1.1",
            "169.254.169.254",
            "[::1]",
            "[fc00::1]",
            "[fd12::1]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::a00:1]",
            "[2002:7f00:1::]",
            "[2001:0:1::]",
            "[::127.0.0.1]",
            "[fd00:ec2::254]",
            "168.63.129.16",
            "192.0.0.192",
            "metadata",
            "intranet",
            "printer.local",
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "metadata.google.internal",
            "metadata.azure.com",
            "100.100.100.200",
            "127.1",
            "2130706433",
            "0x7f000001",
        ];
        for address in inside {
            let refused = key(address);
            assert!(matches!(refused, Err(HostError::Inside | HostError::Malformed)), "{address}: {refused:?}");
        }
        assert_eq!(key("172.32.0.1").as_deref(), Ok("https://172.32.0.1:443"));
        assert_eq!(key("http://a.example"), Err(HostError::Plaintext));
        assert!(host_key("http://127.0.0.1:9", Identity::anonymous(), true).is_ok());
        assert!(!HostError::NotAHost.to_string().contains("u:p"));
    }
}
