//! A receiver that takes everything, and the proxy in front of it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// A receiver at a distance. It lives as long as the program.
pub(super) struct Far {
    address: SocketAddr,
    under_way: Arc<UnderWay>,
}

/// The requests whose first byte has left their client, and that have no response yet.
#[derive(Default)]
struct UnderWay {
    now: AtomicUsize,
    most: AtomicUsize,
}

// === impl Far ===

impl Far {
    pub(super) fn start(round_trip: Duration) -> Self {
        let (sender, receiver) = channel();
        let under_way = Arc::<UnderWay>::default();
        let counting = Arc::clone(&under_way);
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let to = server.local_addr().expect("its address");
                tokio::spawn(accept(server, |stream| async move { respond(stream).await }));
                let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                sender.send(proxy.local_addr().expect("its address")).expect("the caller waits");
                let half = round_trip / 2;
                accept(proxy, move |stream| delay(stream, to, half, Arc::clone(&counting))).await;
            });
        });
        Self { address: receiver.recv().expect("an address"), under_way }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The most requests that were under way at a time.
    pub(super) fn most(&self) -> usize {
        self.under_way.most.load(Relaxed)
    }
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let serving = serve(stream);
        // A connection that breaks is its client's affair.
        tokio::spawn(async move { drop(serving.await) });
    }
}

/// Passes each byte on after `half`, in both directions.
async fn delay(client: TcpStream, to: SocketAddr, half: Duration, under_way: Arc<UnderWay>) -> io::Result<()> {
    let server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // HTTP/1.1: a connection has one request at a time, which begins with the first bytes after a response.
    let is_idle = Arc::new(AtomicBool::new(true));
    let (requests, idle) = (Arc::clone(&under_way), Arc::clone(&is_idle));
    tokio::spawn(pipe(from_client, to_server, half, move || {
        if idle.swap(false, Relaxed) {
            let now = requests.now.fetch_add(1, Relaxed) + 1;
            requests.most.fetch_max(now, Relaxed);
        }
    }));
    pipe(from_server, to_client, half, || {
        if !is_idle.swap(true, Relaxed) {
            under_way.now.fetch_sub(1, Relaxed);
        }
    })
    .await;
    Ok(())
}

/// Reads until the end, and writes each part `after` it was read; `seen` runs for each part.
async fn pipe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
    after: Duration,
    seen: impl Fn(),
) {
    let (sender, mut parts) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, part)) = parts.recv().await {
            sleep_until(due).await;
            if to.write_all(&part).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        seen();
        if sender.send((Instant::now() + after, buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}

/// Takes every request.
async fn respond(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(128 << 10);
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).expect("a length");
        let end = head + length.trim().parse::<usize>().expect("a length");
        while buffer.len() < end {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.drain(..end);
        let response = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(response).await?;
    }
}
