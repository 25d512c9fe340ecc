//! The connections of both listeners: how many there are, and how long they may be silent.

use super::meters::Meters;
use axum::Router;
use forebay_example_support::tls::Identity;
use hyper::{Request, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tower::{ServiceExt, service_fn};

/// What connections may do.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// How long a connection may take to its first request.
    pub(super) header_timeout: Duration,
    /// How long a connection may be without a request after that.
    pub(super) idle_timeout: Duration,
    /// How many connections both listeners have together.
    pub(super) places: Arc<Semaphore>,
    /// What is shown to a client where both listeners speak TLS.
    pub(super) identity: Option<Identity>,
    /// Counts handshakes that failed.
    pub(super) meters: Arc<Meters>,
}

/// How many requests a connection has had, and how many of them are not responded to yet.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    begun: u64,
    open: u64,
}

/// A request that is not responded to yet.
struct Open(Arc<watch::Sender<Traffic>>);

/// How long a connection may take to be closed in order.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long accepting pauses after an error such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `stopped`, and until each connection has had its responses then.
///
/// # Cancellation
///
/// Aborted, it drops all connections.
pub(super) fn serve(
    listener: TcpListener,
    router: Router,
    rules: Rules,
    mut stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let stop = stopped.clone();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        let accept = async {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    sleep(PAUSE).await;
                    continue;
                };
                // After accepting, so that a listener without connections keeps no place from the other one. One
                // connection of each listener waits here, further ones in its backlog.
                let Ok(place) = Arc::clone(&rules.places).acquire_owned().await else { return };
                while connections.try_join_next().is_some() {}
                let (router, rules, stop) = (router.clone(), rules.clone(), stop.clone());
                connections.spawn(async move {
                    welcome(stream, router, rules, stop).await;
                    drop(place);
                });
            }
        };
        tokio::select! {
            () = accept => {}
            () = is_stopped(&mut stopped) => {}
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    })
}

/// Without its gateway nothing can stop it: it serves on.
async fn is_stopped(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Speaks TLS first, if that is what is spoken here; a handshake has the time of a first request, and holds a place like one.
async fn welcome(stream: TcpStream, router: Router, rules: Rules, mut stopped: watch::Receiver<bool>) {
    let Some(identity) = &rules.identity else { return connection(stream, router, rules, stopped).await };
    let shaken = tokio::select! {
        shaken = timeout(rules.header_timeout, identity.accept(stream)) => shaken,
        // CANCEL: no request is on a connection that is not even open.
        () = is_stopped(&mut stopped) => return,
    };
    match shaken {
        Ok(Ok(stream)) => connection(stream, router, rules, stopped).await,
        Ok(Err(_)) | Err(_) => rules.meters.handshake_failed(),
    }
}

async fn connection<I>(stream: I, router: Router, rules: Rules, mut stopped: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (traffic, mut watched) = watch::channel(Traffic::default());
    let traffic = Arc::new(traffic);
    let service = service_fn(move |request: Request<Incoming>| {
        let (open, router) = (Open::new(Arc::clone(&traffic)), router.clone());
        async move {
            let response = router.oneshot(request.map(axum::body::Body::new)).await;
            drop(open);
            response
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        // A peer that breaks the protocol or disconnects ends its own connection only.
        _ = serving.as_mut() => return,
        () = silent(&mut watched, &rules) => {
            serving.as_mut().graceful_shutdown();
            // CANCEL: the connection has no request; a peer that says nothing is not waited for.
            drop(timeout(FAREWELL, serving.as_mut()).await);
            return;
        }
        () = is_stopped(&mut stopped) => serving.as_mut().graceful_shutdown(),
    }
    // A connection without a request is not waited for here either: the owner gives up on all at its own deadline.
    tokio::select! {
        _ = serving.as_mut() => {}
        () = silent(&mut watched, &rules) => {}
    }
}

/// Ends when no request is open and none has begun for the time that `rules` give.
async fn silent(watched: &mut watch::Receiver<Traffic>, rules: &Rules) {
    loop {
        let Traffic { begun, open } = *watched.borrow_and_update();
        if open > 0 {
            if watched.changed().await.is_err() {
                // The service went with its connection, which ends by itself.
                std::future::pending::<()>().await;
            }
            continue;
        }
        let most = if begun == 0 { rules.header_timeout } else { rules.idle_timeout };
        match timeout(most, watched.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

// === impl Open ===

impl Open {
    fn new(traffic: Arc<watch::Sender<Traffic>>) -> Self {
        traffic.send_modify(|traffic| {
            traffic.begun += 1;
            traffic.open += 1;
        });
        Self(traffic)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|traffic| traffic.open -= 1);
    }
}
