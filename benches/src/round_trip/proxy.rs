//! The proxy that delays each byte, where there are no network namespaces.

use std::{net::SocketAddr, sync::mpsc::channel, thread, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// A proxy in front of `server`, which passes each byte on after `half`. It lives as long as the program.
pub(super) fn start(server: SocketAddr, half: Duration) -> SocketAddr {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("its address")).expect("the caller waits");
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
                // Without it the proxy is only slower.
                let _slow = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pipe(from_client, to_server, half));
                tokio::spawn(pipe(from_server, to_client, half));
            }
        });
    });
    receiver.recv().expect("an address")
}

/// Reads until the end, and writes each part `after` it was read.
async fn pipe(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin + Send + 'static, after: Duration) {
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
        if sender.send((Instant::now() + after, buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}
