//! A server that takes every request, and counts the records.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

/// It lives as long as the program.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    records: AtomicU64,
    connections: AtomicUsize,
    most_connections: AtomicUsize,
}

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

// === impl Server ===

impl Server {
    /// It listens on `address`, on a thread of its own that has called `enter`.
    pub(super) fn start(address: &'static str, enter: impl FnOnce() -> io::Result<()> + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        let counts = Arc::<Counts>::default();
        let counting = Arc::clone(&counts);
        thread::spawn(move || {
            enter().expect("the network of the server");
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind(address).await.expect("a port");
                sender.send(listener.local_addr().expect("its address")).expect("the caller waits");
                while let Ok((stream, _)) = listener.accept().await {
                    let counts = Arc::clone(&counting);
                    tokio::spawn(async move {
                        let now = counts.connections.fetch_add(1, Relaxed) + 1;
                        counts.most_connections.fetch_max(now, Relaxed);
                        // A connection that breaks is its client's affair.
                        drop(respond(stream, &counts.records).await);
                        counts.connections.fetch_sub(1, Relaxed);
                    });
                }
            });
        });
        Self { address: receiver.recv().expect("an address"), counts }
    }

    /// The same, reached by another address.
    pub(super) fn at(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many records it has taken.
    pub(super) fn taken(&self) -> u64 {
        self.counts.records.load(Relaxed)
    }

    /// The most connections that it had at a time.
    pub(super) fn connections(&self) -> usize {
        self.counts.most_connections.load(Relaxed)
    }
}

/// Takes every request.
async fn respond(mut stream: TcpStream, records: &AtomicU64) -> io::Result<()> {
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
        records.fetch_add(count(&buffer[head..end]).expect("a request with logs"), Relaxed);
        buffer.drain(..end);
        stream.write_all(RESPONSE).await?;
    }
}

/// The log records of a request: decoding them would cost more than all that is measured.
fn count(request: &[u8]) -> Option<u64> {
    let mut records = 0;
    for_each(request, 1, &mut |resource_logs| {
        for_each(resource_logs, 2, &mut |scope_logs| {
            for_each(scope_logs, 2, &mut |_| {
                records += 1;
                Some(())
            })
        })
    })?;
    Some(records)
}

/// Shows every field of a message that has this number; all its fields are strings or messages.
fn for_each(mut message: &[u8], number: u64, see: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        if key & 7 != 2 {
            return None;
        }
        let length = usize::try_from(varint(&mut message)?).ok()?;
        let (field, rest) = message.split_at_checked(length)?;
        message = rest;
        if key >> 3 == number {
            see(field)?;
        }
    }
    Some(())
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
