//! Writes log records where they are emitted.

use super::{
    logs::SdkLog,
    origin::{ScopeId, ScopeOf, Scopes},
    values::Logged,
};
use crate::{
    json::Json,
    logs::{LogRecordMessage, LogRecordWriter, Severity},
    protobuf::Protobuf,
    protocol::Encoding,
    time::unix_nanos,
    value::AttributesWriter,
    wire::{Buf, Message, Wire},
};
use bytes::BytesMut;
use opentelemetry::{InstrumentationScope, logs};
use opentelemetry_sdk::logs::SdkLogRecord;
use std::cell::RefCell;

thread_local! {
    /// One per thread, so that nobody waits for another to write, or counts references in each other's cache.
    static PEN: RefCell<Pen> = RefCell::new(Pen::new());
}

/// What a thread needs to write records one behind the other into pieces of memory that are many records long, once it has
/// written enough of them.
pub(super) struct Pen {
    /// Empty between two records; what was written is taken out, and the memory behind it left.
    buf: Buf,
    /// How many bytes were written so far.
    written: usize,
    /// The scopes that were asked for last, each in the one place where it may stand.
    remembered: [Option<Remembered>; PLACES],
}

/// How many scopes a thread remembers.
const PLACES: usize = 32;

struct Remembered {
    serial: u64,
    scope: InstrumentationScope,
    target: Option<String>,
    id: ScopeId,
}

// === impl Pen ===

impl Pen {
    /// The largest piece of memory that records share, in bytes: it holds some seventy of them. All of it stays for as long as
    /// any of its records does.
    const LARGEST: usize = 16 << 10;

    /// From this length on, in bytes, a record has memory of its own.
    const LARGE: usize = Self::LARGEST / 4;

    /// A thread that has written less than this, in bytes, gives every record memory of its own.
    const BUSY: usize = 8 << 10;

    fn new() -> Self {
        Self { buf: Buf::new(BytesMut::new()), written: 0, remembered: [const { None }; PLACES] }
    }

    /// Makes room for a record, unless there is some.
    #[inline]
    fn make_room(&mut self) {
        // With less room than this most records would have to move while they are written.
        if self.buf.room() < (self.written / 64).min(Self::LARGEST / 16) && self.written >= Self::BUSY {
            self.begin_piece();
        }
    }

    /// Begins a piece that is a quarter of what was written so far, at most. What a thread leaves unused when it ends is no
    /// more than that, so that many short threads hold no more than their records weigh.
    #[cold]
    #[inline(never)]
    fn begin_piece(&mut self) {
        self.buf = Buf::new(BytesMut::with_capacity((self.written / 4).min(Self::LARGEST)));
    }

    /// Takes the record that was written.
    #[inline(always)]
    fn take(&mut self) -> BytesMut {
        let len = self.buf.len();
        self.written = self.written.saturating_add(len);
        if self.written >= Self::BUSY && len < Self::LARGE { self.buf.split() } else { self.copy_out() }
    }

    /// The same into memory of its own, exactly as much as it takes.
    #[cold]
    #[inline(never)]
    fn copy_out(&mut self) -> BytesMut {
        let record = self.buf.copied();
        self.buf.truncate(0);
        if self.buf.room() > Self::LARGEST {
            self.buf = Buf::new(BytesMut::new());
        }
        record
    }

    /// The scope of `record`, from the memory of this thread.
    pub(super) fn scope_of(scopes: &Scopes, record: &SdkLogRecord, scope: &InstrumentationScope) -> ScopeId {
        let asked = ScopeOf { scope, target: record.target().map(|target| &**target) };
        let with = |pen: &RefCell<Self>| pen.try_borrow_mut().ok().map(|mut pen| pen.scope(scopes, &asked));
        PEN.try_with(with).ok().flatten().unwrap_or_else(|| scopes.id_of(&asked))
    }

    /// Writes `record` with the pen of this thread, and gives it to `hand_over`.
    ///
    /// What is written is handed over from where it was made: each place that it is moved to in between is read in other
    /// pieces than it was written in, which takes longer than the queue does.
    #[inline(always)]
    pub(super) fn write(
        scopes: &Scopes,
        record: &SdkLogRecord,
        scope: &InstrumentationScope,
        hand_over: impl Fn(SdkLog),
    ) {
        let with = |pen: &RefCell<Self>| match pen.try_borrow_mut() {
            Ok(mut pen) => {
                hand_over(pen.put(scopes, record, scope));
                true
            }
            Err(_) => false,
        };
        // While a thread ends its pen may be gone before the last record comes.
        if !PEN.try_with(with).unwrap_or(false) {
            Self::alone(scopes, record, scope, &hand_over);
        }
    }

    #[cold]
    #[inline(never)]
    fn alone(scopes: &Scopes, record: &SdkLogRecord, scope: &InstrumentationScope, hand_over: &dyn Fn(SdkLog)) {
        hand_over(Self::new().put(scopes, record, scope));
    }

    // Inlined, so that the item is made where it is handed over, and not moved there.
    #[inline(always)]
    fn put(&mut self, scopes: &Scopes, record: &SdkLogRecord, scope: &InstrumentationScope) -> SdkLog {
        let severity = record.severity_number().map_or(Severity::Unspecified, severity);
        let id = self.scope(scopes, &ScopeOf { scope, target: record.target().map(|target| &**target) });
        // In place: moving it back and forth would take longer than writing half the record.
        self.make_room();
        let buf = &mut self.buf;
        match scopes.encoding() {
            Encoding::Protobuf => Protobuf::fragment(buf, |m| fields(record, severity, m)),
            Encoding::Json => Json::fragment(buf, |m| fields(record, severity, m)),
        }
        let whole = !buf.take_too_deep() && !matches!(id, ScopeId::None);
        SdkLog::new(id, severity, whole, self.take())
    }

    #[inline]
    fn scope(&mut self, scopes: &Scopes, asked: &ScopeOf<'_>) -> ScopeId {
        let place = place_of(asked.target.unwrap_or_else(|| asked.scope.name()), scopes.serial()) % PLACES;
        match self.remembered.get(place) {
            Some(Some(known)) if known.is(scopes, asked) => known.id.clone(),
            _ => self.learn(place, scopes, asked),
        }
    }

    #[cold]
    fn learn(&mut self, place: usize, scopes: &Scopes, asked: &ScopeOf<'_>) -> ScopeId {
        let id = scopes.id_of(asked);
        if let Some(slot) = self.remembered.get_mut(place) {
            let (scope, target) = (asked.scope.clone(), asked.target.map(str::to_owned));
            *slot = Some(Remembered { serial: scopes.serial(), scope, target, id: id.clone() });
        }
        id
    }
}

/// Where a name is remembered; names of one program differ in their length or at their end.
#[inline]
fn place_of(name: &str, serial: u64) -> usize {
    let end = name.as_bytes().last_chunk::<8>().map_or(0, |end| u64::from_le_bytes(*end));
    let mixed = (end ^ serial ^ ((name.len() as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 40).unwrap_or(0)
}

// === impl Remembered ===

impl Remembered {
    #[inline]
    fn is(&self, scopes: &Scopes, asked: &ScopeOf<'_>) -> bool {
        self.serial == scopes.serial()
            && self.target.as_deref() == asked.target
            && self.scope.name() == asked.scope.name()
            && self.scope.version() == asked.scope.version()
            && self.scope.schema_url() == asked.scope.schema_url()
            // In order, because that is how they are written.
            && self.scope.attributes().eq(asked.scope.attributes())
    }
}

/// The fields in the order of the canonical encoding.
#[inline]
pub(super) fn fields<M: Message<Kind = LogRecordMessage>>(record: &SdkLogRecord, severity: Severity, m: &mut M) {
    if let Some(time) = record.timestamp() {
        m.time_unix_nano(unix_nanos(time));
    }
    m.severity(severity);
    m.severity_text(record.severity_text().unwrap_or_default());
    if let Some(body) = record.body() {
        m.body(Logged(body));
    }
    record.attributes_iter().for_each(|(key, value)| AttributesWriter::attribute(m, key.as_str(), Logged(value)));
    if let Some(trace) = record.trace_context() {
        m.flags(trace.trace_flags.map_or(0, |flags| flags.to_u8().into()));
        m.trace_id(trace.trace_id.to_bytes());
        m.span_id(trace.span_id.to_bytes());
    }
    if let Some(time) = record.observed_timestamp() {
        m.observed_time_unix_nano(unix_nanos(time));
    }
    m.event_name(record.event_name().unwrap_or_default());
}

/// The numbers are the same in the API and in OTLP.
#[inline]
pub(super) fn severity(severity: logs::Severity) -> Severity {
    u8::try_from(severity as i32).ok().and_then(Severity::from_number).unwrap_or_default()
}
