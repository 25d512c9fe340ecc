//! Configuration: every knob, its default, and what is allowed.

use crate::{
    BreakerEvent, BreakerLayer, ByDeadline, ByKey, Cancelled, KeyLabel, Mode, OpenFor, Ramp, Trip,
    check::compile,
    classify::Excluding,
    core::{Core, Observer},
    key::label_of,
    knobs::Knobs,
};
use forebay_core::{ByError, ConfigError, Observe, Unkeyed};
use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc, time::Duration};

/// Builds a [`BreakerLayer`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`key`](Self::key) | none: one state for all | |
/// | [`deadline`](Self::deadline) | none; for HTTP the [`Deadline`](forebay_core::Deadline) among the extensions | |
/// | [`name`](Self::name) | empty | any text |
/// | [`trip`](Self::trip) | 5 failures in a row | see [`Trip`] |
/// | [`open_for`](Self::open_for) | 60 s, and up to a tenth more; a `Retry-After` up to 60 s | see [`OpenFor`] |
/// | [`close_after`](Self::close_after) | 2 successes | 1 to 65,535 |
/// | [`probes`](Self::probes) | 1 at a time | 1 to 1,024 |
/// | [`probe_lease`](Self::probe_lease) | 30 s | 1 ms to 24 h |
/// | [`ramp`](Self::ramp) | none: all calls at once | see [`Ramp`] |
/// | [`cancelled`](Self::cancelled) | [`Cancelled::Failure`] | |
/// | [`classify`](Self::classify) | [`ByError`]: an `Err` is a failure | |
/// | [`excluding`](Self::excluding) | no result | |
/// | [`excluding_terminal`](Self::excluding_terminal) | terminal failures count | |
/// | [`max_keys`](Self::max_keys) | 10,000 | 1 to 16,777,216 |
/// | [`idle`](Self::idle) | 10 min | 1 ms to 365 days |
/// | [`max_open_share`](Self::max_open_share) | 1.0: no limit | above 0.0, at most 1.0 |
/// | [`mode`](Self::mode) | [`Mode::Normal`] | |
/// | [`stripes`](Self::stripes) | one per core, at most 16, and no more than fit into 16 MiB for all keys | a power of two, 1 to 256 |
/// | [`observe`](Self::observe) | none | |
/// | [`seed`](Self::seed) | drawn by the operating system | any |
///
/// Nothing is checked before [`build`](BreakerBuilder::build).
///
/// `K` is the type of the keys, `F` takes them from a request, `C` is the classifier. All three are inferred; their defaults are
/// those of [`BreakerLayer::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct BreakerBuilder<K = (), F = Unkeyed, C = ByDefault> {
    knobs: Knobs,
    keys: F,
    classify: C,
    label: fn(&K) -> KeyLabel,
    only_key: Option<K>,
    observer: Option<Observer>,
}

/// The classifier of a builder to which none was given: [`ByError`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ByDefault;

/// The classifier of a builder to which one was given.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Chosen<C>(C);

/// What a builder has for a classifier; `Kind` says whether the errors are boxed, where none was given.
#[doc(hidden)]
pub trait Choice<Kind> {
    type Classifier;

    fn classifier(self) -> Self::Classifier;
}

/// A builder with one state per authority and the classifier for HTTP.
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub type HttpBreakerBuilder<Kind> = BreakerBuilder<String, HttpKeys, Chosen<forebay_core::http::Classifier<Kind>>>;

/// One state per authority, and the deadline that stands among the extensions of a request.
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub type HttpKeys = ByDeadline<ByKey<ByAuthority>, forebay_core::http::ByExtension>;

/// The key of an HTTP request of any body: its authority, as [`forebay_core::http::authority`] has it.
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByAuthority;

// === impl BreakerBuilder ===

impl BreakerBuilder {
    pub(crate) fn new() -> Self {
        Self {
            knobs: Knobs::default(),
            keys: Unkeyed,
            classify: ByDefault,
            label: |()| KeyLabel::EMPTY,
            only_key: Some(()),
            observer: None,
        }
    }
}

impl<K, F, C> BreakerBuilder<K, F, C> {
    /// One state for each key, which `key` borrows from the request.
    ///
    /// Looking a key up allocates nothing; it is copied when it is seen for the first time. What its `Display` says is
    /// what errors and events call it: keep secrets out of it. Its `Hash` and `Eq` run under a lock, and must not call the
    /// breaker; no other code of it does.
    ///
    /// ```
    /// use forebay_breaker::BreakerLayer;
    ///
    /// struct Request { tenant: String }
    /// let builder = BreakerLayer::builder().key(|request: &Request| request.tenant.as_str());
    /// # drop(builder);
    /// ```
    pub fn key<Req, Key, G>(self, key: G) -> BreakerBuilder<Key::Owned, ByKey<G>, C>
    where
        G: for<'r> Fn(&'r Req) -> &'r Key,
        Req: ?Sized,
        Key: Hash + Eq + ToOwned + fmt::Display + ?Sized,
        Key::Owned: Borrow<Key>,
    {
        self.with_keys(ByKey(key), label_of::<Key>)
    }

    /// Where a request keeps its [`Deadline`](forebay_core::Deadline): any `Fn(&Req) -> Option<Deadline>`.
    ///
    /// A refusal whose [`retry_in`](crate::CircuitOpen::retry_in) lies beyond the deadline is final: its verdict says that a
    /// retry is not sensible, so that a retry, a queue or a batcher above responds at once. It is asked only for a call that is
    /// refused. It comes after [`key`](Self::key).
    ///
    /// ```
    /// use forebay_breaker::{BreakerLayer, Deadline};
    ///
    /// struct Job { until: Option<Deadline> }
    /// let builder = BreakerLayer::builder().deadline(|job: &Job| job.until);
    /// # drop(builder);
    /// ```
    pub fn deadline<D>(self, deadline: D) -> BreakerBuilder<K, ByDeadline<F, D>, C> {
        let Self { knobs, keys, classify, label, only_key, observer } = self;
        BreakerBuilder { knobs, keys: ByDeadline { keys, deadline }, classify, label, only_key, observer }
    }

    /// One state for each authority (host and port) of an HTTP request, whatever its body, and its deadline from its
    /// extensions.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn by_authority(self) -> BreakerBuilder<String, HttpKeys, C> {
        self.with_keys(ByKey(ByAuthority), label_of::<str>).deadline(forebay_core::http::ByExtension)
    }

    fn with_keys<L, G>(self, keys: G, label: fn(&L) -> KeyLabel) -> BreakerBuilder<L, G, C> {
        let Self { mut knobs, classify, observer, .. } = self;
        knobs.keyed = true;
        BreakerBuilder { knobs, keys, classify, label, only_key: None, observer }
    }

    /// What errors and events call a breaker without keys.
    pub fn name(mut self, name: impl fmt::Display) -> Self {
        self.knobs.name = KeyLabel::new(name);
        self
    }

    /// The rules by which the circuit opens.
    pub fn trip(mut self, trip: impl Into<Trip>) -> Self {
        self.knobs.trip = Some(trip.into());
        self
    }

    /// As [`trip`](Self::trip), unless that was called: the default of a stack that hands its builder out.
    #[doc(hidden)]
    pub fn trip_by_default(mut self, trip: impl Into<Trip>) -> Self {
        self.knobs.trip.get_or_insert_with(|| trip.into());
        self
    }

    /// How long it stays open: a [`Duration`], or an [`OpenFor`] with growth, cap, jitter and the server's hint.
    pub fn open_for(mut self, open_for: impl Into<OpenFor>) -> Self {
        self.knobs.open_for = open_for.into();
        self
    }

    /// How many probes must succeed to close it. The first that fails opens it again, with a fresh timer.
    pub fn close_after(mut self, successes: u32) -> Self {
        self.knobs.close_after = successes;
        self
    }

    /// How many probes may be under way at a time while half-open.
    pub fn probes(mut self, probes: u32) -> Self {
        self.knobs.probes = probes;
        self
    }

    /// How long a probe may take before another one may go in its place. Its result is ignored from then on.
    pub fn probe_lease(mut self, lease: Duration) -> Self {
        self.knobs.probe_lease = lease;
        self
    }

    /// How traffic returns after it closed. While it ramps up the rules count, and may open it again.
    pub fn ramp(mut self, ramp: Ramp) -> Self {
        self.knobs.ramp = Some(ramp);
        self
    }

    /// What a call counts as when its response future is dropped before it ends, for instance by an outer timeout.
    pub fn cancelled(mut self, cancelled: Cancelled) -> Self {
        self.knobs.cancelled = cancelled;
        self
    }

    /// How many keys may have a state of their own. Keys for which there is no room share one: the overflow bucket.
    pub fn max_keys(mut self, keys: u32) -> Self {
        self.knobs.max_keys = keys;
        self
    }

    /// How long a key may stay unused before it is removed.
    ///
    /// A call reads no clock, so idle keys are looked for when a new key is added, at most twice per idle time, and when
    /// [`BreakerHandle::expire_idle`](crate::BreakerHandle::expire_idle) is called. A key leaves when it was unused
    /// between two such looks at least `time` apart: after one to two idle times where new keys are added all the time. It is
    /// never removed while its mode is another than that of new keys, nor while it is open and this long after that.
    pub fn idle(mut self, time: Duration) -> Self {
        self.knobs.idle = time;
        self
    }

    /// Fleet guard: at most this share of the keys, but at least one, may be open or half-open at once.
    ///
    /// When all destinations seem to fail at once, the fault is likely in the client, and cutting off all of them makes
    /// it worse. A key that is held back goes on counting, and opens at its next failure once another has closed.
    pub fn max_open_share(mut self, share: f64) -> Self {
        self.knobs.max_open_share = share;
        self
    }

    /// The mode that every key starts in.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.knobs.mode = mode;
        self
    }

    /// On how many stripes the windows over a time are counted, so that threads do not share cache lines.
    ///
    /// More stripes cost each key their counters again; nothing is estimated, whatever the number.
    pub fn stripes(mut self, stripes: u32) -> Self {
        self.knobs.stripes = Some(stripes);
        self
    }

    /// Shows every decision to `observer`, such as a closure `|event: &BreakerEvent| ..`.
    ///
    /// It runs on the path of the call, outside any lock, so it may use a handle. With an observer each key keeps its
    /// label, which costs some 140 bytes. So does the feature `tracing`, while a subscriber wants its events.
    pub fn observe(mut self, observer: impl Observe<BreakerEvent> + Send + Sync + 'static) -> Self {
        self.observer = observer.enabled().then(|| Arc::new(observer) as _);
        self
    }

    /// Makes the jitter of the open times the same in every run: for tests.
    pub fn seed(mut self, seed: u64) -> Self {
        self.knobs.seed = Some(seed);
        self
    }

    /// Says what a result means with `classify`, which sees responses as well as errors.
    pub fn classify<D>(self, classify: D) -> BreakerBuilder<K, F, Chosen<D>> {
        self.with_classifier(|_| Chosen(classify))
    }

    /// Ignores the results that `excluded` names: they count neither as success nor as failure, and close nothing.
    pub fn excluding<Res, Err, P>(self, excluded: P) -> BreakerBuilder<K, F, Excluding<C, P>>
    where
        P: Fn(&Result<Res, Err>) -> bool,
    {
        self.with_classifier(|inner| Excluding { inner, excluded })
    }

    /// Ignores [terminal](forebay_core::Outcome::Terminal) failures, whatever the classifier: the server has responded, and did
    /// its part.
    pub fn excluding_terminal(mut self) -> Self {
        self.knobs.counts_terminal = false;
        self
    }

    fn with_classifier<D>(self, change: impl FnOnce(C) -> D) -> BreakerBuilder<K, F, D> {
        let Self { knobs, keys, classify, label, only_key, observer } = self;
        BreakerBuilder { knobs, keys, classify: change(classify), label, only_key, observer }
    }

    /// Checks the configuration and builds the layer.
    ///
    /// `Kind` says whether the inner service's errors are boxed; it is inferred from the service.
    ///
    /// # Errors
    ///
    /// When a knob has a value that is not allowed, or two do not go together.
    pub fn build<Kind>(self) -> Result<BreakerLayer<K, F, C::Classifier>, ConfigError>
    where
        K: Hash + Eq,
        C: Choice<Kind>,
    {
        let Self { knobs, keys, classify, label, only_key, observer } = self;
        let core = Core::new(compile(&knobs)?, knobs, label, only_key, observer);
        Ok(BreakerLayer::new(core, keys, classify.classifier()))
    }
}

impl<K, F, C> fmt::Debug for BreakerBuilder<K, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerBuilder").field("knobs", &self.knobs).finish_non_exhaustive()
    }
}

// === impl Choice ===

impl<Kind> Choice<Kind> for ByDefault {
    type Classifier = ByError<Kind>;

    fn classifier(self) -> ByError<Kind> {
        ByError::new()
    }
}

impl<C> Choice<()> for Chosen<C> {
    type Classifier = C;

    fn classifier(self) -> C {
        self.0
    }
}

impl<Kind, C: Choice<Kind>, P> Choice<Kind> for Excluding<C, P> {
    type Classifier = Excluding<C::Classifier, P>;

    fn classifier(self) -> Self::Classifier {
        Excluding { inner: self.inner.classifier(), excluded: self.excluded }
    }
}

// === impl ByAuthority ===

#[cfg(all(feature = "reqwest", not(target_family = "wasm")))]
impl forebay_core::KeyOf<reqwest::Request> for ByAuthority {
    type Key = str;

    #[inline]
    fn key_of<'r>(&self, request: &'r reqwest::Request) -> &'r str {
        forebay_core::http::reqwest_authority(request)
    }
}

#[cfg(feature = "http")]
impl<B> forebay_core::KeyOf<http::Request<B>> for ByAuthority {
    type Key = str;

    #[inline]
    fn key_of<'r>(&self, request: &'r http::Request<B>) -> &'r str {
        forebay_core::http::authority(request)
    }
}
