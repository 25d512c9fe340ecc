//! From logs to the body of a request, and from the response to their fates.

use crate::{FrontendLog, Notice, clock::unix_millis, telemetry::Observer};
use bytes::{BufMut, BytesMut};
use forebay_core::{BoxError, DropReason, Fate, Settlement};
use forebay_export::{Encode, Skipped};
use http::{HeaderValue, response::Parts};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(crate) struct LogEncoder {
    /// For logs without credentials: the user agent that is shown then.
    pub(crate) anonymous: Option<Arc<str>>,
    pub(crate) host: Arc<str>,
    pub(crate) observer: Arc<Observer>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    upload_time: u64,
    items: [(); 0],
    proto_logs: Vec<String>,
}

/// What the service says. Nothing of it is certain to be there.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceResponse {
    errors: Vec<serde_json::Value>,
    num_proto_success: Option<usize>,
}

// === impl LogEncoder ===

impl Encode<FrontendLog> for LogEncoder {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/json")
    }

    fn encode(&self, logs: &[FrontendLog], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        let (mut proto_logs, mut skipped) = (Vec::with_capacity(logs.len()), Vec::new());
        for (at, log) in logs.iter().enumerate() {
            let text = match &self.anonymous {
                Some(user_agent) => serde_json::to_string(&log.anonymous(user_agent)),
                None => serde_json::to_string(log),
            };
            // One that cannot be written costs only itself.
            match text {
                Ok(text) => proto_logs.push(text),
                Err(_) => skipped.push(at),
            }
        }
        // The batch is written once, so every attempt has the same bytes, this time included.
        let envelope = Envelope { upload_time: unix_millis(), items: [], proto_logs };
        serde_json::to_writer(body.writer(), &envelope)?;
        Ok(Skipped(skipped))
    }

    fn settle(&self, _: &Parts, body: &[u8], logs: usize) -> Settlement {
        // Both drivers take a 2xx without a readable body for success.
        let response: ServiceResponse = serde_json::from_slice(body).unwrap_or_default();
        let rejected = response.num_proto_success.map_or(0, |taken| logs.saturating_sub(taken));
        if rejected > 0 || !response.errors.is_empty() {
            let words = response.errors.first().map(|error| match error.as_str() {
                Some(text) => text.to_owned(),
                None => error.to_string(),
            });
            let words: String =
                words.unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).take(256).collect();
            self.observer.observe(&Notice::Rejected { host: &self.host, logs: rejected, words: &words });
        }
        match rejected {
            0 => Settlement::All(Fate::Delivered),
            // Which ones is not said. What was taken must not come twice, so nothing is sent again.
            dropped => Settlement::Partial { dropped, reason: DropReason::Rejected },
        }
    }
}
