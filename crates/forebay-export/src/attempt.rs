//! One attempt within its time.

use crate::control::{Control, grpc_timeout};
use forebay_core::{BoxError, Deadline, time::saturating_add};
use http::{HeaderName, Request};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::timeout::error::Elapsed;
use tower_service::Service;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Ends an attempt after `attempt_timeout`, or at the deadline if that is earlier: that of the request, or that of a shutdown.
///
/// Over gRPC an attempt that has less time says so in `grpc-timeout`, so that the server does not work for a response that no
/// caller waits for.
#[derive(Clone, Debug)]
pub(crate) struct WithinTime<S> {
    inner: S,
    /// How long an attempt may take at most.
    most: Duration,
    /// Knows when a shutdown ends.
    control: Arc<Control>,
}

pin_project! {
    /// The future of [`WithinTime`].
    pub(crate) struct Attempting<F> {
        // `None` where no time is left: the request is not sent then.
        #[pin]
        response: Option<F>,
        #[pin]
        late: Sleep,
    }
}

// === impl WithinTime ===

impl<S> WithinTime<S> {
    pub(crate) fn new(inner: S, most: Duration, control: Arc<Control>) -> Self {
        Self { inner, most, control }
    }
}

impl<S, B> Service<Request<B>> for WithinTime<S>
where
    S: Service<Request<B>, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Attempting<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let now = Instant::now();
        let deadlines = [Deadline::of(request.extensions()), self.control.end()];
        let left = deadlines.into_iter().flatten().map(|deadline| deadline.remaining_at(now)).min();
        let limit = left.map_or(self.most, |left| left.min(self.most));
        if limit < self.most
            && let Some(header) = request.headers_mut().get_mut(GRPC_TIMEOUT)
            && let Some(shorter) = grpc_timeout(limit)
        {
            *header = shorter;
        }
        let late = sleep_until(Instant::from_std(saturating_add(now.into_std(), limit)));
        // CORRECTNESS: an inner service that is not called stays ready for the next attempt.
        let response = (!limit.is_zero()).then(|| self.inner.call(request));
        Attempting { response, late }
    }
}

// === impl Attempting ===

impl<F, T> Future for Attempting<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(response) = this.response.as_pin_mut() {
            if let Poll::Ready(result) = response.poll(cx) {
                return Poll::Ready(result);
            }
            // CORRECTNESS: polled after the response, so that a response that is there counts, however late it is.
            ready!(this.late.poll(cx));
        }
        Poll::Ready(Err(Elapsed::new().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Settings;
    use forebay_testkit::Probe;
    use std::sync::Mutex;
    use tower::ServiceExt;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// An attempt of 10 s on a server that never responds: the `grpc-timeout` that it sees, and when the attempt ends.
    async fn attempt(control: &Arc<Control>, deadline: Option<u64>) -> (Option<String>, Duration) {
        let seen = Arc::new(Mutex::new(None));
        let see = Arc::clone(&seen);
        let server = Probe::<Request<()>, ()>::new(move |request| {
            let header = request.headers().get(GRPC_TIMEOUT).map(|header| header.to_str().unwrap().to_owned());
            *see.lock().unwrap() = header;
            std::future::pending()
        });
        let mut request = Request::builder().header(GRPC_TIMEOUT, "10000m").body(()).unwrap();
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(Deadline::after(ms(deadline)));
        }
        let begin = Instant::now();
        let error = WithinTime::new(server, ms(10_000), Arc::clone(control)).oneshot(request).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
        let seen = seen.lock().unwrap().take();
        (seen, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn d06_an_attempt_ends_at_the_deadline_and_the_server_knows() {
        let control = Arc::new(Control::new(Settings::default()));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(attempt(&control, None).await, (text("10000m"), ms(10_000)));
        assert_eq!(attempt(&control, Some(60_000)).await, (text("10000m"), ms(10_000)));
        assert_eq!(attempt(&control, Some(2500)).await, (text("2500m"), ms(2500)));
        assert_eq!(attempt(&control, Some(0)).await, (None, ms(0)), "not sent");

        // A shutdown within 4 s: another one does not make it longer, and one that is dropped limits nothing more.
        let other = control.end_by(Deadline::after(ms(8000)));
        let shutdown = control.end_by(Deadline::after(ms(4000)));
        assert_eq!(attempt(&control, None).await, (text("4000m"), ms(4000)));
        assert_eq!(attempt(&control, None).await, (None, ms(0)));
        drop(shutdown);
        assert_eq!(attempt(&control, None).await, (text("4000m"), ms(4000)));
        drop(other);
        assert_eq!(attempt(&control, None).await, (text("10000m"), ms(10_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn f02_any_timeout_can_be_waited_for() {
        let control = Arc::new(Control::new(Settings::default()));
        let server = Probe::<Request<()>, u32>::new(|_| async { Ok(7) });
        let attempt = WithinTime::new(server, Duration::MAX, control);
        assert_eq!(attempt.oneshot(Request::new(())).await.unwrap(), 7);
    }
}
