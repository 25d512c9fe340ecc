//! The table under its lock, and what happens outside it: the maker, the hooks, the observer.
//!
//! One rule holds everywhere here: nothing of the user's runs, and no lease is dropped, while the lock is held. (Keys and
//! configurations are compared and cloned under it.)

mod end;
mod forge;
mod swap;

use self::forge::Smith;
use crate::{
    AcquireError, AcquireErrorKind, Event,
    bounds::{Client, Config, Key},
    close::{self, Hooks},
    edge::{Edge, now},
    flight::{Flight, Work},
    lease::Live,
    sync::{BuildHasher, Mutex, Published, Strong, Weak},
    table::{Acquired, Built, Forget, Limits, Retired, Table},
};
use forebay_core::BoxError;
use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    mem,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

/// What all handles, leases and tasks of one registry share.
pub(crate) struct Hub<K, C, G> {
    /// Leased clients that calls have asked for; read without a lock.
    ///
    /// It may lag behind the table: a client may be missing, or its leases may have ended. Both lead to the table. It
    /// never has a client that was replaced, nor any once the registry is closed.
    published: Published<Map<K, C, G>>,
    state: Mutex<State<K, C, G>>,
    maker: Maker<K, C, G>,
    pub(crate) hooks: Arc<Hooks<K, C, G>>,
    pub(crate) edge: Arc<Edge>,
    /// Closes what is left at the end; made where the bounds of `K` are known.
    bury: Bury<K, C, G>,
}

type Bury<K, C, G> = fn(&Arc<Hooks<K, C, G>>, &Edge, K, u64, C);

pub(crate) type Maker<K, C, G> = Arc<dyn Fn(K, Arc<G>) -> Work<Result<C, BoxError>> + Send + Sync>;
pub(crate) type Shared<C, G> = Arc<Flight<Result<C, BoxError>, Landed<C, G>>>;
type Entries<K, C, G> = Table<K, Arc<G>, C, Weak<Live<C>>, Shared<C, G>>;
type Found<C, G> = Acquired<Arc<G>, Strong<Live<C>>, Shared<C, G>>;
type Map<K, C, G> = HashMap<K, Public<C, G>, BuildHasher>;

struct Public<C, G> {
    live: Weak<Live<C>>,
    config: Arc<G>,
}

struct State<K, C, G> {
    table: Entries<K, C, G>,
    /// Calls that took the lock for a client which a newer publication would have had.
    misses: usize,
    /// How many clients are published.
    published: usize,
    /// Clients whose close waits for a runtime.
    deferred: Vec<Retired<K, C>>,
    /// Whether a task sweeps.
    sweeping: bool,
    /// Those who wait for the end of everything.
    enders: Vec<Waker>,
}

/// Where those who wait for a client get to.
pub(crate) enum Landed<C, G> {
    /// Here it is, made with this configuration.
    Client { live: Strong<Live<C>>, config: Arc<G> },
    /// It could not be made with this configuration.
    Failed { error: AcquireError, config: Arc<G> },
    /// There is none for anybody.
    Refused(AcquireError),
    /// Ask again.
    Again,
}

/// What a call for a client gets at once.
pub(crate) enum Joined<K, C, G> {
    Lease(Strong<Live<C>>),
    Wait { key: K, config: Arc<G>, id: u64, flight: Shared<C, G> },
    Refused(AcquireError),
}

/// What a replacement gets when its client is made.
pub(crate) enum Replaced<C> {
    Lease(Strong<Live<C>>),
    /// A newer one is there.
    Superseded,
    Refused(AcquireError),
}

/// What the one whose poll ended the work has to tell, and to do, when the others have been woken.
pub(crate) struct News<K, C> {
    took: Duration,
    created: Option<u64>,
    failed: Option<AcquireError>,
    retired: Option<Retired<K, C>>,
    forget: Option<Forget<K>>,
}

/// What a call does for the registry beside its own business.
struct Chores<K, C> {
    swept: Vec<Strong<Live<C>>>,
    deferred: Vec<Retired<K, C>>,
}

// === impl Hub ===

impl<K: Key, C: Client, G: Config> Hub<K, C, G> {
    pub(crate) fn new(limits: Limits, maker: Maker<K, C, G>, hooks: Hooks<K, C, G>, edge: Edge) -> Arc<Self> {
        let state = State {
            table: Table::new(limits),
            misses: 0,
            published: 0,
            deferred: Vec::new(),
            sweeping: false,
            enders: Vec::new(),
        };
        Arc::new(Self {
            published: Published::new(Map::default()),
            state: Mutex::new(state),
            maker,
            hooks: Arc::new(hooks),
            edge: Arc::new(edge),
            bury: close::bury,
        })
    }

    /// A lease of a published client: no lock, no allocation, no clock.
    #[inline]
    pub(crate) fn fast<Q>(&self, key: &Q, config: Option<&G>) -> Option<Strong<Live<C>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let map = self.published.load();
        let (key, public) = map.get_key_value(key)?;
        let live = public.live.upgrade()?;
        live.mark();
        if self.hooks.is_observed() {
            self.hooks.emit(&Event::Reused { key, generation: live.generation() });
        }
        if let Some(given) = config
            && *public.config != *given
        {
            self.diverged(key, live.generation(), &public.config, given);
        }
        Some(live)
    }

    /// A lease of a client that is there, leased or idle.
    pub(crate) fn find<Q>(self: &Arc<Self>, key: &Q) -> Option<Strong<Live<C>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (found, stale) = {
            let mut state = self.state.lock();
            if state.table.is_closed() {
                return None;
            }
            let found = state.table.find(key)?;
            let stale = self.noted(&mut state, &found);
            (found, stale)
        };
        drop(stale);
        let Acquired::Lease { lease, generation, config: _ } = found else { return None };
        if self.hooks.is_observed() {
            self.hooks.emit(&Event::Reused { key: &key.to_owned(), generation });
        }
        Some(lease)
    }

    /// A lease, or a place among those who wait for one. `own` is asked for the configuration to be kept.
    pub(crate) fn join<Q>(self: &Arc<Self>, key: &Q, config: &G, own: impl FnOnce() -> Arc<G>) -> Joined<K, C, G>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = now();
        let (acquired, own, chores, stale) = {
            let mut state = self.state.lock();
            let chores = self.chores(&mut state, now);
            let found = if state.table.is_closed() { None } else { state.table.find(key) };
            let (acquired, own) = match found {
                Some(found) => (found, None),
                None => {
                    let own = own();
                    (state.table.acquire(key, &own, now, &mut Smith(self)), Some(own))
                }
            };
            let stale = self.noted(&mut state, &acquired);
            (acquired, own, chores, stale)
        };
        drop(stale);
        self.do_chores(chores);
        match acquired {
            Acquired::Lease { lease, generation, config: first } => {
                let diverged = *first != *config;
                if self.hooks.is_observed() || diverged {
                    let key = key.to_owned();
                    self.hooks.emit(&Event::Reused { key: &key, generation });
                    if diverged {
                        self.diverged(&key, generation, &first, config);
                    }
                }
                Joined::Lease(lease)
            }
            Acquired::Wait { id, flight, evicted } => {
                drop(evicted);
                let config = own.unwrap_or_else(|| Arc::new(config.clone()));
                Joined::Wait { key: key.to_owned(), config, id, flight }
            }
            Acquired::Refused(error) => {
                if self.hooks.is_observed() {
                    self.hooks.emit(&Event::Refused { key: &key.to_owned(), error: &error });
                }
                Joined::Refused(error)
            }
        }
    }

    /// The work begun under `id` has ended: the table learns it, and those who wait get what is returned.
    pub(crate) fn land(
        self: &Arc<Self>,
        key: &K,
        id: u64,
        result: Result<Result<C, BoxError>, Arc<str>>,
    ) -> (Landed<C, G>, News<K, C>) {
        let result = match result {
            Ok(made) => made.map_err(AcquireError::made),
            Err(panic) => Err(AcquireError::panicked(panic)),
        };
        let failed = result.as_ref().err().cloned();
        let now = now();
        let (built, since) = {
            let mut state = self.state.lock();
            let since = state.table.pending_since(key, id);
            (state.table.built(key, id, result, now, &mut Smith(self)), since)
        };
        let took = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let news = News { took, created: None, failed, retired: None, forget: None };
        match built {
            Built::Leased { lease, generation, config } => {
                (Landed::Client { live: lease, config }, News { created: Some(generation), ..news })
            }
            Built::Failed { error, config, forget } => (Landed::Failed { error, config }, News { forget, ..news }),
            Built::Late { error, retired, forget } => {
                let created = retired.as_ref().map(|retired| retired.generation);
                // CORRECTNESS: who took the place lands the flight, but perhaps after us; then this is where it lands.
                (error.map_or(Landed::Again, Landed::Refused), News { created, retired, forget, ..news })
            }
        }
    }

    /// After `land`, when the others have been woken.
    pub(crate) fn tell(self: &Arc<Self>, key: &K, news: News<K, C>) {
        let News { took, created, failed, retired, forget } = news;
        if let Some(generation) = created {
            self.hooks.emit(&Event::Created { key, generation, took });
        }
        if let Some(error) = &failed {
            self.hooks.emit(&failure(key, error, took));
        }
        if let Some(retired) = retired {
            self.begin_close(retired);
        }
        self.settle(forget);
        self.watch_idle();
    }

    /// Somebody who waited under `id` goes.
    pub(crate) fn leave(self: &Arc<Self>, key: &K, id: u64) {
        let left = self.state.lock().table.leave(key, id, now(), &mut Smith(self));
        drop(left.flight);
        self.settle(left.forget);
    }

    /// The work of the maker, not yet begun.
    pub(crate) fn make(&self, key: K, config: Arc<G>) -> Work<Result<C, BoxError>> {
        let maker = Arc::clone(&self.maker);
        // The maker itself runs in the first poll: outside every lock, and where its panic is caught.
        Box::pin(async move { maker(key, config).await })
    }

    #[cold]
    pub(crate) fn diverged(&self, key: &K, generation: u64, first: &G, given: &G) {
        self.state.lock().table.diverged(key, generation);
        self.hooks.emit(&Event::Diverged { key, generation, first, given });
    }

    /// Without a runtime nobody sweeps, and closes are put off: whoever comes by, does it.
    fn chores(&self, state: &mut State<K, C, G>, now: Instant) -> Chores<K, C> {
        let swept = if state.sweeping { Vec::new() } else { state.table.sweep(now) };
        let deferred =
            if !state.deferred.is_empty() && self.edge.is_here() { mem::take(&mut state.deferred) } else { Vec::new() };
        Chores { swept, deferred }
    }

    fn do_chores(self: &Arc<Self>, chores: Chores<K, C>) {
        drop(chores.swept);
        chores.deferred.into_iter().for_each(|retired| self.run_close(retired));
    }

    /// Counts a call that had to take the lock, and publishes anew when there were as many as there are entries: so
    /// that what a publication costs is paid by the calls that wanted it, and each call pays a constant.
    fn noted(&self, state: &mut State<K, C, G>, found: &Found<C, G>) -> Option<Arc<Map<K, C, G>>> {
        if !matches!(found, Acquired::Lease { .. }) {
            return None;
        }
        state.misses += 1;
        (state.misses >= state.table.len()).then(|| self.publish(state))
    }

    /// What was published before comes back, to be dropped outside the lock.
    fn publish(&self, state: &mut State<K, C, G>) -> Arc<Map<K, C, G>> {
        let map: Map<K, C, G> = (state.table.leased())
            .map(|(key, config, live)| (key.clone(), Public { live: live.clone(), config: Arc::clone(config) }))
            .collect();
        state.misses = 0;
        state.published = map.len();
        self.published.replace(map)
    }
}

fn failure<'a, K, G>(key: &'a K, error: &'a AcquireError, took: Duration) -> Event<'a, K, G> {
    match error.kind() {
        AcquireErrorKind::Declined => Event::Declined { key, error },
        _ => Event::Failed { key, error, took },
    }
}

/// The end of the last handle and the last lease. Nobody has a client any more; some may still wait for a runtime.
impl<K, C, G> Drop for Hub<K, C, G> {
    fn drop(&mut self) {
        let deferred = mem::take(&mut self.state.lock().deferred);
        for Retired { key, generation, client, .. } in deferred {
            (self.bury)(&self.hooks, &self.edge, key, generation, client);
        }
    }
}

// === impl Landed ===

impl<C, G> Clone for Landed<C, G> {
    fn clone(&self) -> Self {
        match self {
            Self::Client { live, config } => Self::Client { live: Strong::clone(live), config: Arc::clone(config) },
            Self::Failed { error, config } => Self::Failed { error: error.clone(), config: Arc::clone(config) },
            Self::Refused(error) => Self::Refused(error.clone()),
            Self::Again => Self::Again,
        }
    }
}
