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
    messages::{ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest},
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
    /// When the broker wants the credentials anew.
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

    async fn shake_hands(settings: &Arc<Settings>, broker: &str) -> Result<Self, TransportError> {
        let stream = TcpStream::connect(broker).await.map_err(TransportError::connect)?;
        // A push is one write and one read; nothing gains from waiting for more.
        stream.set_nodelay(true).map_err(TransportError::connect)?;
        let mut connection = Self {
            stream: encrypt(stream, settings, broker).await?,
            correlation: 0,
            settings: Arc::clone(settings),
            versions: Versions::default(),
            expires: None,
        };
        connection.versions = connection.agree().await?;
        if let Some(sasl) = settings.sasl.clone() {
            connection.authenticate(&sasl).await?;
        }
        Ok(connection)
    }

    /// Whether the broker will ask for the credentials again, sooner than an answer may take.
    pub(super) fn is_expired(&self) -> bool {
        self.expires.is_some_and(|at| Instant::now() >= at)
    }

    /// Ends when the broker closes the connection, or says something that nobody asked for.
    pub(super) async fn broken(&mut self) {
        // CANCEL: a read that is dropped has read nothing.
        let mut byte = [0];
        let _ended = self.stream.read(&mut byte).await;
    }

    /// One request and its answer.
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
        let (mut token, mut exchange) = sasl.begin()?;
        loop {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(token);
            let mut body = self.ask(frame::SASL_AUTHENTICATE, version, &request).await?;
            let answer = frame::decode_authenticate(version, &mut body)?;
            if answer.error_code != 0 {
                let said = answer.error_message.map(|said| said.as_str().to_owned());
                return Err(TransportError::authentication(said.unwrap_or_default()));
            }
            let lifetime = u64::try_from(answer.session_lifetime_ms).unwrap_or_default();
            if lifetime > 0 {
                // As Java does: anew when 85 % of the time is over.
                let lifetime = saturating_mul(Duration::from_millis(lifetime), 0.85);
                self.expires = Some(Instant::from_std(saturating_add(Instant::now().into_std(), lifetime)));
            }
            match exchange.step(&answer.auth_bytes)? {
                Some(next) => token = next,
                None => return Ok(()),
            }
        }
    }

    /// One request of the handshake, and the body of its answer.
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
        let mut answer = self.read_frame().await?;
        let answered = frame::take_header(&mut answer, frame::answer_header(key, version))?;
        if answered != correlation {
            return Err(TransportError::malformed(format_args!("it answers request {answered}, not {correlation}")));
        }
        Ok(answer)
    }

    async fn read_frame(&mut self) -> Result<Bytes, TransportError> {
        let length = self.stream.read_i32().await.map_err(TransportError::lost)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.settings.max_response);
        let length = length.ok_or_else(|| TransportError::malformed("it is longer than any answer may be"))?;
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
