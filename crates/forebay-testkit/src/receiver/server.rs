use super::{
    connection::{Connection, ConnectionIo},
    exchange::Endpoint,
};
use hyper::service::service_fn;
use hyper_util::{rt::TokioIo, server::conn::auto};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    select,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

/// A command to a receiver, with the sender that reports its end.
pub(super) enum Command {
    Pause(oneshot::Sender<io::Result<()>>),
    Resume(oneshot::Sender<io::Result<()>>),
    Close(oneshot::Sender<()>),
}

/// The task that accepts connections. It ends when its handle is dropped, and cuts every connection then.
pub(super) struct Server {
    endpoint: Arc<Endpoint>,
    address: SocketAddr,
    port: Port,
    connections: JoinSet<()>,
    /// Every connection ends when this changes or is dropped.
    cut: watch::Sender<()>,
}

/// The port of a receiver.
enum Port {
    Open(TcpListener),
    /// No socket listens: connections are refused. The port stays reserved, so that no client is given it as its own.
    Shut(TcpSocket),
    /// For a moment, and after a port could not be kept.
    Lost,
}

/// Runs the streams of one HTTP/2 connection, for as long as that lives.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

const BACKLOG: u32 = 1024;
/// How long an address may stay taken after its listener was closed.
const MAX_WAIT_MS: u32 = 2000;

// === impl Server ===

impl Server {
    pub(super) fn bind(address: SocketAddr, endpoint: Arc<Endpoint>) -> io::Result<Self> {
        let listener = bound(address)?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok(Self {
            endpoint,
            address,
            port: Port::Open(listener),
            connections: JoinSet::new(),
            cut: watch::Sender::default(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let command = select! {
                command = commands.recv() => command,
                accepted = accept(&self.port) => {
                    self.serve(accepted).await;
                    continue;
                }
                Some(_ended) = self.connections.join_next() => continue,
            };
            // A caller that gave a command and has left needs no reply.
            match command {
                None => return,
                Some(Command::Pause(done)) => _ = done.send(self.pause().await),
                Some(Command::Resume(done)) => _ = done.send(self.resume().await),
                Some(Command::Close(done)) => {
                    self.port = Port::Lost;
                    self.cut().await;
                    let _left = done.send(());
                    return;
                }
            }
        }
    }

    async fn pause(&mut self) -> io::Result<()> {
        if !matches!(self.port, Port::Open(_)) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the receiver does not listen"));
        }
        // The listener goes first: two sockets may share an address only while neither listens.
        self.port = Port::Lost;
        let kept = bound_again(self.address).await;
        self.cut().await;
        self.port = Port::Shut(kept?);
        Ok(())
    }

    /// Cuts every connection, and returns when all that hangs on them is accounted for.
    async fn cut(&mut self) {
        self.cut.send_replace(());
        while self.connections.join_next().await.is_some() {}
    }

    async fn resume(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.port, Port::Lost) {
            Port::Open(listener) => self.port = Port::Open(listener),
            Port::Shut(socket) => self.port = Port::Open(socket.listen(BACKLOG)?),
            Port::Lost => self.port = Port::Open(bound_again(self.address).await?.listen(BACKLOG)?),
        }
        Ok(())
    }

    async fn serve(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, peer)) => {
                self.endpoint.store.connected();
                let cut = self.cut.subscribe();
                self.connections.spawn(serve(Arc::clone(&self.endpoint), stream, peer, cut));
            }
            // Out of file handles, most likely: it passes when a connection ends, and must not keep a core busy.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn accept(port: &Port) -> io::Result<(TcpStream, SocketAddr)> {
    match port {
        Port::Open(listener) => listener.accept().await,
        Port::Shut(_) | Port::Lost => std::future::pending().await,
    }
}

/// A socket at `address`, also while connections of an earlier listener there are still in their last state.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On Windows the option means something else: it would let two sockets share the port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// [`bound`] where something listened a moment ago. A process that is being started by another thread has a copy of that
/// listener until it runs its own program, and for so long the address counts as taken.
#[expect(clippy::disallowed_methods, reason = "what is waited for happens in real time, on a thread that may wait")]
async fn bound_again(address: SocketAddr) -> io::Result<TcpSocket> {
    // On a thread of its own, for the runtime's time may be paused.
    let attempts = move || {
        for _ in 0..MAX_WAIT_MS {
            match bound(address) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(Duration::from_millis(1)),
                ended => return ended,
            }
        }
        bound(address)
    };
    tokio::task::spawn_blocking(attempts).await.map_err(io::Error::other)?
}

async fn serve(endpoint: Arc<Endpoint>, stream: TcpStream, peer: SocketAddr, mut cut: watch::Receiver<()>) {
    // Without it a trickled response would travel in packets after all; where the option cannot be set, it does.
    let _delayed = stream.set_nodelay(true);
    let connection = Connection::new(stream);
    let streams = Streams::default();
    {
        let io = TokioIo::new(ConnectionIo(Arc::clone(&connection)));
        let exchange = move |request| Arc::clone(&endpoint).exchange(Arc::clone(&connection), peer, request);
        let service = service_fn(exchange);
        let server = auto::Builder::new(streams.clone());
        // How a connection ended is seen by its `ConnectionIo`; the tickets of its requests follow from that.
        select! {
            _ended = server.serve_connection(io, service) => {}
            _cut_or_dropped = cut.changed() => {}
        }
    }
    // CANCEL: requests that are still held by a fault are dropped here, and their tickets with them.
    let mut left = std::mem::take(&mut *streams.0.lock().unwrap_or_else(PoisonError::into_inner));
    left.shutdown().await;
}

// === impl Streams ===

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }
}
