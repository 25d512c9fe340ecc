//! What is told to `tracing`, to be looked at: see [`Heard`].

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
/// Clones share what was heard. Set for one thread, it also hears what other threads, which have no subscriber, came by first.
///
/// ```
/// use forebay_testkit::events::Heard;
/// use tracing_core::Level;
///
/// let heard = Heard::of("my_crate");
/// tracing::subscriber::with_default(heard.clone(), || {
///     tracing::debug!(target: "my_crate", items = 3, "batch split");
///     tracing::debug!(target: "another", "not kept");
/// });
/// let events = heard.events();
/// assert_eq!(events.len(), 1);
/// assert_eq!((events[0].level, events[0].message.as_str()), (Level::DEBUG, "batch split"));
/// assert_eq!(events[0].field("items"), Some("3"));
/// ```
#[derive(Clone, Debug)]
pub struct Heard {
    target: &'static str,
    events: Arc<Mutex<Vec<HeardEvent>>>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeardEvent {
    /// How loud it is.
    pub level: Level,
    /// Who says it.
    pub target: String,
    /// What is said.
    pub message: String,
    /// The names and texts of the other fields that have a value, in their order.
    pub fields: Vec<(&'static str, String)>,
}

/// A second subscriber, which hears nothing, for as long as the process lives.
///
/// While there is just one, whoever comes by a call site first decides for all threads whether it is enabled: a test without a
/// subscriber would switch the event off for the test that listens. With two of them each is asked.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

// === impl Heard ===

impl Heard {
    /// Keeps the events whose target begins with `target`.
    #[must_use]
    pub fn of(target: &'static str) -> Self {
        LazyLock::force(&SECOND);
        Self { target, events: Arc::default() }
    }

    /// What was heard so far.
    #[must_use]
    pub fn events(&self) -> Vec<HeardEvent> {
        self.lock().clone()
    }

    /// What was heard so far with this message.
    #[must_use]
    pub fn said(&self, message: &str) -> Vec<HeardEvent> {
        self.lock().iter().filter(|event| event.message == message).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<HeardEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Heard {
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
        let mut heard = HeardEvent { level, target, message: String::new(), fields: Vec::new() };
        event.record(&mut heard);
        self.lock().push(heard);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

// === impl HeardEvent ===

impl HeardEvent {
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

impl Visit for HeardEvent {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}
