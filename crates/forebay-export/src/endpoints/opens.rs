use forebay_breaker::{BreakerEvent, State};
use forebay_core::support::lock::Mutex;
use std::{collections::HashMap, sync::Arc};

/// How often the circuit of each endpoint has opened, by the names of the endpoints that there are.
#[derive(Clone, Debug)]
pub(super) struct Opens(Arc<Mutex<HashMap<Arc<str>, u64>>>);

// === impl Opens ===

impl Opens {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(HashMap::new())))
    }

    /// Has these endpoints from now on; the counts of those that stay are kept.
    pub(super) fn set<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) {
        let mut opens = self.0.lock();
        let before = std::mem::take(&mut *opens);
        *opens = names.map(|name| (Arc::clone(name), before.get(name).copied().unwrap_or_default())).collect();
    }

    /// Counts an event of a circuit, if it is an opening.
    pub(super) fn see(&self, event: &BreakerEvent) {
        if let BreakerEvent::Changed { key, to: State::Open, .. } = event
            && let Some(opens) = self.0.lock().get_mut(key.as_str())
        {
            *opens += 1;
        }
    }

    pub(super) fn of(&self, name: &str) -> u64 {
        self.0.lock().get(name).copied().unwrap_or_default()
    }
}
