use http::HeaderValue;
use std::{error::Error, fmt, str::FromStr};

/// How a request is encoded, under the names of the OpenTelemetry specification.
///
/// The names are those of `OTEL_EXPORTER_OTLP_PROTOCOL`. The two of `http` are one `POST` for each batch; `grpc` is one call,
/// and needs a client that speaks HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// `http/protobuf`: the binary encoding; what the specification recommends.
    #[default]
    HttpProtobuf,
    /// `http/json`: the JSON mapping of the same messages, with ids in hex and enums as numbers.
    HttpJson,
    /// `grpc`: the binary encoding, as the message of a unary call.
    Grpc,
}

/// How the messages of a protocol are written.
#[cfg(feature = "opentelemetry")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEncoding {
    Protobuf,
    Json,
}

/// The name of a protocol that [`Protocol`] does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProtocol(String);

// === impl Protocol ===

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::HttpProtobuf, Self::HttpJson, Self::Grpc];

    /// Its name in the specification.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
            Self::Grpc => "grpc",
        }
    }

    /// The `Content-Type` of requests and responses.
    #[must_use]
    pub const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(self.media_type())
    }

    #[cfg(feature = "opentelemetry")]
    pub(crate) const fn encoding(self) -> BodyEncoding {
        match self {
            Self::HttpProtobuf | Self::Grpc => BodyEncoding::Protobuf,
            Self::HttpJson => BodyEncoding::Json,
        }
    }

    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "application/x-protobuf",
            Self::HttpJson => "application/json",
            Self::Grpc => "application/grpc",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == name).ok_or_else(|| UnknownProtocol(name.to_owned()))
    }
}

// === impl UnknownProtocol ===

impl fmt::Display for UnknownProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no OTLP protocol that is supported; allowed: ", self.0)?;
        let [first, rest @ ..] = Protocol::ALL;
        f.write_str(first.as_str())?;
        rest.iter().try_for_each(|protocol| write!(f, ", {protocol}"))
    }
}

impl Error for UnknownProtocol {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_no_other() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.as_str().parse(), Ok(protocol));
        }
        let error = "http/xml".parse::<Protocol>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"http/xml\" is no OTLP protocol that is supported; allowed: http/protobuf, http/json, grpc"
        );
    }
}
