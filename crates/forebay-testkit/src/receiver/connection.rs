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
pub(super) struct Line(Mutex<State>);

/// The side of a [`Line`] that the HTTP server reads and writes.
pub(super) struct Wire(pub(super) Arc<Line>);

/// The bare socket, in the hands of a fault. Dropping it closes the connection.
pub(super) struct Bare {
    pub(super) stream: TcpStream,
    line: Arc<Line>,
}

struct State {
    socket: Socket,
    pace: Option<Pace>,
    /// A read or write has failed: what was last written may not have arrived.
    broken: bool,
    /// Their answers are complete, and not flushed yet.
    ended: Vec<Ticket>,
    /// Their answers are in the hands of the operating system.
    flushed: Vec<Ticket>,
}

enum Socket {
    Open(TcpStream),
    /// A fault has it. The HTTP server waits, so that it keeps the request that plays the fault.
    Taken,
    Gone,
}

/// One byte at a time.
struct Pace {
    every: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

// === impl Line ===

impl Line {
    pub(super) fn new(stream: TcpStream) -> Arc<Self> {
        let state =
            State { socket: Socket::Open(stream), pace: None, broken: false, ended: Vec::new(), flushed: Vec::new() };
        Arc::new(Self(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the socket away from the HTTP server; `None` when another request did so before.
    pub(super) fn take(self: &Arc<Self>) -> Option<Bare> {
        let mut state = self.state();
        match mem::replace(&mut state.socket, Socket::Taken) {
            Socket::Open(stream) => Some(Bare { stream, line: Arc::clone(self) }),
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

    /// The answer to the request of `ticket` is complete; it is told once all of it is flushed.
    pub(super) fn ended(&self, ticket: Ticket) {
        self.state().ended.push(ticket);
    }

    /// The client has sent another request. Over HTTP/1 it has read the answers before this one; over HTTP/2 it may not
    /// have, but nothing stands between it and them, and to doubt them all would leave nothing certain.
    pub(super) fn answers_were_read(&self) {
        let told = mem::take(&mut self.state().flushed);
        // The tickets are dropped outside the lock: a ticket may call the user's code.
        told.into_iter().for_each(Ticket::told);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Socket::Open(stream) = &state.socket {
            // A client that closes with our answer unread, or before it, resets the connection.
            state.broken |= !matches!(stream.take_error(), Ok(None));
        }
        if !state.broken {
            mem::take(&mut state.flushed).into_iter().for_each(Ticket::told);
        }
    }
}

// === impl Bare ===

impl Drop for Bare {
    fn drop(&mut self) {
        self.line.state().socket = Socket::Gone;
    }
}

// === impl Wire ===

impl Wire {
    fn with<T>(&self, run: impl FnOnce(Pin<&mut TcpStream>, &mut Option<Pace>) -> Poll<Result<T>>) -> Poll<Result<T>> {
        let mut state = self.0.state();
        let State { socket, pace, .. } = &mut *state;
        let result = match socket {
            Socket::Open(stream) => run(Pin::new(stream), pace),
            // CORRECTNESS: nothing wakes the server here, and nothing needs to: the request that took the socket is
            // polled by itself, and ends with an error that ends the server.
            Socket::Taken => Poll::Pending,
            Socket::Gone => Poll::Ready(Err(Error::from(ErrorKind::ConnectionAborted))),
        };
        state.broken |= matches!(result, Poll::Ready(Err(_)));
        result
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.with(|stream, _| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
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
