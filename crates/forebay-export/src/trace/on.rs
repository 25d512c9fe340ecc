use super::{Loudness, alarm::Lost};
use crate::{Endpoint, ExportError, ExportErrorKind, response_classifier::Unread};
use forebay_core::{BoxError, ConfigError, cause_ref, http::StatusError, panic};
use forebay_retry::grpc::Code;
use tracing::{Level, debug, enabled, warn};

const TARGET: &str = "forebay_export";

/// A subscriber that panics is not allowed to take the worker along. Called without any lock: a subscriber may hand its
/// events to this very exporter.
fn quietly(tell: impl FnOnce()) {
    let _reported = panic::catch(tell);
}

/// An attempt failed. The texts of errors are not shown: a client may have put the whole URL into its own, and a server
/// what it was sent.
#[cold]
pub(crate) fn request_failed(error: &BoxError) {
    quietly(|| {
        debug!(
            target: TARGET,
            kind = ExportErrorKind::of(&**error).as_str(),
            http_status = cause_ref::<StatusError>(&**error).map(|error| error.status().as_u16()),
            grpc_code = cause_ref::<crate::GrpcError>(&**error).map(|error| error.code().number()),
            "request failed",
        );
    });
}

/// The body of a response could not be read, though its status says that the request was taken.
#[cold]
pub(crate) fn unreadable(why: Unread) {
    quietly(|| debug!(target: TARGET, why = why.as_str(), "response not readable"));
}

/// An export failed, with all its retries.
#[cold]
pub(crate) fn export_failed(name: &str, error: &ExportError) {
    quietly(|| {
        debug!(
            target: TARGET,
            exporter = name,
            kind = error.kind().as_str(),
            status = error.status().as_str(),
            items = error.items(),
            attempts = error.attempts(),
            http_status = error.http_status().map(|status| status.as_u16()),
            grpc_code = error.grpc_code().map(Code::number),
            "export failed",
        );
    });
}

/// A setting could not be used, and was ignored.
#[cold]
pub(crate) fn setting_ignored(name: &str, loudness: Loudness, setting: &ConfigError) {
    quietly(|| match loudness {
        Loudness::Warns => warn!(target: TARGET, exporter = name, setting = %setting, "setting ignored"),
        Loudness::Quiet => debug!(target: TARGET, exporter = name, setting = %setting, "setting ignored"),
    });
}

/// The kill switch was turned.
pub(crate) fn switched(name: &str, on: bool) {
    quietly(|| match on {
        true => debug!(target: TARGET, exporter = name, "switched on"),
        false => debug!(target: TARGET, exporter = name, "switched off"),
    });
}

/// Requests go elsewhere from now on. The endpoint shows neither its query nor a user name.
pub(crate) fn endpoint_changed(name: &str, endpoint: &Endpoint) {
    quietly(|| debug!(target: TARGET, exporter = name, endpoint = %endpoint, "endpoint changed"));
}

/// The exporter has so many endpoints from now on.
pub(crate) fn endpoints_changed(name: &str, endpoints: usize) {
    quietly(|| debug!(target: TARGET, exporter = name, endpoints, "endpoints changed"));
}

/// A lookup of a name has failed, and the addresses of before stay.
#[cold]
pub(crate) fn lookup_failed(name: &str) {
    quietly(|| debug!(target: TARGET, name, "lookup failed"));
}

/// A name has addresses that the guard refuses.
#[cold]
pub(crate) fn addresses_refused(addresses: usize) {
    quietly(|| debug!(target: TARGET, addresses, "addresses refused"));
}

/// A request goes to the fallback, without a credential.
#[cold]
pub(crate) fn fallback_used(name: &str) {
    quietly(|| debug!(target: TARGET, exporter = name, "fallback used"));
}

/// The provider has given a credential, or has failed.
pub(crate) fn credential_fetched(succeeded: bool) {
    quietly(|| match succeeded {
        true => debug!(target: TARGET, "credential refreshed"),
        false => debug!(target: TARGET, "credential not refreshed"),
    });
}

/// The one warning, or, in an exporter that is quiet, the same at debug.
#[cold]
pub(crate) fn lost(name: &str, loudness: Loudness, lost: &Lost) {
    let (items, reasons) = (lost.items(), lost);
    quietly(|| match loudness {
        Loudness::Warns => warn!(target: TARGET, exporter = name, items, reasons = %reasons, "telemetry was lost"),
        Loudness::Quiet => debug!(target: TARGET, exporter = name, items, reasons = %reasons, "telemetry was lost"),
    });
}

/// Whether a subscriber may want to be notified of lost items.
pub(crate) fn is_wanted(loudness: Loudness) -> bool {
    let enabled = panic::catch(|| match loudness {
        Loudness::Warns => enabled!(target: TARGET, Level::WARN),
        Loudness::Quiet => enabled!(target: TARGET, Level::DEBUG),
    });
    enabled == Ok(true)
}
