//! The table under its lock, and what happens outside it: the maker, the hooks, the observer.
//!
//! One rule holds everywhere here: no user code runs, and no lease, key, configuration or error is dropped, while the lock is
//! held. (Keys are hashed, compared and cloned under it, and configurations compared.) [`Inner::locked`] sees to the keys,
//! configurations and errors; whatever else leaves the state is returned out of it.

mod close;
mod swap;

pub(crate) use self::swap::Swap;

use crate::{
    AcquireError, AcquireErrorKind, CloseReason, RegistryEvent,
    bounds::{Client, Config, Key},
    lease::{CloseWait, Live, ReleaseHook},
    runtime::{BuildHasher, Published, Runtime, Strong, Weak, now},
    settings::Settings,
    table::{Acquired, Built, Forget, Leases, Table},
};
use forebay_core::{
    BoxError,
    panic::Panic,
    single_flight::{InFlight, Notifier, Work},
    support::lock::Mutex,
};
use std::{borrow::Borrow, collections::HashMap, hash::Hash, sync::Arc, time::Duration};

/// What all handles, leases and tasks of one registry share.
pub(crate) struct Inner<K, C, G> {
    /// Leased clients that calls have asked for; read without a lock.
    ///
    /// It may lag behind the table: a client may be missing, or its leases may have ended. Both lead to the table. It
    /// never has a client that was replaced, nor any once the registry is closed.
    published: Published<Map<K, C, G>>,
    state: Mutex<State<K, C, G>>,
    maker: Maker<K, C, G>,
    pub(crate) settings: Arc<Settings<K, C, G>>,
    pub(crate) runtime: Runtime,
    /// Wakes those that wait for the end of everything.
    over: Arc<Notifier>,
}

pub(crate) type Maker<K, C, G> = Arc<dyn Fn(K, Arc<G>) -> Work<Result<C, BoxError>> + Send + Sync>;
pub(crate) type Shared<C, G> = Arc<InFlight<Result<C, BoxError>, Completion<C, G>>>;
type Map<K, C, G> = HashMap<K, Public<C, G>, BuildHasher>;

struct Public<C, G> {
    live: Weak<Live<C>>,
    config: Arc<G>,
}

struct State<K, C, G> {
    table: Table<K, Arc<G>>,
    /// The clients that have leases, by their id in the table.
    clients: Clients<C>,
    /// What the waiters of an entry wait for, by its id in the table.
    in_flight: HashMap<u64, Shared<C, G>, BuildHasher>,
    /// Calls that took the lock for a client which a newer publication would have had.
    misses: usize,
    /// How many clients are published.
    published: usize,
    /// Whether there is a sweeper.
    sweeping: bool,
}

struct Clients<C>(HashMap<u64, ClientRef<C>, BuildHasher>);

struct ClientRef<C> {
    live: Weak<Live<C>>,
    /// The registry's own lease, where clients linger.
    keep: Option<Strong<Live<C>>>,
}

/// What those that wait for a client get.
pub(crate) enum Completion<C, G> {
    /// The client, made with this configuration.
    Client { live: Strong<Live<C>>, config: Arc<G> },
    /// It could not be made with this configuration.
    Failed { error: AcquireError, config: Arc<G> },
    /// There is none, whatever the configuration.
    Refused(AcquireError),
    /// They ask again.
    Again,
}

/// A client, or why there is none.
pub(crate) type Found<C> = Result<Strong<Live<C>>, AcquireError>;

/// What the waiter whose poll ended the work reports and begins, after the others have been woken.
pub(crate) struct Effects<K, C> {
    /// From the first call that wanted the client.
    took: Duration,
    /// The number of the client, if one was made.
    created: Option<u64>,
    /// Why none was made.
    failed: Option<AcquireError>,
    /// A client without a place, which is closed.
    retired: Option<Retired<K, C>>,
    /// The key, if this was the last that it had.
    forget: Option<Forget<K>>,
}

/// A client that is to be closed.
pub(crate) struct Retired<K, C> {
    pub(crate) key: K,
    pub(crate) generation: u64,
    pub(crate) client: C,
    pub(crate) reason: CloseReason,
}

/// The way of a client back to its registry.
struct Releaser<K, C, G> {
    inner: Arc<Inner<K, C, G>>,
    key: K,
}

// === impl Inner ===

impl<K: Key, C: Client, G: Config> Inner<K, C, G> {
    pub(crate) fn new(settings: Arc<Settings<K, C, G>>, runtime: Runtime, maker: Maker<K, C, G>) -> Arc<Self> {
        let state = State {
            table: Table::new(settings.limits.clone()),
            clients: Clients(HashMap::default()),
            in_flight: HashMap::default(),
            misses: 0,
            published: 0,
            sweeping: false,
        };
        let (published, over) = (Published::from_pointee(Map::default()), Notifier::new());
        Arc::new(Self { published, state: Mutex::new(state), maker, settings, runtime, over })
    }

    /// Runs `change` under the lock, and drops what has left the table after the lock is released.
    fn locked<T>(&self, change: impl FnOnce(&mut State<K, C, G>) -> T) -> T {
        // CORRECTNESS: the guard ends with the inner block, so that what has left the table is dropped without the lock.
        let (output, _removed) = {
            let mut state = self.state.lock();
            let output = change(&mut state);
            (output, state.table.take_removed())
        };
        output
    }

    /// A lease of a published client: no lock, no allocation, no clock.
    #[inline]
    pub(crate) fn fast<Q>(&self, key: &Q, config: Option<&G>) -> Option<Strong<Live<C>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let map = self.published.load();
        // CORRECTNESS: `upgrade` fails once the last lease has ended, so that a client which is being closed is never handed out.
        let (key, public) = map.get_key_value(key)?;
        let live = public.live.upgrade()?;
        live.mark();
        self.reused(key, &live);
        if let Some(given) = config
            && *public.config != *given
        {
            self.diverged(key, live.generation(), &public.config, given);
        }
        Some(live)
    }

    /// A lease of a client that is there, leased or idle.
    pub(crate) fn find<Q>(&self, key: &Q) -> Option<Strong<Live<C>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (live, _stale) = self.locked(|state| {
            let live = state.clients.lease(state.table.client(key)?.0)?;
            Some((live, self.count_miss(state)))
        })?;
        if self.settings.is_observed() {
            self.reused(&key.to_owned(), &live);
        }
        Some(live)
    }

    /// A caller got a client that was there.
    #[inline]
    pub(crate) fn reused(&self, key: &K, live: &Live<C>) {
        if self.settings.is_observed() {
            self.settings.emit_event(&RegistryEvent::Reused { key, generation: live.generation() });
        }
    }

    /// A lease or a refusal; else the id of an entry, which counts one waiter more, and what to wait for.
    pub(crate) fn join(self: &Arc<Self>, key: &K, config: &Arc<G>) -> Result<Found<C>, (u64, Shared<C, G>)> {
        let now = now();
        // CORRECTNESS: the look-up and the entry are one step under the lock, so that of several callers without a client one
        // begins the work, and the others wait for it.
        let (joined, _keep, _stale) = self.locked(|state| {
            if let Some((id, first)) = state.table.client(key)
                && let Some(live) = state.clients.lease(id)
            {
                return (Ok(Ok((live, Arc::clone(first)))), None, self.count_miss(state));
            }
            match state.table.acquire(key, config, now, &state.clients) {
                Acquired::Refused(error) => (Ok(Err(error)), None, None),
                Acquired::Wait { id, builds, evicted } => {
                    let in_flight = state.in_flight.entry(id).or_insert_with(|| {
                        if builds {
                            InFlight::of(self.make(key.clone(), Arc::clone(config)), Arc::new(key.clone()))
                        } else {
                            InFlight::awaited()
                        }
                    });
                    let joined = Err((id, Arc::clone(in_flight)));
                    (joined, evicted.and_then(|id| state.clients.take_keep(id)), None)
                }
            }
        });
        Ok(match joined? {
            Ok((live, first)) => {
                self.reused(key, &live);
                if *first != **config {
                    self.diverged(key, live.generation(), &first, config);
                }
                Ok(live)
            }
            Err(error) => {
                self.settings.emit_event(&RegistryEvent::Refused { key, error: &error });
                Err(error)
            }
        })
    }

    /// The work for the client `id` has ended: the table learns it, and those that wait get what is returned.
    pub(crate) fn complete(
        self: &Arc<Self>,
        key: &K,
        id: u64,
        end: Result<Result<C, BoxError>, Panic>,
    ) -> (Completion<C, G>, Effects<K, C>) {
        let result = match end {
            Ok(made) => made.map_err(AcquireError::made),
            Err(panic) => Err(AcquireError::panicked(&panic)),
        };
        let (now, failed) = (now(), result.as_ref().err().cloned());
        // CORRECTNESS: the work leaves with its entry, and a later call finds the client or asks the maker.
        // What is dropped here is never the last pointer to it: the caller polls it.
        let (completion, mut effects, _in_flight) = self.locked(|state| {
            let since = state.table.building_since(id);
            let took = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            let mut effects = Effects { took, created: None, failed: None, retired: None, forget: None };
            let completion = match state.table.built(key, id, result, now) {
                Built::Client { client, config } => {
                    effects.created = Some(id);
                    Completion::Client { live: self.admit(state, key, id, client), config }
                }
                Built::Failed { error, config, forget } => {
                    effects.forget = forget;
                    Completion::Failed { error, config }
                }
                Built::Late { error, retired, forget } => {
                    effects.forget = forget;
                    effects.created = retired.is_some().then_some(id);
                    let retire = |(client, reason)| Retired { key: key.clone(), generation: id, client, reason };
                    effects.retired = retired.map(retire);
                    // CORRECTNESS: the replacement that took the place completes the work, but perhaps after this thread.
                    error.map_or(Completion::Again, Completion::Refused)
                }
            };
            (completion, effects, state.in_flight.remove(&id))
        });
        effects.failed = failed;
        (completion, effects)
    }

    /// After `complete`, when the others have been woken.
    pub(crate) fn apply(self: &Arc<Self>, key: &K, effects: Effects<K, C>) {
        // The observer and the hooks run from here on: no lock is held, and a waiter that is slow to be polled holds up none.
        let Effects { took, created, failed, retired, forget } = effects;
        if let Some(generation) = created {
            self.settings.emit_event(&RegistryEvent::Created { key, generation, took });
        }
        if let Some(error) = &failed {
            self.settings.emit_event(&failure(key, error, took));
        }
        if let Some(retired) = retired {
            self.close(retired, None);
        }
        self.settle(forget);
        self.ensure_sweeper();
    }

    /// A caller that waited for `id` leaves.
    pub(crate) fn leave(self: &Arc<Self>, key: &K, id: u64) {
        let (forget, _in_flight) = self.locked(|state| {
            let (last, forget) = state.table.leave(key, id, now());
            (forget, if last { state.in_flight.remove(&id) } else { None })
        });
        self.settle(forget);
    }

    /// The work of the maker, which begins with its first poll: outside the lock, and where its panic is caught.
    pub(crate) fn make(&self, key: K, config: Arc<G>) -> Work<Result<C, BoxError>> {
        let maker = Arc::clone(&self.maker);
        Box::pin(async move { maker(key, config).await })
    }

    #[cold]
    pub(crate) fn diverged(&self, key: &K, generation: u64, first: &G, given: &G) {
        self.locked(|state| state.table.diverged(generation));
        self.settings.emit_event(&RegistryEvent::Diverged { key, generation, first, given });
    }

    /// The first lease of a client that has got its place.
    fn admit(self: &Arc<Self>, state: &mut State<K, C, G>, key: &K, id: u64, client: C) -> Strong<Live<C>> {
        let hook = Arc::new(Releaser { inner: Arc::clone(self), key: key.clone() });
        let live = Strong::new(Live::new(client, id, hook));
        // CORRECTNESS: made under the lock, before a caller can end its lease: a client that lingers never has a count of zero
        // while it has its place.
        let keep = state.table.lingers().then(|| Strong::clone(&live));
        state.clients.0.insert(id, ClientRef { live: Strong::downgrade(&live), keep });
        live
    }

    /// Counts a call that had to take the lock, and publishes all clients when there were as many calls as there are entries:
    /// so the calls that wanted it pay for a publication, and each call pays a constant.
    fn count_miss(&self, state: &mut State<K, C, G>) -> Option<Arc<Map<K, C, G>>> {
        state.misses += 1;
        (state.misses >= state.table.len()).then(|| self.publish(state))
    }

    /// What was published before is returned, to be dropped after the lock is released.
    fn publish(&self, state: &mut State<K, C, G>) -> Arc<Map<K, C, G>> {
        // CORRECTNESS: under the lock of the table, so that no publication takes the place of a newer one.
        let State { table, clients, .. } = state;
        let public = |(key, id, config): (&K, u64, &Arc<G>)| {
            let live = clients.0.get(&id)?.live.clone();
            Some((key.clone(), Public { live, config: Arc::clone(config) }))
        };
        let map: Map<K, C, G> = table.clients().filter_map(public).collect();
        state.misses = 0;
        state.published = map.len();
        self.published.swap(Arc::new(map))
    }
}

fn failure<'a, K, G>(key: &'a K, error: &'a AcquireError, took: Duration) -> RegistryEvent<'a, K, G> {
    match error.kind() {
        AcquireErrorKind::Declined => RegistryEvent::Declined { key, error },
        _ => RegistryEvent::Failed { key, error, took },
    }
}

// === impl Clients ===

impl<C> Clients<C> {
    /// A new lease, unless the last one has ended.
    fn lease(&self, id: u64) -> Option<Strong<Live<C>>> {
        let live = self.0.get(&id)?.live.upgrade()?;
        live.mark();
        Some(live)
    }

    /// The registry's own lease, to be dropped after the lock is released.
    fn take_keep(&mut self, id: u64) -> Option<Strong<Live<C>>> {
        self.0.get_mut(&id)?.keep.take()
    }

    fn take_keeps(&mut self) -> Vec<Strong<Live<C>>> {
        self.0.values_mut().filter_map(|client| client.keep.take()).collect()
    }
}

impl<C> Leases for Clients<C> {
    fn count(&self, id: u64) -> usize {
        let callers = |client: &ClientRef<C>| client.live.strong_count() - usize::from(client.keep.is_some());
        self.0.get(&id).map_or(0, callers)
    }

    fn take_used(&self, id: u64) -> bool {
        self.0.get(&id).and_then(|client| client.keep.as_ref()).is_some_and(|keep| keep.take_mark())
    }
}

// === impl Completion ===

impl<C, G> Clone for Completion<C, G> {
    fn clone(&self) -> Self {
        match self {
            Self::Client { live, config } => Self::Client { live: Strong::clone(live), config: Arc::clone(config) },
            Self::Failed { error, config } => Self::Failed { error: error.clone(), config: Arc::clone(config) },
            Self::Refused(error) => Self::Refused(error.clone()),
            Self::Again => Self::Again,
        }
    }
}

// === impl Releaser ===

impl<K: Key, C: Client, G: Config> ReleaseHook<C> for Releaser<K, C, G> {
    fn released(&self, generation: u64, client: C, wait: Option<CloseWait>) {
        let reason = self.inner.released(generation);
        self.inner.close(Retired { key: self.key.clone(), generation, client, reason }, wait);
    }

    fn give_up(&self, generation: u64) -> Option<Strong<Live<C>>> {
        self.inner.give_up(generation)
    }
}
