//! The laws of `tower::Service`, and what becomes of permits.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{Advice, BoxError, ByError, DropReason, Outcome, Seen, Verdict};
use forebay_limit::{Adaptive, Limit, LimitHandle, LimitLayer, LimitReached, future::ResponseFuture};
use forebay_testkit::{Probe, laws};
use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio_test::task;
use tower::{Layer, Service, ServiceExt, service_fn};

fn bounds(floor: usize, ceiling: usize) -> Adaptive {
    Adaptive::builder().floor(floor).ceiling(ceiling).seed(7).build().unwrap()
}

fn layer(permits: usize, max_waiting: usize) -> LimitLayer<ByError> {
    LimitLayer::builder().adaptive(bounds(permits, permits)).max_waiting(max_waiting).build().unwrap()
}

fn limited(probe: Probe<u32>) -> impl Service<u32, Response = u32, Error = BoxError> + Clone {
    layer(2, 8).layer(probe)
}

fn shedding(probe: Probe<u32>) -> impl Service<u32, Response = u32, Error = BoxError> + Clone {
    layer(2, 0).layer(probe)
}

#[tokio::test(start_paused = true)]
async fn the_readied_instance_is_called() {
    laws::the_readied_instance_is_called(limited, 7).await;
    laws::the_readied_instance_is_called(shedding, 7).await;
}

#[tokio::test(start_paused = true)]
async fn readiness_is_stable() {
    laws::readiness_is_stable(limited(Probe::with_slots(1, |n| async move { Ok(n) }))).await;
    laws::readiness_is_stable(layer(1, 8).layer(Probe::<u32>::echo())).await;
    laws::readiness_is_stable(layer(1, 0).layer(Probe::<u32>::echo())).await;
}

#[tokio::test(start_paused = true)]
async fn clones_share_permits_not_grants() {
    laws::clones_share_slots_not_grants(limited, 7).await;
    laws::clones_share_slots_not_grants(|probe| layer(1, 8).layer(probe), 7).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_gives_back() {
    laws::dropping_a_ready_service_gives_back(limited).await;
    laws::dropping_a_future_gives_back(limited, 7).await;
    laws::dropping_a_future_gives_back(|probe| layer(1, 0).layer(probe), 7).await;
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_wake_when_a_permit_comes_back_first_come_first_served() {
    let layer = layer(1, 8);
    let handle = layer.handle();
    let mut holder = layer.layer(Probe::<u32>::hanging());
    let running = holder.ready().await.unwrap().call(1);
    let mut waiting: Vec<_> = (0..3).map(|_| task::spawn(holder.clone().ready_oneshot())).collect();
    for service in &mut waiting {
        assert!(service.poll().is_pending());
    }
    assert_eq!((handle.in_flight(), handle.waiting()), (1, 3));
    // Polled again, each keeps its place.
    assert!(waiting[2].poll().is_pending());
    drop(running);
    assert_eq!([0, 1, 2].map(|n| waiting[n].is_woken()), [true, false, false]);
    // One who comes now does not overtake, although the first has not been polled since.
    let mut late = task::spawn(holder.clone().ready_oneshot());
    assert!(late.poll().is_pending());
    // The first leaves with its permit unused: the next one gets it.
    drop(waiting.remove(0));
    assert!(waiting[0].is_woken() && !waiting[1].is_woken());
    assert!(waiting[0].poll().is_ready());
    // One who leaves the middle of the line leaves nothing behind.
    drop(waiting.remove(1));
    assert_eq!(handle.waiting(), 1);
    drop(waiting);
    assert!(late.is_woken() && late.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn one_too_many_is_refused_and_never_sent() {
    let layer = layer(1, 1);
    let probe = Probe::<u32>::hanging();
    let watch = probe.watch();
    let mut service = layer.layer(probe);
    let running = service.ready().await.unwrap().call(1);
    let mut waits = task::spawn(service.clone().ready_oneshot());
    assert!(waits.poll().is_pending());
    let error = service.ready().await.unwrap().call(2).await.unwrap_err();
    let reached = error.downcast_ref::<LimitReached>().unwrap();
    assert_eq!((reached.limit(), reached.waiting()), (1, 1));
    assert!(reached.retry_in() >= Duration::from_millis(1));
    let verdict = Verdict::of(&*error).unwrap();
    assert_eq!((verdict.reason(), verdict.seen()), (DropReason::Full, Seen::No));
    assert_eq!(verdict.advice(), Advice::RetryAfter(reached.retry_in()));
    laws::error_chain_has_one_link_per_sentence(&*error);
    assert_eq!(watch.calls(), 1);
    drop(running);
    assert!(waits.is_woken());
}

#[tokio::test(start_paused = true)]
async fn f18_a_panic_gives_the_permit_back() {
    let layer = layer(1, 0);
    let handle = layer.handle();
    let mut in_call = layer.layer(service_fn(|()| -> std::future::Ready<Result<(), BoxError>> { panic!("in call") }));
    in_call.ready().await.unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| in_call.call(()))).is_err());
    assert_eq!(handle.in_flight(), 0);

    let mut in_poll =
        layer.layer(service_fn(|()| async { if true { panic!("in poll") } else { Ok::<_, BoxError>(()) } }));
    let future = in_poll.ready().await.unwrap().call(());
    let poll = AssertUnwindSafe(|| pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert!(catch_unwind(poll).is_err());
    assert_eq!(handle.in_flight(), 0);

    let classifier = |_: &Result<(), BoxError>| -> Outcome { panic!("in the classifier") };
    let layer = LimitLayer::builder().adaptive(bounds(1, 1)).classify(classifier).build().unwrap();
    let mut classified = layer.layer(service_fn(|()| async { Ok::<_, BoxError>(()) }));
    let future = classified.ready().await.unwrap().call(());
    let poll = AssertUnwindSafe(|| pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert!(catch_unwind(poll).is_err());
    assert_eq!(layer.handle().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_is_broken_says_so_and_holds_no_permit() {
    let probe = Probe::<u32>::echo();
    probe.watch().fail("broken");
    let layer = layer(1, 0);
    let mut first = layer.layer(probe.clone());
    assert_eq!(first.ready().await.map(|_| ()).unwrap_err().to_string(), "broken");
    probe.watch().recover();
    assert_eq!(layer.layer(probe).oneshot(7).await.unwrap(), 7, "the broken one holds nobody up");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_called_less() {
    let layer = LimitLayer::builder().adaptive(bounds(1, 64)).max_waiting(1000).build().unwrap();
    let handle = layer.handle();
    let service = layer.layer(service_fn(|refuse: bool| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if refuse { Err::<(), BoxError>("too many requests".into()) } else { Ok(()) }
    }));
    let crowd = |calls: usize, refuse| {
        let service = service.clone();
        async move {
            let calls: Vec<_> = (0..calls).map(|_| tokio::spawn(service.clone().oneshot(refuse))).collect();
            for call in calls {
                let _result = call.await.unwrap();
            }
        }
    };
    crowd(900, false).await;
    let found = handle.limit();
    assert!(found >= 32, "{found} after 900 calls of a server that takes all");
    crowd(400, true).await;
    assert!(handle.limit() <= found / 2, "{} after 400 refusals", handle.limit());
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_ready_and_does_not_call_is_no_load() {
    let layer = layer(2, 8);
    let mut service = layer.layer(service_fn(|()| pending::<Result<(), BoxError>>()));
    let _idle = service.clone().ready_oneshot().await.unwrap();
    let _running = service.ready().await.unwrap().call(());
    assert_eq!(layer.handle().in_flight(), 1);
    let mut third = task::spawn(service.clone().ready_oneshot());
    assert!(matches!(third.poll(), Poll::Pending), "but it holds its permit");
}

#[test]
fn everything_can_be_sent_and_shared() {
    laws::is_send_and_sync::<LimitLayer<ByError>>();
    laws::is_send_and_sync::<Limit<Probe<u32, ()>, ByError>>();
    laws::is_send_and_sync::<LimitHandle>();
    laws::is_send_and_sync::<LimitReached>();
    laws::is_send_and_sync::<ResponseFuture<std::future::Ready<Result<(), BoxError>>, ByError>>();
}
