//! A server that does what the request says, and helpers that call it.

use forebay_breaker::{BreakerEvent, CircuitOpen, State};
use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict, cause_ref};
use forebay_testkit::Probe;
use std::{
    future::{Future, pending},
    io,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};
use tower::{Service, ServiceExt};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) key: &'static str,
    pub(crate) how: How,
}

/// What the server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Succeed,
    Fail,
    /// It asks to be left alone for so many seconds.
    Throttle(u64),
    /// It succeeds after so many milliseconds.
    Take(u64),
    /// It fails after so many milliseconds.
    FailIn(u64),
    Hang,
    Panic,
}

pub(crate) use How::{Fail, FailIn, Hang, Panic, Succeed, Take, Throttle};

/// What a call of the service returned.
#[derive(Debug)]
pub(crate) enum Got {
    Response,
    Failure,
    Rejected(CircuitOpen),
}

/// All events, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<BreakerEvent>>>);

pub(crate) fn far() -> Probe<Request, ()> {
    Probe::new(|request: Request| async move {
        match request.how {
            Succeed => Ok(()),
            Fail => Err(io::Error::other("refused").into()),
            Throttle(seconds) => {
                let advice = Advice::RetryAfter(Duration::from_secs(seconds));
                Err(io::Error::other(Verdict::new(DropReason::Rejected, Seen::Yes, advice)).into())
            }
            Take(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
            FailIn(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Err(io::Error::other("refused").into())
            }
            Hang => pending().await,
            Panic => panic!("the inner service panics"),
        }
    })
}

/// Starts a call: it has reached the server, or was rejected, when this returns.
pub(crate) async fn start<S>(service: &mut S, key: &'static str, how: How) -> tokio_test::task::Spawn<S::Future>
where
    S: Service<Request, Response = (), Error = BoxError>,
{
    let future = service.ready().await.unwrap().call(Request { key, how });
    tokio_test::task::spawn(future)
}

pub(crate) fn got(result: Result<(), BoxError>) -> Got {
    match result {
        Ok(()) => Got::Response,
        Err(error) => match cause_ref::<CircuitOpen>(&*error) {
            Some(open) => Got::Rejected(open.clone()),
            None => Got::Failure,
        },
    }
}

pub(crate) async fn call_for<S>(service: &mut S, key: &'static str, how: How) -> Got
where
    S: Service<Request, Response = (), Error = BoxError>,
{
    got(service.ready().await.unwrap().call(Request { key, how }).await)
}

pub(crate) async fn call<S>(service: &mut S, how: How) -> Got
where
    S: Service<Request, Response = (), Error = BoxError>,
{
    call_for(service, "one", how).await
}

pub(crate) async fn calls<S>(service: &mut S, how: How, times: usize)
where
    S: Service<Request, Response = (), Error = BoxError>,
{
    for time in 0..times {
        let got = call(service, how).await;
        assert!(!got.is_rejected(), "call {time} of {times} was rejected");
    }
}

pub(crate) async fn wait(time: Duration) {
    tokio::time::advance(time).await;
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Drives a future that must not end yet.
pub(crate) fn poll_pending<F: Future>(task: &mut tokio_test::task::Spawn<F>) {
    assert!(matches!(task.poll(), Poll::Pending), "it has ended");
}

impl Got {
    pub(crate) fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }

    pub(crate) fn is_response(&self) -> bool {
        matches!(self, Self::Response)
    }

    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failure)
    }

    pub(crate) fn rejection(self) -> CircuitOpen {
        match self {
            Self::Rejected(open) => open,
            other => panic!("not rejected: {other:?}"),
        }
    }
}

impl Events {
    pub(crate) fn observer(&self) -> impl Fn(&BreakerEvent) + Send + Sync + use<> {
        let events = self.clone();
        move |event: &BreakerEvent| events.0.lock().unwrap().push(event.clone())
    }

    pub(crate) fn take(&self) -> Vec<BreakerEvent> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// The changes of state since the last time, as pairs.
    pub(crate) fn changes(&self) -> Vec<(State, State)> {
        let changed = |event| match event {
            BreakerEvent::Changed { from, to, .. } => Some((from, to)),
            _ => None,
        };
        self.take().into_iter().filter_map(changed).collect()
    }
}
