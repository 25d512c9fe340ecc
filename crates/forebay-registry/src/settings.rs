//! What a registry does where its users have a say.

use crate::{RegistryEvent, table::Limits, trace};
use forebay_core::{
    BoxError, Observe,
    panic::{Panic, catch},
};
use std::{fmt, future::Future, pin::Pin, time::Duration};

/// A close hook at work.
pub(crate) type Closing = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;
type OnClose<K, C> = Box<dyn Fn(K, C) -> Closing + Send + Sync>;
type OnVacant<K> = Box<dyn Fn(&K) + Send + Sync>;
type Observer<K, G> = Box<dyn for<'a> Observe<RegistryEvent<'a, K, G>> + Send + Sync>;

/// Hooks and limits.
pub(crate) struct Settings<K, C, G> {
    /// Closes a client; `None` drops it.
    pub(crate) on_close: Option<OnClose<K, C>>,
    /// Forgets what belongs to a key without a client.
    pub(crate) on_vacant: Option<OnVacant<K>>,
    /// Sees every decision.
    pub(crate) observer: Option<Observer<K, G>>,
    /// How long `on_close` may take.
    pub(crate) close_deadline: Duration,
    pub(crate) limits: Limits,
}

// === impl Settings ===

impl<K, C, G> Settings<K, C, G> {
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// The caller holds no lock. A panic of the observer ends here, for some events are sent while a lease is being dropped.
    pub(crate) fn emit_event(&self, event: &RegistryEvent<'_, K, G>) {
        trace::emit_event(event);
        if let Some(observer) = &self.observer {
            // The panic hook has reported it, and there is no caller that it is an error for.
            let _observed = catch(|| {
                if observer.enabled() {
                    observer.observe(event);
                }
            });
        }
    }

    pub(crate) fn run_on_vacant(&self, key: &K) -> Result<(), Panic> {
        self.on_vacant.as_ref().map_or(Ok(()), |on_vacant| catch(|| on_vacant(key)))
    }
}

impl<K, C, G> fmt::Debug for Settings<K, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("on_close", &self.on_close.is_some())
            .field("on_vacant", &self.on_vacant.is_some())
            .field("observer", &self.is_observed())
            .field("close_deadline", &self.close_deadline)
            .field("limits", &self.limits)
            .finish()
    }
}
