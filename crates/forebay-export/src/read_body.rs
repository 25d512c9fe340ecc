//! Reads the body of a response, up to a cap.

use crate::{
    TransportError,
    error_response::REASONS,
    response_classifier::{HeadError, Unread},
};
use bytes::{Buf, Bytes, BytesMut};
use forebay_core::BoxError;
use http::HeaderMap;
use http_body::Body;
use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The part of a body that was read so far.
pub(crate) struct ReadBody {
    /// The first piece, and the only one of nearly every body.
    first: Option<Bytes>,
    /// All pieces, from the second one on.
    rest: BytesMut,
    /// The bytes that arrived, kept or not.
    len: usize,
    max_bytes: usize,
    trailers: Option<HeaderMap>,
    /// Set where the head says that the request was refused. The body then gives reasons, of which the first bytes are kept.
    refused: Option<HeadError>,
}

/// Why there is no body.
pub(crate) enum BodyError {
    /// The head says that the request was refused.
    Refused(BoxError),
    /// The body could not be read. The error is what that means where the status is not known yet.
    Unread(Unread, TransportError),
}

// === impl ReadBody ===

impl ReadBody {
    pub(crate) fn new(max_bytes: usize, refused: Option<HeadError>) -> Self {
        Self { first: None, rest: BytesMut::new(), len: 0, max_bytes, trailers: None, refused }
    }

    /// All of the body, with its trailers.
    pub(crate) fn poll<B>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Bytes, Option<HeaderMap>), BodyError>>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        loop {
            match ready!(body.as_mut().poll_frame(cx)) {
                None => return Poll::Ready(self.end(|this| Ok((this.bytes(), this.trailers.take())))),
                Some(Err(error)) => {
                    let broken = TransportError::broken(Some(error.into()));
                    return Poll::Ready(self.end(|_| Err(BodyError::Unread(Unread::Broken, broken))));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.len = self.len.saturating_add(data.remaining());
                        if self.len > self.max_bytes {
                            // The rest is not read, so the client closes the connection with the body.
                            let long = TransportError::too_long(self.max_bytes);
                            return Poll::Ready(self.end(|_| Err(BodyError::Unread(Unread::TooLong, long))));
                        }
                        self.push(data);
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    /// The end of a body that took too long.
    pub(crate) fn late<R>(&mut self) -> Result<R, BodyError> {
        self.end(|_| Err(BodyError::Unread(Unread::Late, TransportError::broken(None))))
    }

    /// A refusal stays one, whatever becomes of its body; anything else ends as `otherwise` says.
    fn end<R>(&mut self, otherwise: impl FnOnce(&mut Self) -> Result<R, BodyError>) -> Result<R, BodyError> {
        match self.refused.take() {
            Some(HeadError::Http(mut response)) => {
                response.body = self.bytes();
                Err(BodyError::Refused(response))
            }
            Some(HeadError::Other(error)) => Err(BodyError::Refused(error)),
            None => otherwise(self),
        }
    }

    /// Keeps a piece without a copy if it is the first.
    fn push(&mut self, mut data: impl Buf) {
        let room = match self.refused {
            Some(_) => REASONS.saturating_sub(self.len.saturating_sub(data.remaining())),
            None => usize::MAX,
        };
        let bytes = data.copy_to_bytes(data.remaining().min(room));
        match self.first.take() {
            None if self.rest.is_empty() => self.first = Some(bytes),
            first => {
                if let Some(first) = first {
                    self.rest.extend_from_slice(&first);
                }
                self.rest.extend_from_slice(&bytes);
            }
        }
    }

    fn bytes(&mut self) -> Bytes {
        self.first.take().unwrap_or_else(|| mem::take(&mut self.rest).freeze())
    }
}
