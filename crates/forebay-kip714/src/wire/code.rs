use std::fmt;

/// An error code of Kafka's protocol; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i16);

// === impl ErrorCode ===

impl ErrorCode {
    /// No error.
    pub const NONE: Self = Self(0);
    /// The version of the request is not supported.
    pub const UNSUPPORTED_VERSION: Self = Self(35);
    /// The request makes no sense to the broker: a push after the terminating one, say.
    pub const INVALID_REQUEST: Self = Self(42);
    /// The compression type is not supported.
    pub const UNSUPPORTED_COMPRESSION_TYPE: Self = Self(76);
    /// The broker's receiver could not read the metrics.
    pub const INVALID_RECORD: Self = Self(87);
    /// The request came too early.
    pub const THROTTLING_QUOTA_EXCEEDED: Self = Self(89);
    /// The subscription has changed since it was asked for.
    pub const UNKNOWN_SUBSCRIPTION_ID: Self = Self(117);
    /// The payload was larger than the broker takes.
    pub const TELEMETRY_TOO_LARGE: Self = Self(118);

    /// Kafka's name of it, where it plays a part here.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NONE => "NONE",
            Self::UNSUPPORTED_VERSION => "UNSUPPORTED_VERSION",
            Self::INVALID_REQUEST => "INVALID_REQUEST",
            Self::UNSUPPORTED_COMPRESSION_TYPE => "UNSUPPORTED_COMPRESSION_TYPE",
            Self::INVALID_RECORD => "INVALID_RECORD",
            Self::THROTTLING_QUOTA_EXCEEDED => "THROTTLING_QUOTA_EXCEEDED",
            Self::UNKNOWN_SUBSCRIPTION_ID => "UNKNOWN_SUBSCRIPTION_ID",
            Self::TELEMETRY_TOO_LARGE => "TELEMETRY_TOO_LARGE",
            _ => return None,
        })
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "error {}", self.0),
        }
    }
}
