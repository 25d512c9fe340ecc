//! Records the events of `tracing` for assertions: see [`EventRecorder`].

use std::{
    fmt::{self, Write},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};
use tracing_core::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::NoSubscriber,
};

/// A subscriber that keeps the events of the targets which begin with one text, at every level.
///
/// Clones share what was recorded. Set for one thread, it also records the events of call sites that other threads, which have no
/// subscriber, reached first.
///
/// ```
/// use forebay_testkit::events::EventRecorder;
/// use tracing_core::Level;
///
/// let recorder = EventRecorder::of("my_crate");
/// tracing::subscriber::with_default(recorder.clone(), || {
///     tracing::debug!(target: "my_crate", items = 3, "batch split");
///     tracing::debug!(target: "another", "not kept");
/// });
/// let events = recorder.events();
/// assert_eq!(events.len(), 1);
/// assert_eq!((events[0].level, events[0].message.as_str()), (Level::DEBUG, "batch split"));
/// assert_eq!(events[0].field("items"), Some("3"));
/// ```
#[derive(Clone, Debug)]
pub struct EventRecorder {
    target: &'static str,
    events: Arc<Mutex<Vec<RecordedEvent>>>,
}

/// One recorded event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// The level of the event.
    pub level: Level,
    /// The target of the event.
    pub target: String,
    /// The message of the event.
    pub message: String,
    /// The names and texts of the other fields that have a value, in their order.
    pub fields: Vec<(&'static str, String)>,
}

/// A second subscriber, which records nothing, for as long as the process lives.
///
/// While there is just one, the first thread that reaches a call site decides for all threads whether it is enabled: a test
/// without a subscriber would switch the event off for the test that records it. With two of them, each is asked.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

// === impl EventRecorder ===

impl EventRecorder {
    /// Keeps the events whose target begins with `target`.
    #[must_use]
    pub fn of(target: &'static str) -> Self {
        LazyLock::force(&SECOND);
        Self { target, events: Arc::default() }
    }

    /// The events that were recorded so far.
    #[must_use]
    pub fn events(&self) -> Vec<RecordedEvent> {
        self.lock().clone()
    }

    /// The events that were recorded so far with this message.
    #[must_use]
    pub fn with_message(&self, message: &str) -> Vec<RecordedEvent> {
        self.lock().iter().filter(|event| event.message == message).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RecordedEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for EventRecorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(self.target)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target().to_owned());
        let mut recorded = RecordedEvent { level, target, message: String::new(), fields: Vec::new() };
        event.record(&mut recorded);
        self.lock().push(recorded);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

// === impl RecordedEvent ===

impl RecordedEvent {
    /// The text of one field, if it has a value.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        match field.name() {
            // A `String` takes whatever is written to it.
            "message" => drop(self.message.write_fmt(value)),
            name => self.fields.push((name, value.to_string())),
        }
    }
}

impl Visit for RecordedEvent {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}
