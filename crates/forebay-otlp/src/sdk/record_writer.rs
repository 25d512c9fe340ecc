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
    protocol::BodyEncoding,
    time::unix_nanos,
    value::AttributesWriter,
    wire::{Buf, Message, Wire},
};
use bytes::BytesMut;
use opentelemetry::{InstrumentationScope, logs};
use opentelemetry_sdk::logs::SdkLogRecord;
use std::cell::RefCell;

thread_local! {
    /// One per thread, so that no thread waits for another, and no two threads share the cache line of a reference count.
    static RECORD_WRITER: RefCell<RecordWriter> = RefCell::new(RecordWriter::new());
}

/// Writes the log records of one thread one after the other into shared blocks of memory, once the thread has written enough of
/// them.
pub(super) struct RecordWriter {
    /// Empty between two records: a written record is split off, and the memory after it stays.
    buf: Buf,
    /// The bytes that were written so far.
    written: usize,
    /// The scopes of recent records, each at the one index that its name hashes to.
    remembered: [Option<Remembered>; PLACES],
}

/// The number of scopes that a thread remembers.
const PLACES: usize = 32;

struct Remembered {
    /// The serial number of the [`Scopes`] that `id` belongs to.
    serial: u64,
    scope: InstrumentationScope,
    target: Option<String>,
    id: ScopeId,
}

// === impl RecordWriter ===

impl RecordWriter {
    /// The largest block of memory that records share, in bytes: it holds about seventy of them. All of it stays allocated as
    /// long as one of its records does.
    const LARGEST: usize = 16 << 10;

    /// From this length on, in bytes, a record has a block of its own.
    const LARGE: usize = Self::LARGEST / 4;

    /// A thread that has written less than this, in bytes, gives every record a block of its own.
    const BUSY: usize = 8 << 10;

    fn new() -> Self {
        Self { buf: Buf::new(BytesMut::new()), written: 0, remembered: [const { None }; PLACES] }
    }

    /// Makes room for a record, unless there is enough.
    #[inline]
    fn make_room(&mut self) {
        // With less room than this, most records would be moved while they are written.
        if self.buf.room() < (self.written / 64).min(Self::LARGEST / 16) && self.written >= Self::BUSY {
            self.begin_block();
        }
    }

    /// Begins a block of at most a quarter of the bytes that were written so far. A thread that ends leaves no more than that
    /// unused, so that many short threads hold little more than the weight of their records.
    #[cold]
    #[inline(never)]
    fn begin_block(&mut self) {
        self.buf = Buf::new(BytesMut::with_capacity((self.written / 4).min(Self::LARGEST)));
    }

    /// Takes the written record.
    #[inline(always)]
    fn take(&mut self) -> BytesMut {
        let len = self.buf.len();
        self.written = self.written.saturating_add(len);
        if self.written >= Self::BUSY && len < Self::LARGE { self.buf.split() } else { self.copy_out() }
    }

    /// Takes the written record as a copy, in a block of exactly its length.
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

    /// The scope of `record`, by the scopes that this thread remembers.
    pub(super) fn scope_of(scopes: &Scopes, record: &SdkLogRecord, scope: &InstrumentationScope) -> ScopeId {
        let asked = ScopeOf { scope, target: record.target().map(|target| &**target) };
        let with = |writer: &RefCell<Self>| writer.try_borrow_mut().ok().map(|mut writer| writer.scope(scopes, &asked));
        RECORD_WRITER.try_with(with).ok().flatten().unwrap_or_else(|| scopes.id_of(&asked))
    }

    /// Writes `record` with the writer of this thread, and passes the item to `hand_over`.
    ///
    /// Inlined on purpose, so that the item is built where it is handed over. A move in between reloads it with wider loads than
    /// its stores, which defeats store forwarding.
    #[inline(always)]
    pub(super) fn write(
        scopes: &Scopes,
        record: &SdkLogRecord,
        scope: &InstrumentationScope,
        hand_over: impl Fn(SdkLog),
    ) {
        let with = |writer: &RefCell<Self>| match writer.try_borrow_mut() {
            Ok(mut writer) => {
                hand_over(writer.put(scopes, record, scope));
                true
            }
            Err(_) => false,
        };
        // At the end of a thread its writer may be dropped before the last record is emitted.
        if !RECORD_WRITER.try_with(with).unwrap_or(false) {
            Self::alone(scopes, record, scope, &hand_over);
        }
    }

    #[cold]
    #[inline(never)]
    fn alone(scopes: &Scopes, record: &SdkLogRecord, scope: &InstrumentationScope, hand_over: &dyn Fn(SdkLog)) {
        hand_over(Self::new().put(scopes, record, scope));
    }

    // Inlined on purpose, as above.
    #[inline(always)]
    fn put(&mut self, scopes: &Scopes, record: &SdkLogRecord, scope: &InstrumentationScope) -> SdkLog {
        let severity = record.severity_number().map_or(Severity::Unspecified, severity);
        let id = self.scope(scopes, &ScopeOf { scope, target: record.target().map(|target| &**target) });
        // The buffer is used in place: a move out and back would take longer than writing half the record.
        self.make_room();
        let buf = &mut self.buf;
        match scopes.encoding() {
            BodyEncoding::Protobuf => Protobuf::fragment(buf, |m| fields(record, severity, m)),
            BodyEncoding::Json => Json::fragment(buf, |m| fields(record, severity, m)),
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

/// The index at which a scope is remembered. The names of one program usually differ in their length or at their end.
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
            // In order, because the encoding has them in order.
            && self.scope.attributes().eq(asked.scope.attributes())
    }
}

/// Writes the fields in the order of the canonical encoding.
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
