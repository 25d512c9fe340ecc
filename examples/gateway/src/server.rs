use super::{
    batch::Job,
    clock::unix_nanos,
    config::Config,
    connections::{Rules, serve},
    guarded::{Guarded, Left, settle},
    intake::{Ids, Intake},
    ledgers::Ledgers,
    meters::Meters,
    receive,
    sink::{Close, Parts, Sink, SinkService},
    spool::{BatchSpool, Drained, Replay},
    summary::Summary,
};
use forebay::{
    core::{BoxError, ConfigError},
    queue::QueueLayer,
};
use std::{
    error::Error,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tower::Layer;

/// A running gateway.
///
/// Dropped, it goes on serving; [`stop`](Self::stop) ends it.
pub struct Gateway {
    intake: Arc<Intake>,
    http: SocketAddr,
    grpc: SocketAddr,
    stop: watch::Sender<bool>,
    servers: [JoinHandle<()>; 2],
    sink: SinkService,
    close: Close,
    replay: Option<Replay>,
    left: Left,
}

/// Why a gateway did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A knob is out of its range.
    Config(ConfigError),
    /// An address cannot be listened on, or a folder not be used.
    Io {
        /// Which one.
        what: String,
        /// What the system says.
        error: io::Error,
    },
}

/// How long open connections may take to end once nothing new is accepted.
const HANG_UP: Duration = Duration::from_secs(5);

// === impl Gateway ===

impl Gateway {
    /// Listens, and serves until it is stopped.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range, an address is taken, or the spool cannot be used. Nothing runs then.
    pub async fn start(config: Config, sink: Sink) -> Result<Self, StartError> {
        let (ledgers, meters) = (Arc::<Ledgers>::default(), Arc::<Meters>::default());
        let layer = QueueLayer::<Job>::builder()
            .limits(config.limits)
            .workers(config.workers.get())
            .weigh(|job: &Job| job.batch.weight())
            .priority(|job: &Job| job.batch.priority())
            .fair_share_key(|job: &Job| &job.share)
            .settle(settle)
            // What was taken in stays in, whatever becomes of its sender.
            .run_cancelled(true)
            .build()
            .map_err(StartError::Config)?;
        let spool = match &config.spool {
            None if config.durability.is_some() => {
                return Err(StartError::Config(ConfigError::new("durability", "without a spool", "with `spool`")));
            }
            None => None,
            Some(wanted) => {
                if wanted.pace.interval.is_zero() {
                    return Err(StartError::Config(ConfigError::new("pace.interval", "0s", "above zero")));
                }
                let (ledgers, meters) = (Arc::clone(&ledgers), Arc::clone(&meters));
                let opened =
                    BatchSpool::open(wanted.clone(), config.durability, config.max_body, ledgers, meters).await;
                Some(opened.map_err(|error| StartError::of_spool(wanted.folder.display(), error))?)
            }
        };
        let http = listen(config.http).await?;
        let grpc = listen(config.grpc).await?;
        let address = |listener: &TcpListener| listener.local_addr().map_err(|error| StartError::io("address", error));
        let (http_address, grpc_address) = (address(&http)?, address(&grpc)?);

        // ## Nothing fails from here on.
        let (Parts { service: sink, close, numbers }, left) = (sink.split(), Left::default());
        let queue = layer.layer(Guarded::new(sink.clone(), spool.clone(), Arc::clone(&meters), left.clone()));
        let at_once = config.durability.map(|_| config.workers);
        let replay = spool.as_ref().map(|spool| Replay::start(spool.clone(), sink.clone(), at_once));
        let intake = Arc::new(Intake {
            handle: queue.handle(),
            queue,
            ledgers,
            meters,
            spool,
            synchronous: AtomicBool::new(config.synchronous),
            draining: AtomicBool::new(false),
            ids: Ids::new(unix_nanos()),
            sink_numbers: numbers,
            config,
        });
        let Config { header_timeout, idle_timeout, max_connections, .. } = intake.config;
        // A semaphore counts no further.
        let places = Arc::new(Semaphore::new(max_connections.get().min(Semaphore::MAX_PERMITS)));
        let (identity, meters) = (intake.config.identity.clone(), Arc::clone(&intake.meters));
        let rules = Rules { header_timeout, idle_timeout, places, identity, meters };
        let (stop, stopped) = watch::channel(false);
        let router = receive::router(Arc::clone(&intake));
        let servers =
            [serve(http, router.clone(), rules.clone(), stopped.clone()), serve(grpc, router, rules, stopped)];
        let (http, grpc) = (http_address, grpc_address);
        Ok(Self { intake, http, grpc, stop, servers, sink, close, replay, left })
    }

    /// Where OTLP/HTTP is served.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where OTLP/gRPC is served.
    #[must_use]
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// From now on senders are responded to only when their batches are stored, or at once.
    ///
    /// The queue stays in between, so that bounds, order and ledgers are the same.
    pub fn set_synchronous(&self, synchronous: bool) {
        self.intake.synchronous.store(synchronous, Relaxed);
    }

    /// Whether senders wait for the sink.
    #[must_use]
    pub fn is_synchronous(&self) -> bool {
        self.intake.synchronous.load(Relaxed)
    }

    /// One round of replay now, beside those that come by themselves.
    pub async fn replay(&self) -> Drained {
        match &self.intake.spool {
            Some(spool) => spool.replay(&self.sink).await,
            None => Drained::default(),
        }
    }

    /// Waits until every batch that was taken before has been through the sink, or is in the spool.
    pub async fn flush(&self) {
        self.intake.handle.flush().await;
    }

    /// What became of everything so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(&self.intake)
    }

    /// Ends in order: `/readyz` turns to 503, the listeners close, requests under way are responded to, the queue drains,
    /// what is left is put aside, the replay ends, the sink and the spool are closed.
    ///
    /// # Cancellation
    ///
    /// Dropped half way, what is in the queue may be lost when the runtime ends.
    pub async fn stop(self) -> Summary {
        let Self { intake, stop, mut servers, close, replay, left, .. } = self;
        intake.draining.store(true, Relaxed);
        stop.send_replace(true);
        for server in &mut servers {
            // A sender that keeps its connection open does not keep the gateway.
            if timeout(HANG_UP, &mut *server).await.is_err() {
                server.abort();
            }
        }
        let report = intake.handle.drain(intake.config.drain).await;
        let rest = left.take().into_iter().chain(report.unsent).collect::<Vec<_>>();
        match &intake.spool {
            Some(spool) => spool.keep_last(rest).await,
            // Their entries count them as dropped.
            None => drop(rest),
        }
        if let Some(replay) = replay {
            replay.stop().await;
        }
        close(intake.config.drain).await;
        if let Some(spool) = &intake.spool {
            spool.close().await;
        }
        Summary::of(&intake)
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::io(address, error))
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("http", &self.http).field("grpc", &self.grpc).finish_non_exhaustive()
    }
}

// === impl StartError ===

impl StartError {
    pub(super) fn io(what: impl fmt::Display, error: io::Error) -> Self {
        Self::Io { what: what.to_string(), error }
    }

    /// A spool that cannot be opened: a knob is out of its range, or the folder cannot be used.
    fn of_spool(folder: impl fmt::Display, error: BoxError) -> Self {
        match error.downcast::<ConfigError>() {
            Ok(error) => Self::Config(*error),
            Err(error) => Self::io(folder, io::Error::other(error)),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(_) => f.write_str("the configuration is wrong"),
            Self::Io { what, .. } => write!(f, "{what} cannot be used"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Io { error, .. } => Some(error),
        }
    }
}
