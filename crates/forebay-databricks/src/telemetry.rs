use crate::{
    ClientInfo, Connect, Connection, EndpointKey, FeatureFlag, HostReport, Identity, KILL_SWITCH, Notice, Settings,
    connection::Live,
    gate::{Ask, GateUse, Gates, gates, is_killed},
    guard::Guarded,
    host::host_key,
    host_client::{HostClient, Plan},
    own_logs::OwnLogs,
    statement::Session,
};
use bytes::{Buf, Bytes, BytesMut};
use forebay_core::{BoxError, ConfigError, Observe, panic, time::saturating_add};
use forebay_intake::within;
use forebay_registry::{AcquireError, CloseEnd, CloseReport, Lease, Registry, RegistryEvent};
use futures_util::future::{join_all, poll_fn};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;

/// The telemetry of a driver: one for the process, see [`global`](Self::global).
///
/// Clones share it.
#[derive(Clone)]
pub struct DriverTelemetry {
    shared: Arc<Shared>,
}

/// Builds a [`DriverTelemetry`].
///
/// | knob | default |
/// | --- | --- |
/// | [`settings`](Self::settings) | [`Settings::node`] |
/// | [`client_info`](Self::client_info) | the driver's name is `forebay` |
/// | [`feature_flag`](Self::feature_flag) | none: the service is not asked |
/// | [`kill_switch`](Self::kill_switch) | what the environment says |
/// | [`observe`](Self::observe) | none |
/// | [`allow_inside`](Self::allow_inside) | no |
/// | [`max_hosts`](Self::max_hosts) | 128 |
#[must_use = "a builder does nothing until `build`"]
pub struct DriverTelemetryBuilder<C> {
    client: C,
    settings: Settings,
    bad: Vec<ConfigError>,
    info: ClientInfo,
    flag: Option<FeatureFlag>,
    kill_switch: Option<String>,
    observer: Arc<Observer>,
    allow_inside: bool,
    max_hosts: usize,
}

pub(crate) type Observer = dyn for<'a> Observe<Notice<'a>> + Send + Sync;

/// The instance of the process.
static GLOBAL: Mutex<Option<DriverTelemetry>> = Mutex::new(None);

struct Shared {
    /// The settings of connections that bring none.
    settings: Settings,
    hosts: Registry<HostKey, HostClient, HostSettings>,
    /// Whether each host wants telemetry; `None` if it is not asked.
    gates: Option<Gates>,
    /// Whether the kill switch is on.
    killed: bool,
    allow_inside: bool,
    observer: Arc<Observer>,
    /// The number of the next session.
    sessions: AtomicU64,
    /// Whether it was shut down.
    closed: AtomicBool,
}

/// What a client cannot be shared across: the host, the identity, and whether logs have credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostKey {
    pub(crate) endpoint: EndpointKey,
    authenticated: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostSettings(Settings);

/// The most that is read of a response about a flag, in bytes.
const MAX_FLAGS: usize = 256 << 10;

// === impl DriverTelemetry ===

impl DriverTelemetry {
    /// What can be configured, with its defaults; all requests are sent by `client`.
    pub fn builder<C>(client: C) -> DriverTelemetryBuilder<C> {
        DriverTelemetryBuilder {
            client,
            settings: Settings::default(),
            bad: Vec::new(),
            info: ClientInfo::default(),
            flag: None,
            kill_switch: std::env::var(KILL_SWITCH).ok(),
            observer: Arc::new(()),
            allow_inside: false,
            max_hosts: 128,
        }
    }

    /// The instance of the process: the one that the first call has made, whatever later calls would make.
    ///
    /// Two users in one process, such as two versions of a pool or a driver and a tool beside it, then share one exporter for each
    /// host, and with it one circuit and one flush schedule. `make` is called if there is no instance so far; of calls at the same
    /// time more than one may make one, of which all but one are dropped unused. An instance that was shut down stays, and has no
    /// telemetry for new connections.
    ///
    /// # Errors
    /// What `make` fails with; the next call tries again.
    pub fn global(make: impl FnOnce() -> Result<Self, ConfigError>) -> Result<Self, ConfigError> {
        // CORRECTNESS: `make` is user code, and runs without the lock.
        let lock = || GLOBAL.lock().unwrap_or_else(PoisonError::into_inner);
        let existing = lock().clone();
        if let Some(existing) = existing {
            return Ok(existing);
        }
        let made = make()?;
        // The one that is not used is dropped after the lock is released.
        let (winner, _unused) = match &mut *lock() {
            Some(existing) => (existing.clone(), Some(made)),
            empty => (empty.insert(made).clone(), None),
        };
        Ok(winner)
    }

    /// Opens the telemetry of a connection; one that is switched off if there shall be none.
    ///
    /// It waits for the feature flag, unless what the service said last still holds, and at most 10 seconds; the driver need not: it
    /// can connect meanwhile. It never fails.
    ///
    /// # Cancellation
    /// Nothing is left behind.
    pub async fn connect(&self, connect: Connect) -> Connection {
        Connection::new(self.open(connect).await)
    }

    /// What became of the telemetry of each host that has a connection now.
    #[must_use]
    pub fn reports(&self) -> Vec<(String, HostReport)> {
        let hosts = self.shared.hosts.snapshot();
        let report = |key: &HostKey| Some((key.endpoint.origin().to_owned(), self.shared.hosts.get(key)?.report()));
        hosts.entries.iter().filter_map(|entry| report(&entry.key)).collect()
    }

    /// Sends what every host has now, open statements too; ends within `deadline`, whatever the network does.
    ///
    /// `false` if not everything had a fate by then. For a process that is about to end.
    ///
    /// # Cancellation
    /// What is on its way goes on.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let hosts = &self.shared.hosts;
        let leases: Vec<_> = hosts.snapshot().entries.iter().filter_map(|entry| hosts.get(&entry.key)).collect();
        let flushing = leases.iter().map(|client| async {
            client.statements.complete_all();
            client.exporter.flush().await;
        });
        within(deadline, join_all(flushing)).await.is_some()
    }

    /// Takes no connection any more, flushes, and waits until those that are there have ended and all hosts are closed.
    ///
    /// It ends within `deadline`, whatever the network does; a connection that is still open then is in the report, and its
    /// host is closed when it ends.
    ///
    /// # Cancellation
    /// Hosts that are being closed go on for as long as their own timeout allows.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let until = Instant::from_std(saturating_add(Instant::now().into_std(), deadline));
        self.shared.closed.store(true, Ordering::Relaxed);
        // Whether it was in time is in the report below.
        let _in_time = self.flush(deadline).await;
        if let Some(gates) = &self.shared.gates {
            // A flag has nothing to flush, so its end needs no time.
            drop(gates.close_all(Duration::ZERO).await);
        }
        ShutdownReport(self.shared.hosts.close_all(until.saturating_duration_since(Instant::now())).await)
    }

    async fn open(&self, connect: Connect) -> Option<Live> {
        let shared = &self.shared;
        let Connect { host, session_id, workspace_id, parameters, auth_type, credentials, settings } = connect;
        let settings = settings.filter(|settings| match settings.validate() {
            Ok(()) => true,
            Err(error) => {
                shared.observer.observe(&Notice::BadSetting(&error));
                false
            }
        });
        let settings = settings.unwrap_or_else(|| shared.settings.clone());
        if shared.killed || !settings.enabled || shared.closed.load(Ordering::Relaxed) {
            return None;
        }
        let credentials = credentials.filter(|_| settings.authenticated);
        let identity = match &credentials {
            // A panic of the driver's code; the panic hook has reported it.
            Some(credentials) => panic::catch(|| credentials.identity()).ok()?,
            None => Identity::anonymous(),
        };
        let endpoint = match host_key(&host, identity, shared.allow_inside) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                shared.observer.observe(&Notice::BadHost(error));
                return None;
            }
        };
        let gate = match &shared.gates {
            Some(gates) => {
                let gate = match gates.acquire(&endpoint).await {
                    Ok(gate) => GateUse::new(gate, credentials.as_ref()),
                    Err(error) => {
                        shared.unavailable(endpoint.origin(), &error);
                        return None;
                    }
                };
                if !gate.is_open().await {
                    return None;
                }
                Some(gate)
            }
            None => None,
        };
        // Only now: a connection without telemetry, or without credentials, decides nothing for others.
        let key = HostKey { endpoint, authenticated: credentials.is_some() };
        let client = match shared.hosts.acquire_with(&key, &HostSettings(settings)).await {
            Ok(client) => client,
            Err(error) => {
                shared.unavailable(key.endpoint.origin(), &error);
                return None;
            }
        };
        let entry = credentials.map(|credentials| client.store.enter(credentials));
        let number = shared.sessions.fetch_add(1, Ordering::Relaxed);
        let own_logs = Arc::<OwnLogs>::default();
        let session = Arc::new(Session { number, session_id, workspace_id, parameters, auth_type, own_logs });
        Some(Live { client, entry, session, gate })
    }
}

impl fmt::Debug for DriverTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverTelemetry").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    /// A connection has no telemetry.
    fn unavailable(&self, host: &str, error: &AcquireError) {
        self.observer.observe(&Notice::Unavailable { host, why: &error.to_string() });
    }
}

// === impl DriverTelemetryBuilder ===

impl<C> DriverTelemetryBuilder<C> {
    /// Sets how it behaves; default [`Settings::node`].
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets how it behaves by what users have set, see [`Settings::read`]; what is wrong is a notice to the observer.
    pub fn settings_read(mut self, (settings, bad): (Settings, Vec<ConfigError>)) -> Self {
        (self.settings, self.bad) = (settings, bad);
        self
    }

    /// Sets what the driver says of itself.
    pub fn client_info(mut self, info: ClientInfo) -> Self {
        self.info = info;
        self
    }

    /// Asks the service whether telemetry is wanted, before there is any.
    pub fn feature_flag(mut self, flag: FeatureFlag) -> Self {
        self.flag = Some(flag);
        self
    }

    /// Sets the value of the kill switch; by default it is read from [`KILL_SWITCH`] in the environment.
    pub fn kill_switch(mut self, value: Option<String>) -> Self {
        self.kill_switch = value;
        self
    }

    /// Sets what receives the notices, such as a closure `|notice: &Notice<'_>| ..`; the last one counts.
    ///
    /// It runs on the path of what it reports, and must not block. A panic in it is caught.
    pub fn observe(mut self, observer: impl for<'a> Observe<Notice<'a>> + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(Guarded(Box::new(observer)));
        self
    }

    /// Sends to this machine and to private networks too, and over plain `http`: for tests and proxies.
    pub fn allow_inside(mut self) -> Self {
        self.allow_inside = true;
        self
    }

    /// Sets for how many hosts and identities there may be telemetry at a time; default 128. Connections beyond have none.
    pub fn max_hosts(mut self, hosts: usize) -> Self {
        self.max_hosts = hosts;
        self
    }

    /// The telemetry of the process. Nothing runs until the first connection; the last flush of a host runs in the runtime that
    /// its last connection is dropped in, else in the one of this call.
    ///
    /// # Errors
    /// [`ConfigError`] if a setting that was made by hand or `max_hosts` is out of its range, and outside a Tokio runtime with a timer.
    pub fn build<B>(self) -> Result<DriverTelemetry, ConfigError>
    where
        C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let Self { client, settings, bad, info, flag, kill_switch, observer, allow_inside, max_hosts } = self;
        settings.validate()?;
        if max_hosts == 0 {
            return Err(ConfigError::new("max_hosts", max_hosts, "1 and more"));
        }
        bad.iter().for_each(|error| observer.observe(&Notice::BadSetting(error)));
        let killed = is_killed(kill_switch.as_deref()).unwrap_or_else(|value| {
            observer.observe(&Notice::BadKillSwitch { value: &value });
            false
        });
        let gates = flag.map(|flag| gates(flag, asking(client.clone()), Arc::clone(&observer))).transpose()?;
        let (info, of_clients, of_registry) = (Arc::new(info), Arc::clone(&observer), Arc::clone(&observer));
        let make = move |key: HostKey, settings: HostSettings| {
            let plan = Plan {
                origin: key.endpoint.origin().to_owned(),
                settings: settings.0,
                authenticated: key.authenticated,
                info: Arc::clone(&info),
                observer: Arc::clone(&of_clients),
            };
            std::future::ready(plan.build(client.clone()))
        };
        let hosts = Registry::builder_with(make)
            .on_close(|_key, client: HostClient| client.close())
            // A host ends by its own timeout; this one is for what should never happen.
            .close_deadline(settings.close_timeout.saturating_add(Duration::from_secs(1)))
            .max_entries(max_hosts)
            .observe(move |event: &RegistryEvent<'_, HostKey, HostSettings>| notify(event, &*of_registry))
            .build()?;
        let (sessions, closed) = (AtomicU64::new(0), AtomicBool::new(false));
        let shared = Shared { settings, hosts, gates, killed, allow_inside, observer, sessions, closed };
        Ok(DriverTelemetry { shared: Arc::new(shared) })
    }
}

impl<C> fmt::Debug for DriverTelemetryBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverTelemetryBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// How a [`DriverTelemetry::shutdown`] went.
#[derive(Debug)]
pub struct ShutdownReport(CloseReport<HostKey>);

// === impl ShutdownReport ===

impl ShutdownReport {
    /// Whether every host was flushed and closed in time.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.0.is_clean()
    }
}

fn notify(event: &RegistryEvent<'_, HostKey, HostSettings>, observer: &Observer) {
    match event {
        RegistryEvent::Diverged { key, first, given, .. } => {
            observer.observe(&Notice::Diverged { host: key.endpoint.origin(), first: &first.0, given: &given.0 });
        }
        RegistryEvent::Closed { key, end, .. } if !matches!(end, CloseEnd::Done) => {
            observer.observe(&Notice::CloseFailed { host: key.endpoint.origin(), end });
        }
        _ => {}
    }
}

/// Sends one request with a clone of the client, and reads its response up to a cap.
fn asking<C, B>(client: C) -> Arc<Ask>
where
    C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Arc::new(move |request| {
        let mut client = client.clone();
        Box::pin(async move {
            poll_fn(|cx| client.poll_ready(cx)).await.map_err(Into::into)?;
            let response = client.call(request).await.map_err(Into::into)?;
            let status = response.status();
            let body = read(response.into_body()).await?;
            Ok::<(StatusCode, Bytes), BoxError>((status, body))
        })
    })
}

async fn read<B>(body: B) -> Result<Bytes, BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let (mut body, mut all) = (pin!(body), BytesMut::new());
    while let Some(frame) = body.as_mut().frame().await {
        let Ok(mut data) = frame.map_err(Into::into)?.into_data() else { continue };
        while data.has_remaining() {
            let chunk = data.chunk();
            if all.len() + chunk.len() > MAX_FLAGS {
                return Err(format!("the response is longer than {MAX_FLAGS} bytes").into());
            }
            all.extend_from_slice(chunk);
            let read = chunk.len();
            data.advance(read);
        }
    }
    Ok(all.freeze())
}

/// The lease of a host's client.
pub(crate) type HostLease = Lease<HostClient>;
