use super::{
    rules::{Api, BrokerLog, Fault, Rules, Subscription},
    sasl::{Exchange, Login, Step},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
        PushTelemetryRequest, PushTelemetryResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
        SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse, api_versions_response::ApiVersion,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// A broker on a port of this machine, which ends when it is dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    rules: Mutex<Rules>,
    changed: watch::Sender<u64>,
    login: Mutex<Option<Login>>,
    session_millis: Mutex<i64>,
    /// Whether it lists the two requests, and whether it speaks an ApiVersions newer than 0.
    knows_telemetry: Mutex<bool>,
    old: Mutex<bool>,
}

/// How one request ends.
enum Reply {
    Frame(BytesMut),
    Nothing,
    Close,
}

// === impl Broker ===

impl Broker {
    /// Listens on a free port. It asks for no metrics before [`subscribe`](Self::subscribe).
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1:0").await.expect("a free port")
    }

    /// Listens at this address.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub async fn start_on(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            rules: Mutex::new(Rules::new()),
            changed: watch::Sender::new(0),
            login: Mutex::default(),
            session_millis: Mutex::default(),
            knows_telemetry: Mutex::new(true),
            old: Mutex::new(false),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, server })
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Asks for this from now on.
    pub fn subscribe(&self, subscription: Subscription) {
        self.shared.rules().subscription = subscription;
    }

    /// The faults of the next requests of one kind, in this order; then the rules hold again.
    pub fn script(&self, api: Api, faults: impl IntoIterator<Item = Fault>) {
        self.shared.rules().script(api, faults);
    }

    /// Accepts only clients with these credentials.
    pub fn require(&self, login: Login) {
        *lock(&self.shared.login) = Some(login);
    }

    /// Says that credentials are good for this long, in milliseconds; 0 for as long as the connection lives.
    pub fn sessions_last(&self, millis: i64) {
        *lock(&self.shared.session_millis) = millis;
    }

    /// Whether it lists the requests of KIP-714 among those it knows.
    pub fn knows_telemetry(&self, yes: bool) {
        *lock(&self.shared.knows_telemetry) = yes;
    }

    /// Speaks version 0 of ApiVersions only, as brokers before 2.4 do not know newer ones.
    pub fn is_old(&self, yes: bool) {
        *lock(&self.shared.old) = yes;
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> BrokerLog {
        self.shared.rules().seen.clone()
    }

    /// Waits until it has seen this. Tests put a timeout around it.
    pub async fn until(&self, mut enough: impl FnMut(&BrokerLog) -> bool) -> BrokerLog {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let seen = self.seen();
            if enough(&seen) {
                return seen;
            }
            changed.changed().await.expect("the broker keeps the sender");
        }
    }

    /// Ends it with all its connections, and waits until the port is free.
    pub async fn stop(mut self) {
        self.server.abort();
        let _aborted = (&mut self.server).await.is_err();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// === impl Shared ===

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        lock(&self.rules)
    }

    fn note(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with the server, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.rules().seen.connections += 1;
        shared.note();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let mut connection = Connection { shared, exchange: Exchange::default(), in_: false, ids: Vec::new() };
            // A broker serves the next connection, however this one has ended.
            let _ended = connection.run(stream).await.is_err();
            let mut rules = connection.shared.rules();
            connection.ids.iter().for_each(|id| rules.forget(*id));
        });
    }
}

struct Connection {
    shared: Arc<Shared>,
    exchange: Exchange,
    in_: bool,
    ids: Vec<[u8; 16]>,
}

impl Connection {
    async fn run(&mut self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let length = stream.read_i32().await?;
            let length =
                usize::try_from(length).ok().filter(|length| *length < 64 << 20).ok_or(io::ErrorKind::InvalidData)?;
            let mut frame = vec![0; length];
            stream.read_exact(&mut frame).await?;
            let reply = self.respond(Bytes::from(frame)).map_err(io::Error::other)?;
            self.shared.note();
            match reply {
                Reply::Frame(frame) => stream.write_all(&frame).await?,
                Reply::Nothing => {}
                Reply::Close => return Ok(()),
            }
        }
    }

    fn respond(&mut self, mut frame: Bytes) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let (key, version) = (frame.slice(..2).get_i16(), frame.slice(2..4).get_i16());
        let header_version = match key {
            17 => SaslHandshakeRequest::header_version(version),
            18 => ApiVersionsRequest::header_version(version),
            36 => SaslAuthenticateRequest::header_version(version),
            _ => 2,
        };
        let header = RequestHeader::decode(&mut frame, header_version)?;
        let correlation = header.correlation_id;
        match key {
            18 => self.versions(version, correlation, frame),
            17 => {
                let asked = SaslHandshakeRequest::decode(&mut frame, version)?;
                let taken = lock(&self.shared.login)
                    .as_ref()
                    .is_some_and(|login| login.mechanism() == asked.mechanism.as_str());
                let response = SaslHandshakeResponse::default().with_error_code(if taken { 0 } else { 33 });
                reply(correlation, version, &response)
            }
            36 => self.authenticate(version, correlation, frame),
            71 | 72 if lock(&self.shared.login).is_some() && !self.in_ => Ok(Reply::Close),
            71 => self.get(correlation, frame),
            72 => self.push(correlation, frame),
            _ => Ok(Reply::Close),
        }
    }

    fn versions(
        &mut self,
        version: i16,
        correlation: i32,
        mut frame: Bytes,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let newest = if *lock(&self.shared.old) { 0 } else { 4 };
        if version > newest {
            // In version 0, which every client can read.
            return reply(correlation, 0, &ApiVersionsResponse::default().with_error_code(35));
        }
        let asked = ApiVersionsRequest::decode(&mut frame, version)?;
        if version >= 3 {
            let software = (asked.client_software_name.to_string(), asked.client_software_version.to_string());
            self.shared.rules().seen.software.push(software);
        }
        let mut keys = vec![(17, 1), (18, newest), (36, 2)];
        if *lock(&self.shared.knows_telemetry) {
            keys.extend([(71, 0), (72, 0)]);
        }
        let keys =
            keys.into_iter().map(|(key, highest)| ApiVersion::default().with_api_key(key).with_max_version(highest));
        reply(correlation, version, &ApiVersionsResponse::default().with_api_keys(keys.collect()))
    }

    fn authenticate(
        &mut self,
        version: i16,
        correlation: i32,
        mut frame: Bytes,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let asked = SaslAuthenticateRequest::decode(&mut frame, version)?;
        let login = lock(&self.shared.login).clone();
        let Some(login) = login else { return Ok(Reply::Close) };
        let response = SaslAuthenticateResponse::default();
        let response = match login.step(&mut self.exchange, &asked.auth_bytes) {
            Step::Continue(token) => response.with_auth_bytes(token.into()),
            Step::Accepted(token) => {
                self.in_ = true;
                self.shared.rules().seen.logins += 1;
                let millis = *lock(&self.shared.session_millis);
                response.with_auth_bytes(token.into()).with_session_lifetime_ms(millis)
            }
            Step::Refused => {
                response.with_error_code(58).with_error_message(Some(StrBytes::from_static_str("who are you?")))
            }
        };
        reply(correlation, version, &response)
    }

    fn get(&mut self, correlation: i32, mut frame: Bytes) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let asked = GetTelemetrySubscriptionsRequest::decode(&mut frame, 0)?;
        let mut rules = self.shared.rules();
        let fault = rules.fault(Api::Get);
        let (code, id) = rules.get(*asked.client_instance_id.as_bytes(), forced(&fault));
        let wanted = rules.subscription.clone();
        drop(rules);
        self.ids.push(id);
        let mut response =
            GetTelemetrySubscriptionsResponse::default().with_error_code(code).with_throttle_time_ms(throttle(&fault));
        if code == 0 {
            response = response
                .with_client_instance_id(uuid::Uuid::from_bytes(id))
                .with_subscription_id(wanted.id())
                .with_accepted_compression_types(wanted.accepted)
                .with_push_interval_ms(wanted.interval_ms)
                .with_telemetry_max_bytes(wanted.max_bytes)
                .with_delta_temporality(wanted.delta)
                .with_requested_metrics(wanted.metrics.into_iter().map(StrBytes::from_string).collect());
        }
        faulty(fault, correlation, reply(correlation, 0, &response)?)
    }

    fn push(&mut self, correlation: i32, mut frame: Bytes) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let push = PushTelemetryRequest::decode(&mut frame, 0)?;
        let mut rules = self.shared.rules();
        let fault = rules.fault(Api::Push);
        let id = *push.client_instance_id.as_bytes();
        let code = rules.push(
            id,
            push.subscription_id,
            push.terminating,
            push.compression_type,
            &push.metrics,
            forced(&fault),
        );
        drop(rules);
        let response = PushTelemetryResponse::default().with_error_code(code).with_throttle_time_ms(throttle(&fault));
        faulty(fault, correlation, reply(correlation, 0, &response)?)
    }
}

fn forced(fault: &Fault) -> Option<i16> {
    match fault {
        Fault::Code(code) => Some(*code),
        _ => None,
    }
}

fn throttle(fault: &Fault) -> i32 {
    match fault {
        Fault::Throttle(millis) => *millis,
        _ => 0,
    }
}

fn faulty(fault: Fault, correlation: i32, as_is: Reply) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
    Ok(match fault {
        Fault::None | Fault::Code(_) | Fault::Throttle(_) => as_is,
        Fault::Disconnect => Reply::Close,
        Fault::Silence => Reply::Nothing,
        Fault::Garbage(body) => {
            let mut frame = BytesMut::new();
            frame.put_i32(i32::try_from(body.len() + 5)?);
            frame.put_i32(correlation);
            frame.put_u8(0);
            frame.put_slice(&body);
            Reply::Frame(frame)
        }
        Fault::WrongCorrelation => match as_is {
            Reply::Frame(mut frame) => {
                frame[4..8].copy_from_slice(&correlation.wrapping_add(1).to_be_bytes());
                Reply::Frame(frame)
            }
            other => other,
        },
    })
}

fn reply<R: Encodable + HeaderVersion>(
    correlation: i32,
    version: i16,
    response: &R,
) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    ResponseHeader::default().with_correlation_id(correlation).encode(&mut frame, R::header_version(version))?;
    response.encode(&mut frame, version)?;
    let length = i32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(Reply::Frame(frame))
}
