//! A server that does as little as one can: it reads requests, throws their bodies away, and says that all is well.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

/// Serves until it is killed.
pub(super) fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("its address"));
    for connection in listener.incoming().flatten() {
        thread::spawn(move || serve(connection));
    }
}

/// The requests and the bytes of their bodies since this was asked last.
pub(super) fn seen(address: SocketAddr) -> [u64; 2] {
    let mut connection = TcpStream::connect(address).expect("a connection");
    connection.write_all(b"?").expect("the server lives");
    let mut counts = [0; 16];
    connection.read_exact(&mut counts).expect("the server responds");
    let number = |at: usize| u64::from_le_bytes(counts[at..at + 8].try_into().expect("eight bytes"));
    [number(0), number(8)]
}

fn serve(mut connection: TcpStream) {
    let _late = connection.set_nodelay(true);
    let mut buffer = vec![0; 256 << 10];
    let mut filled = 0;
    // How much of a body has yet to come.
    let mut body = 0;
    loop {
        let read = match connection.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        filled += read;
        let mut at = 0;
        loop {
            if body > 0 {
                let taken = body.min(filled - at);
                (at, body) = (at + taken, body - taken);
                if body > 0 {
                    break;
                }
                if connection.write_all(RESPONSE).is_err() {
                    return;
                }
            }
            if buffer[at..filled].first() == Some(&b'?') {
                let counts = [REQUESTS.swap(0, Relaxed).to_le_bytes(), BYTES.swap(0, Relaxed).to_le_bytes()];
                return drop(connection.write_all(&counts.concat()));
            }
            let Some(end) = buffer[at..filled].windows(4).position(|window| window == b"\r\n\r\n") else { break };
            let head = String::from_utf8_lossy(&buffer[at..at + end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).expect("a length");
            body = length.trim().parse().expect("a length");
            REQUESTS.fetch_add(1, Relaxed);
            BYTES.fetch_add(body as u64, Relaxed);
            at += end + 4;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}
