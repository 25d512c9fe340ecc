use super::{Authority, HttpPolicy, random_id};
use crate::{Attempt, GaveUp, Policy, StopReason};
use forebay_core::{KeyOf, Seen, http::reqwest_authority};
use reqwest::{Request, Response};

// === impl HttpPolicy ===

impl<Err> Policy<Request, Response, Err> for HttpPolicy {
    fn copy(&self, request: &Request) -> Option<Request> {
        request.try_clone()
    }

    fn begin(&self, request: &mut Request) {
        if let Some(name) = &self.id_header {
            request.headers_mut().entry(name).or_insert_with(random_id);
        }
    }

    fn stamp(&self, request: &mut Request, attempt: Attempt) {
        if let Some(name) = &self.attempt_header {
            request.headers_mut().insert(name, attempt.previous().into());
        }
    }

    fn obstacle(&self, request: &Request, result: Result<&Response, Seen>) -> Option<StopReason> {
        let result = result.map(|response| (response.status(), response.headers()));
        self.doubled((request.method(), request.headers()), result)
    }

    fn give_up(&self, response: &mut Response, gave_up: GaveUp) {
        response.extensions_mut().insert(gave_up);
    }

    fn is_given_up(&self, response: &Response) -> bool {
        GaveUp::of(response.extensions()).is_some()
    }
}

// === impl Authority ===

impl KeyOf<Request> for Authority {
    type Key = str;

    fn key_of<'r>(&self, request: &'r Request) -> &'r str {
        reqwest_authority(request)
    }
}
