//! Reading the body of an answer, up to a cap.

use crate::{
    TransportError,
    receive::Unread,
    refusal::{REASONS, Refusal},
};
use bytes::{Buf, Bytes, BytesMut};
use forebay_core::BoxError;
use http::HeaderMap;
use http_body::Body;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// What is read of a body.
pub(crate) struct Read {
    first: Option<Bytes>,
    rest: BytesMut,
    /// Bytes that came, kept or not.
    len: usize,
    cap: usize,
    trailers: Option<HeaderMap>,
    /// The answer is known to be a refusal; what is read of it are reasons.
    refused: Option<Refused>,
}

/// Why the answer is no success, as far as its head says.
pub(crate) enum Refused {
    Http(Box<Refusal>),
    Other(BoxError),
}

/// Why there is no body.
pub(crate) enum NoBody {
    /// The head says that the request was refused.
    Refused(BoxError),
    /// The body could not be read; what that means where the status is not known yet.
    Unread(Unread, TransportError),
}

// === impl Read ===

impl Read {
    pub(crate) fn new(cap: usize, refused: Option<Refused>) -> Self {
        Self { first: None, rest: BytesMut::new(), len: 0, cap, trailers: None, refused }
    }

    /// All of the body, with what followed it.
    pub(crate) fn poll<B>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Bytes, Option<HeaderMap>), NoBody>>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        loop {
            match ready!(body.as_mut().poll_frame(cx)) {
                None => return Poll::Ready(self.end(|this| Ok((this.bytes(), this.trailers.take())))),
                // A refusal is one, whatever became of its body.
                Some(Err(error)) => {
                    let broken = TransportError::broken(Some(error.into()));
                    return Poll::Ready(self.end(|_| Err(NoBody::Unread(Unread::Broken, broken))));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.len = self.len.saturating_add(data.remaining());
                        if self.len > self.cap {
                            // What is left is not read: the connection goes with the body.
                            let long = TransportError::long(self.cap);
                            return Poll::Ready(self.end(|_| Err(NoBody::Unread(Unread::TooLong, long))));
                        }
                        self.push(data);
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    /// The rest of the body is not waited for any longer.
    pub(crate) fn late<R>(&mut self) -> Result<R, NoBody> {
        self.end(|_| Err(NoBody::Unread(Unread::Late, TransportError::broken(None))))
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    fn end<R>(&mut self, otherwise: impl FnOnce(&mut Self) -> Result<R, NoBody>) -> Result<R, NoBody> {
        match self.refused.take() {
            Some(Refused::Http(mut refusal)) => {
                refusal.body = self.bytes();
                Err(NoBody::Refused(refusal))
            }
            Some(Refused::Other(error)) => Err(NoBody::Refused(error)),
            None => otherwise(self),
        }
    }

    /// Nearly every answer comes in one piece, which need not be copied.
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
        self.first.take().unwrap_or_else(|| std::mem::take(&mut self.rest).freeze())
    }
}
