use crate::{
    books::{Books, Entered},
    load::Seen,
};
use bytes::Bytes;
use forebay_example_support::stop::complain;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch};

/// A server that can die as a machine does: at once, with its connections, in the middle of whatever it does.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    lives: watch::Sender<bool>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    items: AtomicU64,
    /// The items that are no catch-up.
    live: AtomicU64,
    deaths: AtomicU64,
    /// The most items that arrived within a second.
    peak: AtomicU64,
}

/// One connection: the items whose response may not have arrived.
struct Connection {
    books: Arc<Books>,
    state: Arc<State>,
    unsure: AtomicU64,
    is_idle: AtomicBool,
    lives: watch::Receiver<bool>,
}

/// How long a request is worked on after its items are in the books.
const WORK: Duration = Duration::from_millis(2);

/// How long a receiver that returns waits for its port at most.
const PORT: Duration = Duration::from_secs(10);

// === impl Receiver ===

impl Receiver {
    /// Starts a receiver in a thread of its own. It ends with the program.
    pub(crate) fn start(books: Arc<Books>) -> io::Result<Self> {
        let runtime = runtime()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let (lives, mut living) = watch::channel(true);
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::Builder::new().name(format!("receiver {address}")).spawn(move || {
            let mut first = Some((runtime, listener));
            while let Some((runtime, listener)) = first.take().or_else(|| reborn(address)) {
                runtime.block_on(async {
                    let serving = serve(&listener, &books, &shared, &living);
                    let death = async { living.clone().wait_for(|lives| !lives).await.is_ok() };
                    tokio::select! {
                        () = serving => {}
                        _ = death => {}
                    }
                });
                // What runs in it ends where it is, and its sockets are closed.
                drop((listener, runtime));
                if !returns(&mut living) {
                    return;
                }
            }
        })?;
        Ok(Self { address, lives, state })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn lives(&self) -> bool {
        *self.lives.borrow()
    }

    pub(crate) fn die(&self) {
        self.state.deaths.fetch_add(1, Relaxed);
        self.lives.send_replace(false);
    }

    pub(crate) fn return_to_life(&self) {
        self.lives.send_replace(true);
    }

    /// The items that it has taken so far.
    pub(crate) fn items(&self) -> u64 {
        self.state.items.load(Relaxed)
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen { lives: self.lives(), live: self.state.live.load(Relaxed) }
    }

    pub(crate) fn deaths(&self) -> u64 {
        self.state.deaths.load(Relaxed)
    }

    /// It has taken so many items within a second.
    pub(crate) fn measured(&self, items: u64) {
        self.state.peak.fetch_max(items, Relaxed);
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { items, deaths, peak, .. } = &*self.state;
        let (items, deaths, peak) = (items.load(Relaxed), deaths.load(Relaxed), peak.load(Relaxed));
        write!(f, "{}: {items} items, at most {peak} in a second, {deaths} deaths", self.address)
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Waits until the receiver returns; false at the end of the program.
fn returns(living: &mut watch::Receiver<bool>) -> bool {
    runtime().is_ok_and(|runtime| runtime.block_on(living.wait_for(|lives| *lives)).is_ok())
}

/// The same port again, once the system gives it back.
fn reborn(address: SocketAddr) -> Option<(tokio::runtime::Runtime, TcpListener)> {
    let begin = Instant::now();
    let runtime = runtime().ok()?;
    loop {
        match runtime.block_on(TcpListener::bind(address)) {
            Ok(listener) => return Some((runtime, listener)),
            Err(error) if begin.elapsed() > PORT => {
                complain("endpoints", &format!("{address} cannot be had again: {error}"));
                return None;
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

async fn serve(listener: &TcpListener, books: &Arc<Books>, state: &Arc<State>, lives: &watch::Receiver<bool>) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = Connection {
            books: Arc::clone(books),
            state: Arc::clone(state),
            unsure: AtomicU64::new(0),
            is_idle: AtomicBool::new(true),
            lives: lives.clone(),
        };
        tokio::spawn(async move {
            let service = service_fn(|request| connection.take(request));
            // A connection that breaks is in the books already, as what is in doubt.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

// === impl Connection ===

impl Connection {
    async fn take(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        // The client has read the response to the last request, since it sends another one.
        self.unsure.store(0, Relaxed);
        let body = request.into_body().collect().await?.to_bytes();
        self.is_idle.store(false, Relaxed);
        let Entered { items, live } = self.books.enter(&body);
        self.state.items.fetch_add(items, Relaxed);
        self.state.live.fetch_add(live, Relaxed);
        self.unsure.store(items, Relaxed);
        tokio::time::sleep(WORK).await;
        self.is_idle.store(true, Relaxed);
        Ok(Response::new(Full::new(Bytes::new())))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A client that closes an idle connection has read everything before.
        if !self.is_idle.load(Relaxed) || !*self.lives.borrow() {
            self.books.doubt(self.unsure.load(Relaxed));
        }
    }
}
