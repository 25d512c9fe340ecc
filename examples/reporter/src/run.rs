use super::{Options, Settings, Summary, far_side::FarSide, own, sink::Sink};
use bytes::Bytes;
use forebay::{
    core::{BoxError, ConfigError},
    export::EndpointGuard,
};
use forebay_collect::{
    BadPattern, FetchError, FetchedConfig, Filter, Labels, Recorder, RemoteConfig, RemoteStatus, RemoteWorker,
    Reporter, WhenUndecided,
};
use forebay_example_support::{
    client::{HttpClient, http_client},
    stop::Interrupts,
};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use std::{fmt, io, sync::Arc, time::Duration};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

/// Why nothing was reported, or not all; one line, for the user.
#[derive(Debug)]
pub enum RunError {
    /// A knob is out of its range.
    Config(ConfigError),
    /// The built-in server could not be started.
    Server(io::Error),
    /// The worker that gathers panicked.
    Worker(String),
}

/// No configuration is larger.
const MAX_CONFIG: usize = 64 << 10;

/// How long the end may take: the last gathering, and what still waits.
const GOODBYE: Duration = Duration::from_secs(10);

/// Reports for as long as `options` say, or until it is interrupted; then makes a last report, and waits for what is under way.
///
/// `recorder` is the one that `metrics` counts into. What goes wrong on the way, and is put right, is told to `tell`.
///
/// # Errors
///
/// When a knob is out of its range, or the built-in server cannot be started.
pub async fn run(
    options: Options,
    recorder: Recorder,
    interrupts: &Interrupts,
    tell: impl Fn(String) + Send + Sync + 'static,
) -> Result<Summary, RunError> {
    let start = Instant::now();
    let far_side = match options.config {
        Some(_) => None,
        None => {
            let started = FarSide::start(options.faults.clone(), options.seed, options.run_for.is_some()).await;
            Some(started.map_err(RunError::Server)?)
        }
    };
    let config = match (&options.config, &far_side) {
        (Some(uri), _) => uri.clone(),
        (None, Some(far_side)) => far_side.config().parse().unwrap_or_default(),
        (None, None) => Uri::default(),
    };
    let (config, fetching) = remote_config(config, &options)?;
    let sink = Sink::new(&options)?;
    let (reporter, gathering) = Reporter::builder()
        .source(recorder)
        .source(own::process())
        .interval(options.gather_interval)
        .seed(options.seed)
        .build(sink.clone())?;
    let following = follow(config.clone(), reporter.clone(), sink.clone(), tell);
    let background = [tokio::spawn(fetching.run()), tokio::spawn(following), tokio::spawn(own::work())];
    let gathering = tokio::spawn(gathering.run());

    let end = async {
        match options.run_for {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = end => {}
        () = interrupts.reached(1) => {}
    }
    // In order: a last gathering, then everything that waits, then whoever only helped.
    let gathered = reporter.shutdown(GOODBYE).await;
    // A worker that panicked has gathered less than it should: that is no success.
    gathering.await.map_err(|panicked| RunError::Worker(panicked.to_string()))?;
    let closed = sink.exporter().clone().shutdown(GOODBYE).await;
    background.iter().for_each(tokio::task::JoinHandle::abort);
    let state = config.state();
    Ok(Summary {
        gathered,
        totals: closed.totals,
        counters: closed.counters,
        fetches: (state.successes + state.failures, state.failures),
        elapsed: start.elapsed(),
        books: match far_side {
            Some(far_side) if options.run_for.is_some() => Some(far_side.books().await),
            _ => None,
        },
    })
}

/// Asks at once, then as often as the server wants; the last good answer is kept.
fn remote_config(uri: Uri, options: &Options) -> Result<(RemoteConfig<Settings>, RemoteWorker<Settings>), ConfigError> {
    let (client, guard) = (http_client(), options.guard());
    RemoteConfig::builder(move || fetch(client.clone(), uri.clone(), guard.clone())).seed(options.seed).build()
}

async fn fetch(mut client: HttpClient, uri: Uri, guard: EndpointGuard) -> Result<FetchedConfig<Settings>, FetchError> {
    let request = Request::get(uri).body(Full::<Bytes>::default()).map_err(FetchError::unreadable)?;
    let ready = client.ready().await.map_err(FetchError::no_response)?;
    let response = ready.call(request).await.map_err(FetchError::no_response)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::status(response.status().as_u16()));
    }
    let body = Limited::new(response.into_body(), MAX_CONFIG).collect().await;
    let body = body.map_err(|error: BoxError| FetchError::unreadable(error))?.to_bytes();
    let settings = Settings::read(&body, &guard).map_err(FetchError::unreadable)?;
    let refresh = settings.refresh;
    let config = FetchedConfig::new(settings);
    Ok(match refresh {
        Some(interval) => config.refresh(interval),
        None => config,
    })
}

/// Applies each configuration as it comes: which names, which labels, where to.
async fn follow(mut config: RemoteConfig<Settings>, reporter: Reporter, sink: Sink, tell: impl Fn(String)) {
    let mut applied: Option<Arc<Settings>> = None;
    while config.changed().await {
        let state = config.state();
        if let RemoteStatus::Kept(error) | RemoteStatus::Disabled(error) = &state.status {
            tell(error.to_string());
        }
        if let Err(error) = sink.point(state.value.as_deref()) {
            tell(error.to_string());
        }
        let Some(settings) = state.value else { continue };
        if applied.as_ref().is_some_and(|before| Arc::ptr_eq(before, &settings)) {
            continue;
        }
        let (filter, bad) = filter(&settings);
        bad.iter().for_each(|pattern| tell(pattern.to_string()));
        reporter.filter().set(filter);
        reporter.set_labels(settings.labels.iter().cloned().collect::<Labels>());
        applied = Some(settings);
    }
}

/// Without patterns everything is wanted. With patterns of which none can be read nothing is: whoever wrote them wanted
/// less than everything.
fn filter(settings: &Settings) -> (Filter, Vec<BadPattern>) {
    if settings.include.is_empty() {
        return (Filter::all(), Vec::new());
    }
    settings.include.iter().fold(Filter::builder(WhenUndecided::Deny), |filter, pattern| filter.allow(pattern)).build()
}

// === impl RunError ===

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "{error}"),
            Self::Server(error) => write!(f, "cannot start the built-in server: {error}"),
            Self::Worker(panicked) => write!(f, "the reporter ended early: {panicked}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<ConfigError> for RunError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
