use async_nats::jetstream::{ErrorCode, publish::PublishAck, response::Response};
use forebay_core::BoxError;
use forebay_spool::{Limit, SpoolError, SpoolErrorKind};

/// The error where no response came: the server may have done what it was asked for.
pub(crate) fn unclear(cause: impl Into<BoxError>) -> SpoolError {
    SpoolError::new(SpoolErrorKind::Io).caused_by(cause)
}

pub(crate) fn closed() -> SpoolError {
    SpoolError::new(SpoolErrorKind::Closed)
}

/// What the response to a message that was sent to a stream says.
///
/// A message that the stream has already is one that an earlier attempt has stored.
pub(crate) fn acknowledged(response: &[u8]) -> Result<(), SpoolError> {
    let error = match parse(response)? {
        Response::Ok(_) => return Ok(()),
        Response::Err { error } => error,
    };
    let words = error.to_string();
    let kind = match error.error_code() {
        ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE => return Ok(()),
        ErrorCode::INSUFFICIENT_RESOURCES | ErrorCode::STORAGE_RESOURCES_EXCEEDED => {
            SpoolErrorKind::Full { limit: Limit::Disk }
        }
        // The stream's own limits have one code together.
        ErrorCode::STREAM_STORE_FAILED if words.contains("maximum bytes") => {
            SpoolErrorKind::Full { limit: Limit::Bytes }
        }
        ErrorCode::STREAM_STORE_FAILED if words.contains("maximum messages") => {
            SpoolErrorKind::Full { limit: Limit::Records }
        }
        _ => SpoolErrorKind::Io,
    };
    Err(SpoolError::new(kind).caused_by(words))
}

fn parse(response: &[u8]) -> Result<Response<PublishAck>, SpoolError> {
    serde_json::from_slice(response).map_err(unclear)
}
