use super::{bomb::Bomb, connection::Connection, exchange::Cut, grpc, ticket::Ticket};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// The body of a response. It carries the ticket of its request until the client has all of it.
pub(super) struct ResponseBody {
    content: Content,
    trailer: Option<i32>,
    ticket: Option<(Ticket, Arc<Connection>)>,
}

#[derive(Debug)]
pub(super) enum Content {
    Whole(Bytes),
    /// So many bytes of nothing, without storing them.
    Blank(u64),
    Bomb(Bomb),
    /// The connection is cut after these bytes.
    CutAfter(Bytes),
    /// It is cut now that they are flushed.
    Cut,
}

static BLANK: [u8; 64 * 1024] = [b' '; 64 * 1024];

// === impl ResponseBody ===

impl ResponseBody {
    pub(super) fn new(content: Content, ticket: Option<(Ticket, Arc<Connection>)>) -> Self {
        Self { content, trailer: None, ticket }
    }

    /// The same with a gRPC status behind it, where there is one.
    pub(super) fn with_trailer(mut self, trailer: Option<i32>) -> Self {
        self.trailer = trailer;
        self
    }

    fn content_is_over(&self) -> bool {
        match &self.content {
            Content::Whole(data) => data.is_empty(),
            Content::Blank(left) => *left == 0,
            Content::Bomb(bomb) => bomb.is_over(),
            Content::CutAfter(_) | Content::Cut => false,
        }
    }

    /// The last byte is handed over: from here on the connection knows whether it was delivered.
    fn settle(&mut self) {
        if self.is_end_stream()
            && let Some((ticket, connection)) = self.ticket.take()
        {
            connection.ended(ticket);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let data = match &mut self.content {
            Content::Whole(data) if data.is_empty() => None,
            Content::Whole(data) => Some(mem::take(data)),
            Content::Blank(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(BLANK.len());
                *left -= length as u64;
                (length > 0).then(|| Bytes::from_static(&BLANK[..length]))
            }
            Content::Bomb(bomb) => bomb.next(),
            Content::CutAfter(data) if data.is_empty() => {
                // One turn without a frame, in which the server flushes what it has.
                self.content = Content::Cut;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Content::CutAfter(data) => Some(mem::take(data)),
            Content::Cut => return Poll::Ready(Some(Err(Cut))),
        };
        let frame =
            data.map(Frame::data).or_else(|| self.trailer.take().map(|code| Frame::trailers(grpc::trailers(code))));
        self.settle();
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.content_is_over() && self.trailer.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Content::Blank(left) => SizeHint::with_exact(*left),
            Content::Bomb(_) | Content::CutAfter(_) | Content::Cut => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // The server does not poll a body that is empty from the start.
        self.settle();
    }
}
