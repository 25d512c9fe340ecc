use super::ticket::Ticket;
use std::{
    future::Future,
    io::{Error, ErrorKind, Result},
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// One accepted connection, shared by the HTTP server on it and by the requests that may want to break it.
pub(super) struct Connection(Mutex<State>);

/// The stream of a [`Connection`], which the HTTP server reads and writes.
pub(super) struct ConnectionIo(pub(super) Arc<Connection>);

/// The socket itself, which a fault has taken. Dropping it closes the connection.
pub(super) struct RawSocket {
    pub(super) stream: TcpStream,
    connection: Arc<Connection>,
}

struct State {
    socket: Socket,
    pace: Option<Pace>,
    /// A read or write has failed: what was last written may not have arrived.
    broken: bool,
    /// Requests whose responses are complete, and not flushed yet.
    ended: Vec<Ticket>,
    /// Requests whose responses were handed to the operating system.
    flushed: Vec<Ticket>,
}

enum Socket {
    Open(TcpStream),
    /// A fault has it. The HTTP server waits, so that it keeps the request that plays the fault.
    Taken,
    Closed,
}

/// One byte at a time.
struct Pace {
    every: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Arc<Self> {
        let state =
            State { socket: Socket::Open(stream), pace: None, broken: false, ended: Vec::new(), flushed: Vec::new() };
        Arc::new(Self(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the socket away from the HTTP server; `None` when another request did so before.
    pub(super) fn take(self: &Arc<Self>) -> Option<RawSocket> {
        let mut state = self.state();
        match mem::replace(&mut state.socket, Socket::Taken) {
            Socket::Open(stream) => Some(RawSocket { stream, connection: Arc::clone(self) }),
            other => {
                state.socket = other;
                None
            }
        }
    }

    /// From now on every byte waits `every` after the one before it.
    pub(super) fn pace(&self, every: Duration) {
        self.state().pace = Some(Pace { every, pause: None });
    }

    /// The response to the request of `ticket` is complete; the ticket waits until all of it is flushed.
    pub(super) fn ended(&self, ticket: Ticket) {
        self.state().ended.push(ticket);
    }

    /// The client has sent another request. Over HTTP/1 it has read the responses before this one; over HTTP/2 it may not
    /// have, but nothing stands between it and them, and to doubt them all would leave nothing certain.
    pub(super) fn responses_were_read(&self) {
        let delivered = mem::take(&mut self.state().flushed);
        // CORRECTNESS: the tickets are dropped outside the lock, since a ticket may call user code.
        delivered.into_iter().for_each(Ticket::delivered);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Socket::Open(stream) = &state.socket {
            // A client that closes with the response unread, or before it, resets the connection.
            state.broken |= !matches!(stream.take_error(), Ok(None));
        }
        if !state.broken {
            mem::take(&mut state.flushed).into_iter().for_each(Ticket::delivered);
        }
    }
}

// === impl RawSocket ===

impl Drop for RawSocket {
    fn drop(&mut self) {
        self.connection.state().socket = Socket::Closed;
    }
}

// === impl ConnectionIo ===

impl ConnectionIo {
    fn with<T>(&self, run: impl FnOnce(Pin<&mut TcpStream>, &mut Option<Pace>) -> Poll<Result<T>>) -> Poll<Result<T>> {
        let mut state = self.0.state();
        let State { socket, pace, .. } = &mut *state;
        let result = match socket {
            Socket::Open(stream) => run(Pin::new(stream), pace),
            // CORRECTNESS: nothing wakes the server here, and nothing needs to: the request that took the socket is
            // polled by itself, and ends with an error that ends the server.
            Socket::Taken => Poll::Pending,
            Socket::Closed => Poll::Ready(Err(Error::from(ErrorKind::ConnectionAborted))),
        };
        state.broken |= matches!(result, Poll::Ready(Err(_)));
        result
    }
}

impl AsyncRead for ConnectionIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.with(|stream, _| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for ConnectionIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.with(|stream, pace| match pace {
            Some(pace) => {
                ready!(pace.poll_turn(cx));
                let written = ready!(stream.poll_write(cx, &buf[..buf.len().min(1)]))?;
                pace.pause = Some(Box::pin(sleep(pace.every)));
                Poll::Ready(Ok(written))
            }
            None => stream.poll_write(cx, buf),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.with(|stream, _| stream.poll_flush(cx)))?;
        let state = &mut *self.0.state();
        state.flushed.append(&mut state.ended);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.with(|stream, _| stream.poll_shutdown(cx))
    }
}

// === impl Pace ===

impl Pace {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}
