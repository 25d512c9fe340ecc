/// The relation of a span to its parent and its children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SpanKind {
    /// Unknown; a server treats it as `Internal`.
    #[default]
    Unspecified = 0,
    /// An operation inside a program.
    Internal = 1,
    /// The handling of a remote request.
    Server = 2,
    /// A request to a remote service.
    Client = 3,
    /// The sending of a message whose handling the span does not wait for.
    Producer = 4,
    /// The handling of a message.
    Consumer = 5,
}

/// How the operation of a span ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StatusCode {
    /// The program did not set it.
    #[default]
    Unset = 0,
    /// The program declared it a success.
    Ok = 1,
    /// It failed.
    Error = 2,
}

// === impl SpanKind ===

impl SpanKind {
    /// Its number in OTLP.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

// === impl StatusCode ===

impl StatusCode {
    /// Its number in OTLP.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// The flags of a span or a link: the W3C trace flags, and whether the parent or the linked span is remote, if known.
///
/// ```
/// assert_eq!(forebay_otlp::span_flags(1, None), 0x001);
/// assert_eq!(forebay_otlp::span_flags(1, Some(false)), 0x101);
/// assert_eq!(forebay_otlp::span_flags(1, Some(true)), 0x301);
/// ```
#[must_use]
pub const fn span_flags(trace_flags: u8, is_remote: Option<bool>) -> u32 {
    const HAS_IS_REMOTE: u32 = 0x100;
    const IS_REMOTE: u32 = 0x200;
    let remote = match is_remote {
        None => 0,
        Some(false) => HAS_IS_REMOTE,
        Some(true) => HAS_IS_REMOTE | IS_REMOTE,
    };
    trace_flags as u32 | remote
}
