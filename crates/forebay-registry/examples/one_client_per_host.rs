//! A hundred tasks, two hosts, two hyper clients; each is closed with the last task that uses it.
//!
//! `cargo run -p forebay-registry --example one_client_per_host`

use forebay_core::BoxError;
use forebay_registry::{Registry, RegistryEvent};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Uri, body::Bytes, http::uri::Authority};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

type Http = Client<HttpConnector, Empty<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (first, second) = (serve("first").await?, serve("second").await?);
    let connections = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&connections);
    let registry = Registry::builder(move |_: Authority| {
        made.fetch_add(1, Relaxed);
        // At most one idle connection, so that sharing shows.
        let client: Http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build_http();
        async move { Ok::<_, BoxError>(client) }
    })
    // Nothing to flush: with the client its pool goes. A telemetry client would send what it still holds.
    .on_close(|_, client| async move { drop(client) })
    .on_vacant(|key: &Authority| say(&format!("{key} has no client any more: its breaker can be forgotten")))
    .observe(|event: &RegistryEvent<'_, Authority>| {
        if let RegistryEvent::Created { key, .. } = event {
            say(&format!("a client for {key}"));
        }
    })
    .build()?;

    let tasks: Vec<_> = (0..100)
        .map(|task| {
            let registry = registry.clone();
            let host = if task % 2 == 0 { first } else { second };
            tokio::spawn(async move {
                // The key is what a client can be shared by: host and port, whatever the path.
                let uri: Uri = format!("http://{host}/{task}").parse()?;
                let authority = uri.authority().ok_or("an address without a host")?;
                let client = registry.acquire(authority).await?;
                let request = Request::get(uri).body(Empty::new())?;
                let body = client.request(request).await?.into_body().collect().await?.to_bytes();
                Ok::<_, BoxError>(body.len())
            })
        })
        .collect();
    let mut bytes = 0;
    for task in tasks {
        bytes += task.await??;
    }
    let report = registry.close_all(Duration::from_secs(5)).await;
    let clients = connections.load(Relaxed);
    say(&format!("100 requests, {bytes} bytes, {clients} clients, clean end: {}", report.is_clean()));
    Ok(())
}

/// Responds to every request with its name, for as long as the program runs.
async fn serve(name: &'static str) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await? > 0 {
                    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                    stream.write_all(response.as_bytes()).await?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
    Ok(address)
}

fn say(line: &str) {
    // A closed standard output is no reason to stop.
    drop(writeln!(std::io::stdout(), "{line}"));
}
