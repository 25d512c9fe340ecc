//! The knobs.

use crate::{
    CloseOutput, Event, Registry,
    bounds::{Client, Config, Key},
    close::{Hooks, Observer, OnClose, OnVacant},
    edge::Edge,
    hub::{Hub, Maker},
    table::Limits,
};
use forebay_core::{ConfigError, Observe};
use std::{fmt, future::Future, hash::Hash, num::NonZeroUsize, sync::Arc, time::Duration};

/// Builds a [`Registry`]; from [`Registry::builder`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`on_close`](Self::on_close) | the client is dropped | |
/// | [`on_vacant`](Self::on_vacant) | nothing | |
/// | [`close_deadline`](Self::close_deadline) | 5 s | above 0, at most 1 day |
/// | [`linger`](Self::linger) | 0: closed with the last lease | at most 1 day |
/// | [`negative_ttl`](Self::negative_ttl) | 0: a failure is not kept | at most 1 day |
/// | [`max_entries`](Self::max_entries) | 1,024 keys | at least 1 |
/// | [`when_full`](Self::when_full) | [`WhenFull::EvictIdle`] | |
/// | [`observer`](Self::observer) | none | |
/// | [`runtime`](Self::runtime) | that of the thread, see there | |
///
/// The 5 s are those of the ADBC driver's telemetry client, which waits that long for its last flush.
#[must_use = "a builder does nothing until `build`"]
pub struct RegistryBuilder<K, C, G = (), M = ClientMaker<K, C, G>> {
    maker: M,
    settings: Settings<K, C, G>,
}

/// What makes the clients of a registry: the function given to [`Registry::builder`].
pub struct ClientMaker<K, C, G>(pub(crate) Maker<K, C, G>);

/// Every knob.
pub(crate) struct Settings<K, C, G> {
    on_close: Option<OnClose<K, C>>,
    on_vacant: Option<OnVacant<K>>,
    observer: Option<Observer<K, G>>,
    close_deadline: Duration,
    linger: Duration,
    negative_ttl: Duration,
    max_entries: NonZeroUsize,
    when_full: WhenFull,
    #[cfg(not(any(loom, shuttle)))]
    runtime: Option<tokio::runtime::Handle>,
}

/// What a registry does when a new key comes and there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// The client that has lingered longest is closed; if all are in use, the call is refused.
    #[default]
    EvictIdle,
    /// The call is refused.
    Refuse,
}

/// Longer than anything sensible, and short enough for the clock.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

// === impl RegistryBuilder ===

impl<K, C, G, M> RegistryBuilder<K, C, G, M> {
    pub(crate) fn new(maker: M) -> Self {
        let settings = Settings {
            on_close: None,
            on_vacant: None,
            observer: None,
            close_deadline: Duration::from_secs(5),
            linger: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            max_entries: NonZeroUsize::MIN.saturating_add(1_023),
            when_full: WhenFull::default(),
            #[cfg(not(any(loom, shuttle)))]
            runtime: None,
        };
        Self { maker, settings }
    }

    /// Closes a client whose last lease has ended: flush it here.
    ///
    /// The hook gets the client itself. It runs as a task: on the runtime of the thread that dropped the last lease,
    /// else on the one the registry was built in or first used in ([`runtime`](Self::runtime)). Where there is none at
    /// all the close is put off to the next call inside a runtime, or to `close_all`, and counted
    /// ([`Counts::deferred`](crate::Counts::deferred)).
    ///
    /// A hook that fails, panics, or is cut off at [`close_deadline`](Self::close_deadline), is told to the observer
    /// and counted; nobody else notices.
    pub fn on_close<F, Fut>(mut self, close: F) -> Self
    where
        F: Fn(K, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: CloseOutput> + Send + 'static,
    {
        self.settings.on_close = Some(Arc::new(move |key, client| {
            let closing = close(key, client);
            Box::pin(async move { closing.await.into_result() })
        }));
        self
    }

    /// Forgets what belongs to a key, not to one client: its breaker, its credentials.
    ///
    /// Runs when the last client of a key is closed, after its hook, however that ended. Never while there is another
    /// client of the key, or one is being made, drained or closed; and while it runs, a call for the key waits. So a
    /// flush never finds its credentials gone, and a fresh client never loses its breaker to an old one.
    ///
    /// It must be short and must not block. Its panics are told to the observer.
    pub fn on_vacant(mut self, forget: impl Fn(&K) + Send + Sync + 'static) -> Self {
        self.settings.on_vacant = Some(Arc::new(forget));
        self
    }

    /// Sees every decision, as an [`Event`].
    ///
    /// It runs on the path of the call it reports, and must not block. Unlike elsewhere in this family, a panic in it
    /// is swallowed: some events are sent while a lease is being dropped. A closure has to name its argument's type:
    /// `|event: &Event<'_, String>| ..`.
    pub fn observer<O>(mut self, observer: O) -> Self
    where
        O: for<'a> Observe<Event<'a, K, G>> + Send + Sync + 'static,
    {
        self.settings.observer = Some(Arc::new(observer));
        self
    }

    /// How long a close hook may run.
    pub fn close_deadline(mut self, deadline: Duration) -> Self {
        self.settings.close_deadline = deadline;
        self
    }

    /// How long a client without a lease stays, in case somebody wants it again: at least this, at most 1.25 of it.
    ///
    /// An idle client is acquired and released as fast as one that others have, since neither tells the registry.
    /// Instead it looks, four times in this time and at most once in a millisecond, while there is a client. When the
    /// last handle is dropped, nothing lingers.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger;
        self
    }

    /// For how long a failure to make a client is told to others who ask for the same, without trying again.
    ///
    /// A [`Declined`](crate::Declined) is never kept. A failure counts as an entry, and is the first to go when room is
    /// needed.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.settings.negative_ttl = ttl;
        self
    }

    /// How many keys may have an entry: a client, an attempt to make one, or a failure.
    ///
    /// Clients that drain or close are not counted; each of those ends by its leases and by
    /// [`close_deadline`](Self::close_deadline).
    pub fn max_entries(mut self, max: NonZeroUsize) -> Self {
        self.settings.max_entries = max;
        self
    }

    /// What happens to a new key when there is no room.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.settings.when_full = when_full;
        self
    }

    /// Where close hooks run when the last lease is dropped outside a runtime.
    ///
    /// Without this, it is the runtime in which the registry is built, else the first in which it is used. The runtime
    /// must have its timer enabled; without one, deadlines and linger are not kept.
    #[cfg(not(any(loom, shuttle)))]
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.settings.runtime = Some(runtime);
        self
    }

    /// What was set, if it is allowed.
    pub(crate) fn checked(self) -> Result<(M, Settings<K, C, G>), ConfigError> {
        let Self { maker, settings } = self;
        let Settings { close_deadline, linger, negative_ttl, .. } = settings;
        if close_deadline.is_zero() {
            return Err(ConfigError::new("close_deadline", "0 s", "above 0"));
        }
        for (knob, value) in [("close_deadline", close_deadline), ("linger", linger), ("negative_ttl", negative_ttl)] {
            if value > A_DAY {
                return Err(ConfigError::new(knob, format_args!("{value:?}"), "at most 1 day"));
            }
        }
        Ok((maker, settings))
    }
}

impl<K, C, G> RegistryBuilder<K, C, G>
where
    K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static,
    C: Send + Sync + 'static,
    G: PartialEq + Clone + Send + Sync + 'static,
{
    /// The registry.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a knob outside the range in the table above.
    pub fn build(self) -> Result<Registry<K, C, G>, ConfigError> {
        let (ClientMaker(maker), settings) = self.checked()?;
        Ok(settings.registry(maker))
    }
}

impl<K, C, G, M> fmt::Debug for RegistryBuilder<K, C, G, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

// === impl Settings ===

impl<K: Key, C: Client, G: Config> Settings<K, C, G> {
    /// They have been checked.
    pub(crate) fn registry(self, maker: Maker<K, C, G>) -> Registry<K, C, G> {
        #[cfg(not(any(loom, shuttle)))]
        let edge = Edge::new(self.runtime.or_else(|| tokio::runtime::Handle::try_current().ok()));
        #[cfg(any(loom, shuttle))]
        let edge = Edge::unbound();
        let limits = Limits {
            max_entries: self.max_entries.get(),
            when_full: self.when_full,
            linger: self.linger,
            negative_ttl: self.negative_ttl,
            forgets: self.on_vacant.is_some(),
        };
        let hooks = Hooks {
            on_close: self.on_close,
            on_vacant: self.on_vacant,
            close_deadline: self.close_deadline,
            observer: self.observer,
        };
        Registry::of(Hub::new(limits, maker, hooks, edge))
    }
}

impl<K, C, G> Clone for Settings<K, C, G> {
    fn clone(&self) -> Self {
        Self {
            on_close: self.on_close.clone(),
            on_vacant: self.on_vacant.clone(),
            observer: self.observer.clone(),
            #[cfg(not(any(loom, shuttle)))]
            runtime: self.runtime.clone(),
            ..*self
        }
    }
}

impl<K, C, G> fmt::Debug for Settings<K, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("on_close", &self.on_close.is_some())
            .field("on_vacant", &self.on_vacant.is_some())
            .field("observer", &self.observer.is_some())
            .field("close_deadline", &self.close_deadline)
            .field("linger", &self.linger)
            .field("negative_ttl", &self.negative_ttl)
            .field("max_entries", &self.max_entries)
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}

// === impl ClientMaker ===

impl<K, C, G> fmt::Debug for ClientMaker<K, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMaker").finish_non_exhaustive()
    }
}
