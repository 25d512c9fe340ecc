use super::{
    Options, Settings, Summary,
    builtin::BuiltIn,
    login::Tokens,
    own,
    sink::{RESOURCE_ID, Sink, client},
};
use bytes::Bytes;
use forebay::{
    core::{BoxError, ConfigError},
    export::EndpointGuard,
};
use forebay_collect::{
    BadPattern, FetchError, FetchedConfig, Filter, Labels, Recorder, RemoteConfig, RemoteStatus, Reporter,
    WhenUndecided,
};
use forebay_example_support::{
    stop::Interrupts,
    tls::{HttpsClient, TlsError, Trust, https_client},
};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use std::{
    fmt, io,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

/// Why nothing was reported, or not all; one line, for the user.
#[derive(Debug)]
pub enum RunError {
    /// A knob is out of its range.
    Config(ConfigError),
    /// The built-in server could not be started.
    Server(io::Error),
    /// Certificates cannot be used.
    Tls(TlsError),
    /// The worker that gathers panicked.
    Worker(String),
}

/// No configuration is larger.
const MAX_CONFIG: usize = 64 << 10;

/// Reports for as long as `options` say, or until it is interrupted; then makes a last report, and waits for what is under way.
///
/// `recorder` is the one that `metrics` counts into. `tell` receives what goes wrong on the way and is put right.
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
    let built_in = match options.config {
        Some(_) => None,
        None => {
            let started = BuiltIn::start(options.faults.clone(), options.seed, options.run_for.is_some()).await;
            Some(started.map_err(RunError::Server)?)
        }
    };
    let config = match (&options.config, &built_in) {
        (Some(uri), _) => uri.clone(),
        (None, Some(built_in)) => built_in.config().parse().unwrap_or_default(),
        (None, None) => Uri::default(),
    };
    let trust = trust(&options)?;
    let https = https_client(&trust);
    let tokens = options.login.clone().map(|login| Tokens::new(login, https.clone())).transpose()?;
    let asking = Asking {
        client: https,
        uri: config,
        guard: options.guard(),
        tokens: tokens.clone(),
        resource_id: options.resource_id.clone(),
    };
    let (config, fetching) = RemoteConfig::builder(move || asking.clone().fetch()).seed(options.seed).build()?;
    let failures = Arc::<AtomicU64>::default();
    let sink = Sink::new(&options, client(&options, &trust), tokens.as_ref(), Arc::clone(&failures))?;
    let (reporter, gathering) = Reporter::builder()
        .source(recorder)
        .source(own::process())
        .source(own::reporter(sink.exporter().clone(), config.clone(), failures))
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
    // In order: a last gathering, then everything that waits, then the tasks that only helped.
    let gathered = reporter.shutdown(options.drain).await;
    // A worker that panicked has gathered less than it should: that is no success.
    gathering.await.map_err(|panicked| RunError::Worker(panicked.to_string()))?;
    let closed = sink.exporter().clone().shutdown(options.drain).await;
    background.iter().for_each(tokio::task::JoinHandle::abort);
    let state = config.state();
    Ok(Summary {
        gathered,
        totals: closed.totals,
        counters: closed.counters,
        fetches: (state.successes + state.failures, state.failures),
        elapsed: start.elapsed(),
        books: match built_in {
            Some(built_in) if options.run_for.is_some() => Some(built_in.books().await),
            _ => None,
        },
    })
}

/// The authorities to trust. A system without any is no reason not to start, as long as all is plain HTTP: handshakes fail.
fn trust(options: &Options) -> Result<Trust, TlsError> {
    match &options.trust {
        Some(trust) => Ok(trust.clone()),
        None => Trust::system().or_else(|_none| Trust::none()),
    }
}

/// How the configuration is asked for.
#[derive(Clone)]
struct Asking {
    client: HttpsClient,
    uri: Uri,
    guard: EndpointGuard,
    tokens: Option<Tokens>,
    resource_id: Option<HeaderValue>,
}

// === impl Asking ===

impl Asking {
    async fn fetch(self) -> Result<FetchedConfig<Settings>, FetchError> {
        let response = self.ask().await.map_err(FetchError::no_response)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::status(response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), MAX_CONFIG).collect().await;
        let body = body.map_err(|error: BoxError| FetchError::unreadable(error))?.to_bytes();
        let settings = Settings::read(&body, &self.guard).map_err(FetchError::unreadable)?;
        let refresh = settings.refresh;
        let config = FetchedConfig::new(settings);
        Ok(match refresh {
            Some(interval) => config.refresh(interval),
            None => config,
        })
    }

    /// Asks with the token, and once more with a new one where the server does not take the first.
    async fn ask(&self) -> Result<Response<Incoming>, BoxError> {
        let Some(tokens) = &self.tokens else { return self.request(None).await };
        let token = tokens.get(None).await?;
        let response = self.request(Some(token.bearer()?)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let token = tokens.get(Some(&token)).await?;
        self.request(Some(token.bearer()?)).await
    }

    async fn request(&self, bearer: Option<HeaderValue>) -> Result<Response<Incoming>, BoxError> {
        let mut request = Request::get(&self.uri).body(Full::<Bytes>::default())?;
        let headers = [(header::AUTHORIZATION, bearer), (RESOURCE_ID, self.resource_id.clone())];
        for (name, value) in headers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            request.headers_mut().insert(name, value);
        }
        Ok(self.client.clone().ready().await?.call(request).await?)
    }
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

/// Without patterns everything is wanted. With patterns of which none can be read nothing is: the person who wrote them wanted
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
            Self::Tls(error) => write!(f, "{error}"),
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

impl From<TlsError> for RunError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}
