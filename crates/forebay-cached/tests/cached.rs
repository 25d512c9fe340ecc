//! What a cached value promises.

#![cfg(not(any(loom, shuttle)))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use forebay_cached::{Cached, CachedBuilder, Fetched, RefreshError, RefreshErrorKind};
use forebay_core::{Advice, BoxError, DropReason, Verdict, cause_ref};
use forebay_registry::Registry;
use forebay_testkit::laws;
use std::{
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, advance, timeout};
use tokio_test::task::spawn;

const MINUTE: Duration = Duration::from_secs(60);

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A server whose next responses are set by the test.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    value: u32,
    ttl: Option<Duration>,
    trouble: Trouble,
    asked: Vec<Instant>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Trouble {
    #[default]
    None,
    Refuses,
    Hangs,
    Panics,
}

impl Server {
    fn cached(&self) -> CachedBuilder<u32> {
        Cached::builder(self.fetch()).jitter(0.0)
    }

    fn fetch(&self) -> impl Fn() -> BoxFuture<Result<Fetched<u32>, BoxError>> + Send + Sync + 'static {
        let server = self.clone();
        move || {
            let server = server.clone();
            Box::pin(async move {
                let (trouble, fetched) = {
                    let mut state = server.0.lock().unwrap();
                    state.asked.push(Instant::now());
                    state.value += 1;
                    let fetched = Fetched::new(state.value);
                    (state.trouble, state.ttl.map_or(fetched, |ttl| fetched.ttl(ttl)))
                };
                // Wakes at once, unlike tokio's own.
                let mut polled = false;
                poll_fn(|cx| {
                    if std::mem::replace(&mut polled, true) {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                match trouble {
                    Trouble::None => Ok(fetched),
                    Trouble::Refuses => Err(BoxError::from("503")),
                    Trouble::Hangs => pending().await,
                    Trouble::Panics => panic!("a bug"),
                }
            })
        }
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    fn set(&self, trouble: Trouble) {
        self.0.lock().unwrap().trouble = trouble;
    }

    fn says(&self, ttl: Duration) {
        self.0.lock().unwrap().ttl = Some(ttl);
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_fetched_once_and_again_when_its_time_is_over() {
    let server = Server::default();
    let cached = server.cached().build().unwrap();
    assert!(cached.peek().is_none());
    assert_eq!(server.asked(), 0, "it is not fetched before a caller asks");
    for _ in 0..10 {
        assert_eq!(cached.get().await.unwrap(), 1);
        advance(MINUTE).await;
    }
    advance(4 * MINUTE).await;
    assert_eq!(cached.read().await.unwrap().age, 14 * MINUTE);
    advance(MINUTE).await;
    assert_eq!(cached.clone().get().await.unwrap(), 2);
    assert_eq!(server.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_time_from_the_server_is_clamped() {
    for (says, holds) in [(Duration::ZERO, MINUTE), (10 * MINUTE, 10 * MINUTE), (Duration::MAX, 60 * MINUTE)] {
        let server = Server::default();
        server.says(says);
        let cached = server.cached().ttl_range(MINUTE, 60 * MINUTE).build().unwrap();
        cached.get().await.unwrap();
        advance(holds.saturating_sub(Duration::from_millis(1))).await;
        cached.get().await.unwrap();
        assert_eq!(server.asked(), 1, "{says:?} is {holds:?}");
        advance(Duration::from_millis(1)).await;
        cached.get().await.unwrap();
        assert_eq!(server.asked(), 2, "{says:?} is {holds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_the_user_gives_holds_exactly_and_a_value_is_stale_only_where_that_is_asked_for() {
    let second = Duration::from_secs(1);
    for by_knob in [true, false] {
        let server = Server::default();
        let builder = if by_knob { server.cached().ttl(second) } else { server.cached() };
        if !by_knob {
            server.says(second);
        }
        let cached = builder.jitter(0.0).build().unwrap();
        assert_eq!(cached.get().await.unwrap(), 1);
        advance(Duration::from_millis(999)).await;
        assert_eq!(cached.get().await.unwrap(), 1);
        advance(Duration::from_millis(1)).await;
        assert_eq!(cached.get().await.unwrap(), 2);
        server.set(Trouble::Refuses);
        advance(second).await;
        assert_eq!(cached.get().await.unwrap_err().kind(), RefreshErrorKind::Failed);
    }
    for far in [Duration::from_secs(86_400), Duration::MAX] {
        let server = Server::default();
        server.says(far);
        let cached = server.cached().jitter(0.0).build().unwrap();
        cached.get().await.unwrap();
        advance(Duration::from_secs(86_399)).await;
        assert_eq!(cached.get().await.unwrap(), 1);
    }
    let server = Server::default();
    server.says(Duration::ZERO);
    let cached = server.cached().build().unwrap();
    assert_eq!((cached.get().await.unwrap(), cached.get().await.unwrap()), (1, 2));
}

#[tokio::test]
async fn a_hundred_callers_are_one_fetch() {
    let server = Server::default();
    let cached = server.cached().build().unwrap();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let cached = cached.clone();
            tokio::spawn(async move { cached.get().await.unwrap() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 1);
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_at_any_poll_strands_no_other_and_leaves_nothing() {
    for polls in 0..3 {
        let server = Server::default();
        let cached = server.cached().build().unwrap();
        let mut leader = spawn(cached.get());
        let done = (0..polls).any(|_| leader.poll().is_ready());
        assert_eq!(done, polls == 2);
        let mut other = spawn(cached.get());
        let mut got = other.poll();
        drop(leader);
        while got.is_pending() {
            assert!(other.is_woken(), "it sleeps on, after {polls} polls of the leader");
            got = other.poll();
        }
        assert!(matches!(got, Poll::Ready(Ok(1))));
        // And one who is alone: its fetch goes with it.
        cached.invalidate();
        let mut alone = spawn(cached.get());
        assert!(alone.poll().is_pending());
        drop(alone);
        let asked = server.asked();
        assert_eq!(cached.get().await.unwrap() as usize, asked + 1, "a fetch that was dropped was waited for");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_take_the_value_away_while_it_may_be_used() {
    let server = Server::default();
    let cached = server.cached().stale_for(5 * MINUTE).build().unwrap();
    assert_eq!(cached.get().await.unwrap(), 1);
    server.set(Trouble::Refuses);
    advance(15 * MINUTE).await;
    let reading = cached.read().await.unwrap();
    assert_eq!((reading.value, reading.age), (1, 15 * MINUTE));
    assert_eq!(reading.stale.unwrap().kind(), RefreshErrorKind::Failed);
    // For a while no caller asks again.
    advance(MINUTE / 2).await;
    let reading = cached.read().await.unwrap();
    assert_eq!(reading.stale.unwrap().kind(), RefreshErrorKind::FailedBefore { retry_in: MINUTE / 2 });
    assert_eq!(server.asked(), 2);
    // Then again, and in the end the value is too old.
    advance(MINUTE / 2).await;
    assert_eq!(cached.get().await.unwrap(), 1);
    assert_eq!(server.asked(), 3);
    advance(4 * MINUTE).await;
    let error = cached.get().await.unwrap_err();
    assert_eq!((error.kind(), server.asked()), (RefreshErrorKind::Failed, 4));
    assert_eq!(Verdict::of(&error).unwrap().advice(), Advice::Retry);
    laws::error_chain_has_one_link_per_sentence(&error);
    assert_eq!(cached.peek().unwrap().value, 1, "a look back is always possible");
    // The blip is over.
    server.set(Trouble::None);
    advance(MINUTE).await;
    let reading = cached.read().await.unwrap();
    assert!(reading.stale.is_none());
    assert_eq!(reading.value, 5);
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_a_value_is_told_again_for_a_while() {
    let server = Server::default();
    server.set(Trouble::Refuses);
    let cached = server.cached().build().unwrap();
    assert_eq!(cached.get().await.unwrap_err().kind(), RefreshErrorKind::Failed);
    let again = cached.get().await.unwrap_err();
    assert_eq!(again.kind(), RefreshErrorKind::FailedBefore { retry_in: MINUTE });
    assert_eq!(Verdict::of(&again).unwrap().advice(), Advice::RetryAfter(MINUTE));
    laws::error_chain_has_one_link_per_sentence(&again);
    assert_eq!(server.asked(), 1);
    let hasty = server.cached().negative_ttl(Duration::ZERO).build().unwrap();
    assert!(hasty.get().await.is_err() && hasty.get().await.is_err());
    assert_eq!(server.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_or_panics_is_a_failure() {
    let server = Server::default();
    server.set(Trouble::Hangs);
    let cached = server.cached().fetch_timeout(Duration::from_secs(3)).negative_ttl(Duration::ZERO).build().unwrap();
    let began = Instant::now();
    let error = cached.get().await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed()), (RefreshErrorKind::TimedOut, Duration::from_secs(3)));
    laws::error_chain_has_one_link_per_sentence(&error);
    server.set(Trouble::Panics);
    let error = cached.get().await.unwrap_err();
    assert_eq!(error.kind(), RefreshErrorKind::Panicked);
    assert_eq!(Verdict::of(&error).unwrap().reason(), DropReason::Panicked);
    assert!(error.to_string().ends_with("a bug"));
    server.set(Trouble::None);
    assert_eq!(cached.get().await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_before_an_invalidation_does_not_count() {
    let server = Server::default();
    let cached = server.cached().build().unwrap();
    let mut early = spawn(cached.get());
    assert!(early.poll().is_pending());
    cached.invalidate();
    let mut late = spawn(cached.get());
    assert!(late.poll().is_pending());
    assert!(matches!(late.poll(), Poll::Ready(Ok(2))));
    assert!(matches!(early.poll(), Poll::Ready(Ok(1))), "it gets what it waited for");
    assert_eq!(cached.get().await.unwrap(), 2, "the older value took the place of the newer one");

    cached.set(Fetched::new(70).ttl(2 * MINUTE));
    assert_eq!(cached.get().await.unwrap(), 70);
    advance(2 * MINUTE).await;
    assert_eq!(cached.get().await.unwrap(), 3);
    // An invalidated value is used on if no new one can be had.
    server.set(Trouble::Refuses);
    cached.invalidate();
    assert_eq!(cached.get().await.unwrap(), 3);
}

/// A thousand processes that started together: they do not ask together for ever, and none asks late.
#[tokio::test(start_paused = true)]
async fn refreshes_are_spread_and_never_late() {
    let mut times = Vec::new();
    for seed in 0..1_000 {
        let server = Server::default();
        let cached = server.cached().jitter(0.5).ttl(10 * MINUTE).negative_ttl(MINUTE).seed(seed).build().unwrap();
        cached.get().await.unwrap();
        let began = Instant::now();
        while server.asked() == 1 {
            advance(Duration::from_secs(1)).await;
            cached.get().await.unwrap();
        }
        times.push(began.elapsed());
    }
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*first >= 5 * MINUTE && *last <= 10 * MINUTE + Duration::from_secs(1), "{first:?} to {last:?}");
    // Ten bins of half a minute: none has three times its share.
    let mut bins = [0_u32; 11];
    times.iter().for_each(|time| bins[usize::try_from(time.saturating_sub(5 * MINUTE).as_secs() / 30).unwrap()] += 1);
    assert!(bins.iter().all(|count| *count < 300), "{bins:?}");
    assert!(bins[..10].iter().all(|count| *count > 30), "{bins:?}");
}

#[tokio::test]
async fn one_value_for_each_key_is_a_registry_of_them() {
    let registry = Registry::builder(|host: String| async move {
        Cached::builder(move || {
            let host = host.clone();
            async move { Ok::<_, BoxError>(Fetched::new(host.len())) }
        })
        .build()
    })
    .build()
    .unwrap();
    let flag = registry.acquire("a.example").await.unwrap();
    assert_eq!(flag.get().await.unwrap(), 9);
}

#[test]
fn bad_knobs_are_refused_with_their_name() {
    let builder = || Server::default().cached();
    let knobs = [
        builder().ttl(Duration::from_secs(1)).ttl_range(MINUTE, 60 * MINUTE).build(),
        builder().ttl(Duration::ZERO).build(),
        builder().ttl_range(Duration::ZERO, MINUTE).build(),
        builder().ttl_range(2 * MINUTE, MINUTE).build(),
        builder().ttl_range(MINUTE, Duration::MAX).build(),
        builder().refresh_at(0.0).build(),
        builder().refresh_at(f64::NAN).build(),
        builder().refresh_at(1.1).build(),
        builder().jitter(f64::NAN).build(),
        builder().jitter(-0.1).build(),
        builder().stale_for(Duration::MAX).build(),
        builder().negative_ttl(Duration::MAX).build(),
        builder().fetch_timeout(Duration::ZERO).build(),
    ]
    .map(|built| built.unwrap_err().knob());
    assert_eq!(
        knobs,
        [
            "ttl",
            "ttl",
            "ttl_range",
            "ttl_range",
            "ttl_range",
            "refresh_at",
            "refresh_at",
            "refresh_at",
            "jitter",
            "jitter",
            "stale_for",
            "negative_ttl",
            "fetch_timeout"
        ]
    );
}

#[test]
fn the_types_can_be_sent_and_shared_and_show_no_value() {
    laws::is_send_and_sync::<Cached<u32>>();
    laws::is_send_and_sync::<RefreshError>();
    let cached = Cached::builder(|| async { Ok::<_, BoxError>(Fetched::new("a secret")) }).build().unwrap();
    assert!(!format!("{cached:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn f05_a_value_that_is_fetched_by_itself_is_an_error() {
    let own: Arc<OnceLock<Cached<u32>>> = Arc::default();
    let seen = Arc::clone(&own);
    let cached = Cached::builder(move || {
        let own = seen.get().unwrap().clone();
        async move { Ok::<_, BoxError>(Fetched::new(own.get().await?)) }
    });
    own.set(cached.build().unwrap()).unwrap();
    let error = timeout(Duration::from_secs(1), own.get().unwrap().get()).await.unwrap().unwrap_err();
    let inner = Verdict::of(&error).and_then(|it| std::error::Error::source(it)).unwrap();
    let inner = cause_ref::<RefreshError>(inner).unwrap();
    assert_eq!(inner.kind(), RefreshErrorKind::Circular);
    assert_eq!(inner.to_string(), "the value is fetched by itself: Cached<u32> -> Cached<u32>");
}

/// A value that needs a client that needs the value: the circle leads through two crates.
#[tokio::test(start_paused = true)]
async fn f05_a_circle_through_a_registry_is_an_error_that_names_it() {
    let own: Arc<OnceLock<Cached<u32>>> = Arc::default();
    let seen = Arc::clone(&own);
    let registry = Registry::builder(move |_: &'static str| {
        let own = seen.get().unwrap().clone();
        async move { own.get().await }
    });
    let registry = registry.build().unwrap();
    let cached = Cached::builder(move || {
        let registry = registry.clone();
        async move { Ok::<_, BoxError>(Fetched::new(*registry.acquire(&"token").await?)) }
    });
    own.set(cached.build().unwrap()).unwrap();
    let error = timeout(Duration::from_secs(1), own.get().unwrap().get()).await.unwrap().unwrap_err();
    let mut links = vec![error.to_string()];
    let mut link = std::error::Error::source(&error);
    while let Some(error) = link {
        links.push(error.to_string());
        link = error.source();
    }
    let circle = r#"the value is fetched by itself: Cached<u32> -> "token" -> Cached<u32>"#;
    assert!(links.iter().any(|link| link == circle), "{links:?}");
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_fetched_ahead_and_never_used_beyond_its_time() {
    let server = Server::default();
    server.says(10 * MINUTE);
    let cached = Cached::credentials(server.fetch()).jitter(0.0).build().unwrap();
    assert_eq!(cached.get().await.unwrap(), 1);
    advance(Duration::from_millis(8 * 60_000 - 1)).await;
    assert_eq!(cached.get().await.unwrap(), 1);
    advance(Duration::from_millis(1)).await;
    // One caller fetches; the others have what is good for two minutes more.
    let mut first = spawn(cached.get());
    assert!(first.poll().is_pending());
    let reading = cached.read().await.unwrap();
    assert_eq!((reading.value, reading.stale.is_none()), (1, true));
    assert!(matches!(first.poll(), Poll::Ready(Ok(2))));
    // The server is away: the credential is used to the end of its time, with a try in each second, and not beyond.
    server.set(Trouble::Refuses);
    advance(8 * MINUTE).await;
    let reading = cached.read().await.unwrap();
    assert_eq!((reading.value, reading.stale.is_none(), server.asked()), (2, true, 3));
    assert_eq!((cached.get().await.unwrap(), server.asked()), (2, 3));
    advance(Duration::from_secs(1)).await;
    assert_eq!((cached.get().await.unwrap(), server.asked()), (2, 4));
    advance(Duration::from_millis(2 * 60_000 - 1_001)).await;
    assert_eq!(cached.get().await.unwrap(), 2);
    advance(Duration::from_millis(1)).await;
    assert!(cached.get().await.is_err(), "it was used beyond its time");
}

/// The lifetime of a token is what the server says, however short, and the jitter never makes it longer.
#[tokio::test(start_paused = true)]
async fn the_time_of_a_credential_is_never_raised() {
    for seed in 0..20 {
        let server = Server::default();
        server.says(Duration::from_millis(10));
        let cached = Cached::credentials(server.fetch()).seed(seed).build().unwrap();
        assert_eq!(cached.get().await.unwrap(), 1);
        advance(Duration::from_millis(7)).await;
        assert_eq!(cached.get().await.unwrap(), 1);
        advance(Duration::from_millis(1)).await;
        assert_eq!(cached.get().await.unwrap(), 2, "seed {seed}");
    }
}

/// No duration that a user or a server supplies makes it panic or hang; each is refused by name or works.
#[tokio::test(start_paused = true)]
async fn f02_every_duration_is_refused_or_works() {
    type Knob = (&'static str, fn(CachedBuilder<u32>, Duration) -> CachedBuilder<u32>);
    let knobs: [Knob; 6] = [
        ("ttl", |builder, time| builder.ttl(time)),
        ("ttl_range", |builder, time| builder.ttl_range(time, Duration::from_secs(3_600))),
        ("ttl_range", |builder, time| builder.ttl_range(Duration::from_nanos(1), time).ttl(Duration::from_nanos(1))),
        ("stale_for", |builder, time| builder.stale_for(time)),
        ("negative_ttl", |builder, time| builder.negative_ttl(time)),
        ("fetch_timeout", |builder, time| builder.fetch_timeout(time)),
    ];
    let extremes = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
    let mut built = Vec::new();
    for (knob, set) in knobs {
        for time in extremes {
            for says in extremes {
                let server = Server::default();
                server.says(says);
                match set(server.cached(), time).build() {
                    Ok(cached) => built.push((knob, time, server, cached)),
                    Err(error) => assert_eq!(error.knob(), knob, "{time:?}"),
                }
            }
        }
    }
    assert_eq!(built.len(), 3 * (1 + 1 + 1 + 2 + 2 + 1));
    for (knob, time, server, cached) in built {
        for trouble in [Trouble::None, Trouble::Refuses, Trouble::Hangs, Trouble::Panics, Trouble::None] {
            server.set(trouble);
            cached.invalidate();
            // A year: longer than every fetch may take.
            let year = Duration::from_secs(365 * 24 * 3_600);
            let got = timeout(year, cached.get()).await;
            assert!(got.is_ok(), "{knob} {time:?}: a caller waits for ever");
            advance(Duration::from_secs(2)).await;
        }
    }
}

/// A value whose clone and drop read the cache again, a failure that does so, and a waker too.
#[tokio::test(start_paused = true)]
async fn f22_nothing_of_a_user_meets_a_lock() {
    static CACHED: OnceLock<Cached<Reads>> = OnceLock::new();
    fn read() {
        thread_local!(static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
        if let Some(cached) = CACHED.get()
            && !INSIDE.replace(true)
        {
            drop(cached.peek());
            INSIDE.set(false);
        }
    }
    #[derive(Debug)]
    struct Reads;
    impl Clone for Reads {
        fn clone(&self) -> Self {
            read();
            Self
        }
    }
    impl Drop for Reads {
        fn drop(&mut self) {
            read();
        }
    }
    impl std::fmt::Display for Reads {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no")
        }
    }
    impl std::error::Error for Reads {}
    let round = Arc::new(Mutex::new(0));
    let cached = CACHED.get_or_init(|| {
        Cached::builder(move || {
            let round = {
                let mut round = round.lock().unwrap();
                *round += 1;
                *round
            };
            async move {
                let _held = Reads;
                tokio::task::yield_now().await;
                if round % 2 == 0 { Err(BoxError::from(Reads)) } else { Ok(Fetched::new(Reads)) }
            }
        })
        .stale_for(MINUTE)
        .negative_ttl(Duration::from_nanos(1))
        .build()
        .unwrap()
    });
    for round in 0..6 {
        drop(cached.read().await);
        drop(cached.get().await);
        drop(cached.peek());
        if round == 3 {
            cached.set(Fetched::new(Reads));
        }
        cached.invalidate();
        // A fetch that is dropped with its only caller.
        let mut alone = spawn(cached.get());
        assert!(alone.poll().is_pending());
        drop(alone);
        advance(2 * MINUTE).await;
    }
}

#[test]
fn f22_no_waker_meets_a_lock() {
    laws::no_waker_runs_under_a_lock(|wakers| async move {
        let in_many_polls = || {
            let mut polls = 0;
            poll_fn(move |cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                if polls > 20 { Poll::Ready(Ok::<_, BoxError>(Fetched::new(7))) } else { Poll::Pending }
            })
        };
        let cached = Cached::builder(in_many_polls).build().unwrap();
        // A waker may own its task, and with it another wait for the same value.
        let owned = Arc::new(Mutex::new(Vec::new()));
        let (again, dropped) = (cached.clone(), Arc::clone(&owned));
        wakers.call_back(move || {
            let waits = { dropped.lock().unwrap().pop() };
            drop((again.peek(), waits));
        });
        for gives_up in [true, false, true] {
            cached.invalidate();
            for _ in 0..4 {
                let cached = cached.clone();
                let mut waits = spawn(async move { cached.get().await });
                assert!(waits.poll().is_pending());
                owned.lock().unwrap().push(waits);
            }
            let (mut first, mut second) = (Box::pin(cached.get()), Box::pin(cached.get()));
            assert!(wakers.poll(&mut first).is_pending());
            assert!(wakers.poll(&mut second).is_pending());
            if !gives_up {
                assert_eq!(first.await.unwrap(), 7);
            }
        }
        wakers.release();
    });
}
