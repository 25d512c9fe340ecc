use super::{
    builder::Settings,
    error::TransportError,
    frame::{self, Head},
    sasl::Sasl,
    stream::Stream,
    versions::Versions,
};
use crate::{
    error::TelemetryUnsupported,
    wire::{ErrorCode, TelemetryRequest, TelemetryResponse},
};
use bytes::{Bytes, BytesMut};
use forebay_core::{
    BoxError,
    time::{saturating_add, saturating_mul},
};
use kafka_protocol::{
    messages::{ApiVersionsRequest, MetadataRequest, SaslAuthenticateRequest, SaslHandshakeRequest},
    protocol::{Encodable, HeaderVersion, StrBytes},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

/// A connection to one broker, past its handshake: one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    correlation: i32,
    settings: Arc<Settings>,
    versions: Versions,
    /// The address of the broker.
    broker: Arc<str>,
    /// The addresses of all brokers of the cluster, as this one named them.
    brokers: Vec<String>,
    /// When the connection is to be replaced, since the broker asks for the credentials again or a token ends.
    expires: Option<Instant>,
}

// === impl Connection ===

impl Connection {
    /// Connects, agrees on versions, and proves who we are, in no more time than the settings allow.
    pub(super) async fn open(settings: &Arc<Settings>, broker: &Arc<str>) -> Result<Self, TransportError> {
        let opened = timeout(settings.connect_timeout, Self::shake_hands(settings, broker)).await;
        let opened = opened.unwrap_or_else(|_elapsed| Err(TransportError::connect_timeout()));
        opened.map_err(|error| error.in_handshake().at(broker))
    }

    async fn shake_hands(settings: &Arc<Settings>, broker: &Arc<str>) -> Result<Self, TransportError> {
        let stream = TcpStream::connect(&**broker).await.map_err(TransportError::connect)?;
        // A push is one write and one read; nothing gains from waiting for more.
        stream.set_nodelay(true).map_err(TransportError::connect)?;
        let mut connection = Self {
            stream: encrypt(stream, settings, broker).await?,
            correlation: 0,
            settings: Arc::clone(settings),
            versions: Versions::default(),
            broker: Arc::clone(broker),
            brokers: Vec::new(),
            expires: None,
        };
        connection.versions = connection.agree().await?;
        if let Some(sasl) = settings.sasl.clone() {
            connection.authenticate(&sasl).await?;
        }
        connection.brokers = connection.discover().await?;
        Ok(connection)
    }

    /// The address of the broker.
    pub(super) fn broker(&self) -> &str {
        &self.broker
    }

    /// The addresses of all brokers of the cluster, as this one named them; none if it named none.
    pub(super) fn take_brokers(&mut self) -> Vec<String> {
        std::mem::take(&mut self.brokers)
    }

    /// Whether the connection is to be replaced before another request, since its credentials are about to end.
    pub(super) fn is_expired(&self) -> bool {
        self.expires.is_some_and(|at| Instant::now() >= at)
    }

    /// Ends when the broker closes the connection, or sends what was not asked for.
    pub(super) async fn broken(&mut self) {
        // CANCEL: a read that is dropped has read nothing.
        let mut byte = [0];
        let _ended = self.stream.read(&mut byte).await;
    }

    /// One request and its response.
    ///
    /// CANCEL: dropped before its end, the connection is in the middle of a frame, and must be dropped too.
    pub(super) async fn exchange(&mut self, request: &TelemetryRequest) -> Result<TelemetryResponse, BoxError> {
        let key = match request {
            TelemetryRequest::GetSubscriptions(_) => frame::GET_TELEMETRY_SUBSCRIPTIONS,
            TelemetryRequest::Push(_) => frame::PUSH_TELEMETRY,
        };
        // A broker without a receiver for telemetry does not list these at all.
        if self.versions.highest(key, 0).is_none() {
            return Err(TelemetryUnsupported::new().into());
        }
        let correlation = self.next_correlation();
        let frame = frame::encode_telemetry(correlation, &self.settings.client_id, request)?;
        let mut body = self.round_trip(key, 0, correlation, &frame).await?;
        Ok(frame::decode_telemetry(key, &mut body)?)
    }

    /// Asks which versions the broker speaks, in words that it understands.
    async fn agree(&mut self) -> Result<Versions, TransportError> {
        const NEWEST: i16 = 3;
        for version in [NEWEST, 0] {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(text(&self.settings.software_name))
                .with_client_software_version(text(&self.settings.software_version));
            // Version 0 has no room for the name.
            let request = if version >= NEWEST { request } else { ApiVersionsRequest::default() };
            let mut body = self.ask(frame::API_VERSIONS, version, &request).await?;
            if let Some(versions) = Versions::decode(version, &mut body)? {
                return Ok(versions);
            }
        }
        Err(TransportError::malformed("no version of ApiVersions is understood"))
    }

    /// Asks for the brokers of the cluster. A broker that does not list the request is not asked, and knows none.
    async fn discover(&mut self) -> Result<Vec<String>, TransportError> {
        // From version 1 on an empty list of topics asks for none; in version 0 it would ask for all.
        const NEWEST: i16 = 12;
        let Some(version @ 1..) = self.versions.highest(frame::METADATA, NEWEST) else { return Ok(Vec::new()) };
        // Nothing may come of a question.
        let request =
            MetadataRequest::default().with_topics(Some(Vec::new())).with_allow_auto_topic_creation(version < 4);
        let mut body = self.ask(frame::METADATA, version, &request).await?;
        frame::decode_brokers(version, &mut body)
    }

    async fn authenticate(&mut self, sasl: &Sasl) -> Result<(), TransportError> {
        let handshake = SaslHandshakeRequest::default().with_mechanism(text(sasl.mechanism_name()));
        let mut body = self.ask(frame::SASL_HANDSHAKE, 1, &handshake).await?;
        match frame::decode_handshake(&mut body)? {
            ErrorCode::NONE => {}
            code => {
                let mechanism = sasl.mechanism_name();
                return Err(TransportError::authentication(format!("{mechanism} is not taken: {code}")));
            }
        }
        let version = self.versions.highest(frame::SASL_AUTHENTICATE, 2).unwrap_or(0);
        let (mut token, mut exchange) = sasl.begin().await?;
        if let Some(valid_for) = exchange.valid_for() {
            self.expire_within(valid_for);
        }
        loop {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(token);
            let mut body = self.ask(frame::SASL_AUTHENTICATE, version, &request).await?;
            let response = frame::decode_authenticate(version, &mut body)?;
            if response.error_code != 0 {
                let message = response.error_message.map(|message| message.as_str().to_owned());
                return Err(exchange.refused(message.unwrap_or_default()));
            }
            let lifetime = u64::try_from(response.session_lifetime_ms).unwrap_or_default();
            if lifetime > 0 {
                self.expire_within(Duration::from_millis(lifetime));
            }
            match exchange.step(&response.auth_bytes)? {
                Some(next) => token = next,
                None => return Ok(()),
            }
        }
    }

    /// The credentials are good for so long. As in Java, the connection is replaced when 85 % of the time is over.
    fn expire_within(&mut self, lifetime: Duration) {
        let at = Instant::from_std(saturating_add(Instant::now().into_std(), saturating_mul(lifetime, 0.85)));
        self.expires = Some(self.expires.map_or(at, |before| before.min(at)));
    }

    /// One request of the handshake, and the body of its response.
    async fn ask<R>(&mut self, key: i16, version: i16, request: &R) -> Result<Bytes, TransportError>
    where
        R: Encodable + HeaderVersion,
    {
        let correlation = self.next_correlation();
        let frame = frame::encode(Head { key, version, correlation, client_id: &self.settings.client_id }, request)?;
        self.round_trip(key, version, correlation, &frame).await
    }

    async fn round_trip(
        &mut self,
        key: i16,
        version: i16,
        correlation: i32,
        frame: &[u8],
    ) -> Result<Bytes, TransportError> {
        self.stream.write_all(frame).await.map_err(TransportError::lost)?;
        self.stream.flush().await.map_err(TransportError::lost)?;
        let mut response = self.read_frame().await?;
        let id = frame::take_header(&mut response, frame::response_header(key, version))?;
        if id != correlation {
            return Err(TransportError::malformed(format_args!("it responds to request {id}, not {correlation}")));
        }
        Ok(response)
    }

    async fn read_frame(&mut self) -> Result<Bytes, TransportError> {
        let length = self.stream.read_i32().await.map_err(TransportError::lost)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.settings.max_response);
        let length = length.ok_or_else(|| TransportError::malformed("it is longer than any response may be"))?;
        let mut body = BytesMut::with_capacity(length.min(64 * 1024));
        while body.len() < length {
            let mut rest = (&mut self.stream).take((length - body.len()) as u64);
            if rest.read_buf(&mut body).await.map_err(TransportError::lost)? == 0 {
                return Err(TransportError::lost(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
        }
        Ok(body.freeze())
    }

    fn next_correlation(&mut self) -> i32 {
        self.correlation = self.correlation.wrapping_add(1) & i32::MAX;
        self.correlation
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(feature = "tls")]
async fn encrypt(stream: TcpStream, settings: &Settings, broker: &str) -> Result<Stream, TransportError> {
    use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
    let Some(config) = &settings.tls else { return Ok(Stream::Plain(stream)) };
    // The port is behind the last colon; an IPv6 address stands in brackets.
    let host = broker.rsplit_once(':').map_or(broker, |(host, _port)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(TransportError::connect)?;
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(TransportError::connect)?;
    Ok(Stream::Tls(Box::new(stream)))
}

#[cfg(not(feature = "tls"))]
async fn encrypt(stream: TcpStream, _: &Settings, _: &str) -> Result<Stream, TransportError> {
    Ok(Stream::Plain(stream))
}
