use std::fmt;

/// A gRPC [status code](https://github.com/grpc/grpc/blob/master/doc/statuscodes.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// Not an error.
    Ok = 0,
    /// The call was cancelled, typically by its caller.
    Cancelled = 1,
    /// Something that has no code, or came from elsewhere.
    Unknown = 2,
    /// The request is wrong, whatever the state of the server.
    InvalidArgument = 3,
    /// The deadline passed before the call was complete.
    DeadlineExceeded = 4,
    /// What the request names does not exist.
    NotFound = 5,
    /// What the request creates exists already.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A quota, or room of some kind, is used up.
    ResourceExhausted = 8,
    /// The server is not in a state in which it can do this.
    FailedPrecondition = 9,
    /// The call was aborted, typically because of another one.
    Aborted = 10,
    /// The request reaches beyond the valid range.
    OutOfRange = 11,
    /// The server cannot do this at all.
    Unimplemented = 12,
    /// The server is broken.
    Internal = 13,
    /// The server is not available at the moment.
    Unavailable = 14,
    /// Data were lost.
    DataLoss = 15,
    /// The caller is not authenticated.
    Unauthenticated = 16,
}

// === impl Code ===

impl Code {
    /// Every code, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code with this number; what is not a code is [`Unknown`](Self::Unknown).
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        let code = usize::try_from(number).ok().and_then(|number| Self::ALL.get(number));
        code.copied().unwrap_or(Self::Unknown)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What a response without `grpc-status` means, by its [HTTP status].
    ///
    /// [HTTP status]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
    #[must_use]
    pub fn from_http(status: http::StatusCode) -> Self {
        match status.as_u16() {
            200 => Self::Ok,
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_at_its_number() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(Code::from_number(i32::from(code.number())), code);
        }
        for nonsense in [-1, 17, i32::MAX, i32::MIN] {
            assert_eq!(Code::from_number(nonsense), Code::Unknown);
        }
    }
}
