//! A server that takes what it does not fail, and counts the records.

use super::LATENCY;
use forebay_core::chance::SplitMix64;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        mpsc::{Sender, channel},
    },
    thread,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::Semaphore,
    time::sleep,
};

/// It lives as long as the program.
pub(super) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    failing: f64,
    /// It works on one request at a time.
    worker: Semaphore,
    counts: Mutex<Counts>,
}

struct Counts {
    chance: SplitMix64,
    requests: usize,
    /// The first record of each batch, whether it was taken or not.
    batches: HashSet<u64>,
    /// The records that were taken.
    records: HashSet<u64>,
}

/// What a server has seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) requests: usize,
    pub(super) batches: usize,
    pub(super) records: usize,
}

// === impl Server ===

impl Server {
    pub(super) fn start(failing: f64) -> Self {
        let chance = SplitMix64::new(1);
        let counts = Counts { chance, requests: 0, batches: HashSet::new(), records: HashSet::new() };
        let shared = Arc::new(Shared { failing, worker: Semaphore::new(1), counts: Mutex::new(counts) });
        let (sender, receiver) = channel();
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(listen(serving, sender));
        });
        Self { address: receiver.recv().expect("an address"), shared }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn seen(&self) -> Seen {
        let counts = self.shared.counts.lock().expect("no panic");
        Seen { requests: counts.requests, batches: counts.batches.len(), records: counts.records.len() }
    }
}

async fn listen(shared: Arc<Shared>, address: Sender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    address.send(listener.local_addr().expect("its address")).expect("the caller waits");
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // A connection that breaks is its client's affair.
        tokio::spawn(async move { drop(serve(stream, &shared).await) });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
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
        let request = ExportLogsServiceRequest::decode(&buffer[head..end]).map_err(io::Error::other)?;
        buffer.drain(..end);
        let worker = shared.worker.acquire().await.expect("it is never closed");
        sleep(LATENCY).await;
        drop(worker);
        let status = if shared.counts.lock().expect("no panic").take(&request, shared.failing) {
            "200 OK"
        } else {
            "503 Service Unavailable"
        };
        let head = "content-type: application/x-protobuf\r\ncontent-length: 0";
        stream.write_all(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n").as_bytes()).await?;
    }
}

// === impl Counts ===

impl Counts {
    /// Takes a request, or fails it.
    fn take(&mut self, request: &ExportLogsServiceRequest, failing: f64) -> bool {
        let records = request.resource_logs.iter().flat_map(|logs| &logs.scope_logs).flat_map(|logs| &logs.log_records);
        let mut times = records.map(|record| record.time_unix_nano).peekable();
        self.requests += 1;
        self.batches.extend(times.peek());
        let is_taken = self.chance.unit() >= failing;
        if is_taken {
            self.records.extend(times);
        }
        is_taken
    }
}
