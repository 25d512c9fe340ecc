use http::Request;

/// The key of a request by host and port, as its URI spells them; empty where the URI has none.
///
/// ```
/// use forebay_core::{KeyOf, http::authority};
/// use http::Request;
///
/// let request = Request::get("https://collector.example:4318/v1/logs").body(()).unwrap();
/// assert_eq!(authority.key_of(&request), "collector.example:4318");
/// ```
#[must_use]
pub fn authority<B>(request: &Request<B>) -> &str {
    request.uri().authority().map_or("", http::uri::Authority::as_str)
}
