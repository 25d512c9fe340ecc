//! What can be configured.

use crate::{
    CloseOutput, Registry, RegistryEvent,
    inner::{Inner, Maker},
    runtime::Runtime,
    settings::Settings,
    table::Limits,
};
use forebay_core::{ConfigError, Observe};
use std::{fmt, future::Future, hash::Hash, sync::Arc, time::Duration};

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
/// | [`observe`](Self::observe) | none | |
/// | [`runtime`](Self::runtime) | that of the thread | one with a timer |
///
/// The 5 s are those of the ADBC driver's telemetry client, which waits that long for its last flush.
#[must_use = "a builder does nothing until `build`"]
pub struct RegistryBuilder<K, C, G = (), M = ClientMaker<K, C, G>> {
    maker: M,
    settings: Settings<K, C, G>,
    #[cfg(not(any(loom, shuttle)))]
    runtime: Option<tokio::runtime::Handle>,
}

/// The maker, and settings that are in their ranges.
type Checked<K, C, G, M> = (M, Settings<K, C, G>, Runtime);

/// What makes the clients of a registry: the function given to [`Registry::builder`].
pub struct ClientMaker<K, C, G>(pub(crate) Maker<K, C, G>);

/// What a registry does with a new key for which there is no room.
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
        let limits = Limits {
            max_entries: 1_024,
            when_full: WhenFull::default(),
            linger: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            forgets: false,
        };
        let close_deadline = Duration::from_secs(5);
        Self {
            maker,
            settings: Settings { on_close: None, on_vacant: None, observer: None, close_deadline, limits },
            #[cfg(not(any(loom, shuttle)))]
            runtime: None,
        }
    }

    /// Closes a client whose last lease has ended: flush it here.
    ///
    /// The hook gets the client itself. It runs as a task: on the runtime of the thread that dropped the last lease, else on
    /// that of [`runtime`](Self::runtime). A hook that fails, panics, or is cut off at [`close_deadline`](Self::close_deadline)
    /// is reported to the observer and counted, and changes nothing for others.
    pub fn on_close<F, Fut>(mut self, close: F) -> Self
    where
        F: Fn(K, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: CloseOutput> + Send + 'static,
    {
        self.settings.on_close = Some(Box::new(move |key, client| {
            let closing = close(key, client);
            Box::pin(async move { closing.await.into_result() })
        }));
        self
    }

    /// Forgets what belongs to a key, not to one client: its breaker, its credentials.
    ///
    /// Runs when the last client of a key is closed, after its hook, however that ended. Never while there is another
    /// client of the key, or one is being made, drained or closed; and while it runs, a call for the key waits. So a
    /// flush never finds its credentials removed, and a fresh client never loses its breaker to an old one.
    ///
    /// It must be short and must not block. Its panics are reported to the observer.
    pub fn on_vacant(mut self, forget: impl Fn(&K) + Send + Sync + 'static) -> Self {
        self.settings.on_vacant = Some(Box::new(forget));
        self.settings.limits.forgets = true;
        self
    }

    /// Sees every decision, as a [`RegistryEvent`].
    ///
    /// It runs on the path of the call it reports, and must not block. Unlike elsewhere in this family, a panic in it
    /// is swallowed: some events are sent while a lease is being dropped. A closure has to name its argument's type:
    /// `|event: &RegistryEvent<'_, String>| ..`.
    pub fn observe<O>(mut self, observer: O) -> Self
    where
        O: for<'a> Observe<RegistryEvent<'a, K, G>> + Send + Sync + 'static,
    {
        self.settings.observer = Some(Box::new(observer));
        self
    }

    /// How long a close hook may run.
    pub fn close_deadline(mut self, deadline: Duration) -> Self {
        self.settings.close_deadline = deadline;
        self
    }

    /// How long a client without a lease stays, in case a call wants it again: at least this, at most 1.25 of it.
    ///
    /// An idle client is acquired and released as fast as one that others have, since neither changes the registry.
    /// Instead it looks, four times in this time and at most once in a millisecond, while there is a client. When the
    /// last handle is dropped, nothing lingers.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.limits.linger = linger;
        self
    }

    /// For how long a failure to make a client is returned to others that ask for the same, without another attempt.
    ///
    /// A [`Declined`](crate::Declined) is never kept. A failure counts as an entry, and is the first to go when room is
    /// needed.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.settings.limits.negative_ttl = ttl;
        self
    }

    /// How many keys may have an entry: a client, an attempt to make one, or a failure.
    ///
    /// Clients that drain or close are not counted; each of those ends by its leases and by
    /// [`close_deadline`](Self::close_deadline).
    pub fn max_entries(mut self, max: usize) -> Self {
        self.settings.limits.max_entries = max;
        self
    }

    /// What happens to a new key when there is no room.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.settings.limits.when_full = when_full;
        self
    }

    /// Where close hooks run when the last lease is dropped outside a runtime.
    ///
    /// Without this, it is the runtime in which the registry is built. Its timer must be enabled. Where both this runtime and
    /// the one of the thread have shut down, a hook is dropped before it runs, and its client counts as aborted.
    #[cfg(not(any(loom, shuttle)))]
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// What was set, if it is allowed.
    pub(crate) fn checked(self) -> Result<Checked<K, C, G, M>, ConfigError> {
        let Limits { max_entries, linger, negative_ttl, .. } = self.settings.limits;
        if max_entries == 0 {
            return Err(ConfigError::new("max_entries", max_entries, "at least 1"));
        }
        for (knob, value, least) in [
            ("close_deadline", self.settings.close_deadline, Duration::from_nanos(1)),
            ("linger", linger, Duration::ZERO),
            ("negative_ttl", negative_ttl, Duration::ZERO),
        ] {
            ConfigError::within(knob, value, least..=A_DAY)?;
        }
        #[cfg(not(any(loom, shuttle)))]
        let runtime = Runtime::new(self.runtime)?;
        #[cfg(any(loom, shuttle))]
        let runtime = Runtime;
        Ok((self.maker, self.settings, runtime))
    }
}

impl<K, C, G> RegistryBuilder<K, C, G>
where
    K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static,
    C: Send + Sync + 'static,
    G: PartialEq + Clone + Send + Sync + 'static,
{
    /// The registry. It is built in a Tokio runtime, or gets the handle of [one](Self::runtime).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a knob outside the range in the table above, and where there is no runtime, or one without a timer.
    pub fn build(self) -> Result<Registry<K, C, G>, ConfigError> {
        let (ClientMaker(maker), settings, runtime) = self.checked()?;
        Ok(Registry::of(Inner::new(Arc::new(settings), runtime, maker)))
    }
}

impl<K, C, G, M> fmt::Debug for RegistryBuilder<K, C, G, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

// === impl ClientMaker ===

impl<K, C, G> fmt::Debug for ClientMaker<K, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMaker").finish_non_exhaustive()
    }
}
