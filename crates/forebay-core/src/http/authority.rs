use http::Request;

/// The key of a request by host and port, as its URI spells them; empty where the URI has none. A user name and a password are
/// left out: a key reaches logs and metrics.
///
/// ```
/// use forebay_core::{KeyOf, http::authority};
/// use http::Request;
///
/// let request = Request::get("https://collector.example:4318/v1/logs").body(()).unwrap();
/// assert_eq!(authority.key_of(&request), "collector.example:4318");
/// let request = Request::get("https://user:secret@collector.example:4318/v1/logs").body(()).unwrap();
/// assert_eq!(authority.key_of(&request), "collector.example:4318");
/// ```
#[must_use]
pub fn authority<B>(request: &Request<B>) -> &str {
    let authority = request.uri().authority().map_or("", http::uri::Authority::as_str);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}
