//! Clients that are made of each other.

use forebay_core::{Advice, BoxError, Verdict};
use forebay_registry::{AcquireError, AcquireErrorKind, Registry};
use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};
use tokio::{
    task::yield_now,
    time::{sleep, timeout},
};

type Chain = Registry<&'static str, u32>;

/// A registry whose clients are each made of that of the key that `next` names.
fn chain(next: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static, yields: usize) -> Arc<Chain> {
    let own: Arc<OnceLock<Weak<Chain>>> = Arc::default();
    let (seen, next) = (Arc::clone(&own), Arc::new(next));
    let registry = Registry::builder(move |key: &'static str| {
        let (own, next) = (seen.get().unwrap().upgrade().unwrap(), Arc::clone(&next));
        async move {
            for _ in 0..yields {
                yield_now().await;
            }
            match next(key) {
                Some(next) => Ok::<_, BoxError>(*own.acquire(&next).await? + 1),
                None => Ok(0),
            }
        }
    });
    let registry = Arc::new(registry.build().unwrap());
    own.set(Arc::downgrade(&registry)).unwrap();
    registry
}

/// The innermost failure that is a circle.
fn circle(error: &AcquireError) -> String {
    let mut link: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut found = None;
    while let Some(error) = link {
        if let Some(error) = error.downcast_ref::<AcquireError>().filter(|it| it.kind() == AcquireErrorKind::Circular) {
            found = Some(error.to_string());
        }
        link = error.source();
    }
    found.unwrap()
}

#[tokio::test(start_paused = true)]
async fn f05_a_client_that_is_made_of_itself_is_an_error_that_names_it() {
    for yields in [0, 1, 5] {
        let registry = chain(|_| Some("a"), yields);
        let error = timeout(Duration::from_secs(1), registry.acquire(&"a")).await.unwrap().unwrap_err();
        assert_eq!(circle(&error), r#"the client is made of itself: "a" -> "a""#);
        assert_eq!(Verdict::of(&error).unwrap().advice(), Advice::Never);
        assert!(registry.snapshot().entries.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn f05_a_ring_of_clients_is_an_error_that_names_it() {
    for yields in [0, 1, 5] {
        let ring = |key: &str| {
            Some(if key == "a" {
                "b"
            } else if key == "b" {
                "c"
            } else {
                "a"
            })
        };
        let registry = chain(ring, yields);
        let error = timeout(Duration::from_secs(1), registry.acquire(&"a")).await.unwrap().unwrap_err();
        assert_eq!(circle(&error), r#"the client is made of itself: "a" -> "b" -> "c" -> "a""#);
        assert!(registry.snapshot().entries.is_empty());
    }
}

/// Two that need a third one do not need each other.
#[tokio::test(start_paused = true)]
async fn f05_a_client_that_two_others_need_is_no_circle() {
    let registry = chain(|key| (key != "c").then_some("c"), 3);
    let (a, b) = tokio::join!(registry.acquire(&"a"), registry.acquire(&"b"));
    assert_eq!((*a.unwrap(), *b.unwrap()), (1, 1));
}

async fn cross(registry: Arc<Chain>) {
    let tasks = ["a", "b"].map(|key| {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move { registry.acquire(&key).await.map(drop) })
    });
    for task in tasks {
        let error = timeout(Duration::from_secs(5), task).await.unwrap().unwrap().unwrap_err();
        assert!(circle(&error).starts_with("the client is made of itself: "));
    }
    assert!(registry.snapshot().entries.is_empty());
}

fn other(key: &str) -> Option<&'static str> {
    Some(if key == "a" { "b" } else { "a" })
}

#[tokio::test(start_paused = true)]
async fn f05_two_tasks_that_cross_end_in_an_error() {
    for yields in 0..6 {
        cross(chain(other, yields)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f05_two_threads_that_cross_end_in_an_error() {
    for round in 0..500 {
        cross(chain(other, round % 4)).await;
    }
}

/// The circle leads through a task, and is not seen: the wait ends with its timeout, and others go on meanwhile.
#[tokio::test(start_paused = true)]
async fn f05_a_circle_that_is_not_seen_is_a_wait_that_a_timeout_ends() {
    let own: Arc<OnceLock<Weak<Chain>>> = Arc::default();
    let seen = Arc::clone(&own);
    let registry = Registry::builder(move |key: &'static str| {
        let own = seen.get().unwrap().upgrade().unwrap();
        async move { Ok::<_, BoxError>(tokio::spawn(async move { own.acquire(&key).await.map(|it| *it) }).await??) }
    });
    let registry = Arc::new(registry.build().unwrap());
    own.set(Arc::downgrade(&registry)).unwrap();

    let ticks = tokio::spawn(async {
        for _ in 0..10 {
            sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(timeout(Duration::from_secs(2), registry.acquire(&"a")).await.is_err());
    assert!(ticks.is_finished(), "another task made progress");
}
