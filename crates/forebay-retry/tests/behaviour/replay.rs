//! Streaming request bodies: kept up to a cap, and sent again from there.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_core::{Advice, BoxError, Verdict};
use forebay_retry::{
    GaveUp, RetriesExhausted, RetryBuilder, StopReason,
    http::{ReplayBody, ReplayLayer},
};
use forebay_testkit::{Probe, Watch};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};
use tower::{Layer, ServiceExt};

/// A stream that cannot be cloned: data, then trailers or an error.
#[derive(Debug, Default)]
struct Stream {
    frames: VecDeque<Result<Frame<Bytes>, io::Error>>,
    size: Option<u64>,
    panics: bool,
}

impl Stream {
    fn of(texts: &[&'static str]) -> Self {
        let frames = texts.iter().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))).collect();
        Self { frames, ..Self::default() }
    }

    fn trailers(mut self) -> Self {
        let trailers = HeaderMap::from_iter([("checksum".parse().unwrap(), "17".parse().unwrap())]);
        self.frames.push_back(Ok(Frame::trailers(trailers)));
        self
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        assert!(!self.panics, "the stream panics");
        Poll::Ready(self.frames.pop_front())
    }

    fn size_hint(&self) -> SizeHint {
        self.size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

type Seen = Arc<Mutex<Vec<(String, bool)>>>;

type Server = Probe<Request<ReplayBody<Stream>>, Response<()>>;

/// Reads so many frames of each request, then responds with 503 until the script ends; remembers what it read.
fn server(script: Vec<usize>) -> (Server, Watch, Seen) {
    let (seen, script) = (Seen::default(), Mutex::new(VecDeque::from(script)));
    let log = Arc::clone(&seen);
    let probe = Probe::new(move |request: Request<ReplayBody<Stream>>| {
        let (read, log) = (script.lock().unwrap().pop_front(), Arc::clone(&log));
        async move {
            let mut body = request.into_body();
            let (mut text, mut trailers) = (String::new(), false);
            for _ in 0..read.unwrap_or(usize::MAX) {
                match body.frame().await {
                    Some(Ok(frame)) => {
                        trailers |= frame.is_trailers();
                        text.push_str(std::str::from_utf8(frame.data_ref().unwrap_or(&Bytes::new()))?);
                    }
                    Some(Err(error)) => return Err(error),
                    None => break,
                }
            }
            log.lock().unwrap().push((text, trailers));
            let status = if read.is_some() { 503 } else { 200 };
            Ok(Response::builder().status(status).body(())?)
        }
    });
    let watch = probe.watch();
    (probe, watch, seen)
}

async fn send(max_bytes: usize, probe: Server, stream: Stream) -> Result<Response<()>, BoxError> {
    let retry = RetryBuilder::http().replay_body().build().unwrap();
    let service = ReplayLayer::new().max_bytes(max_bytes).layer(retry.layer(probe));
    service.oneshot(Request::put("http://store.example/rows").body(stream).unwrap()).await
}

fn all(text: &str, trailers: bool) -> (String, bool) {
    (text.to_owned(), trailers)
}

#[tokio::test(start_paused = true)]
async fn d03_each_attempt_sends_the_same_bytes_and_trailers_however_much_the_last_one_read() {
    let (probe, _, seen) = server(vec![2, 99, 0]);
    let stream = Stream::of(&["one ", "two ", "three"]).trailers();
    assert_eq!(send(64, probe, stream).await.unwrap().status(), 200);
    let expected = [all("one two ", false), all("one two three", true), all("", false), all("one two three", true)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn d03_beyond_the_cap_the_attempt_is_the_last() {
    // One byte above the cap of 12, at the third frame.
    for (read, attempts) in [(2, 2), (3, 1)] {
        let (probe, watch, _) = server(vec![read; 1]);
        let response = send(12, probe, Stream::of(&["one ", "two ", "three"])).await.unwrap();
        let gave_up = GaveUp::of(response.extensions()).map(GaveUp::stop_reason);
        assert_eq!(watch.calls(), attempts);
        assert_eq!(gave_up, (attempts == 1).then_some(StopReason::BodyNotReplayable));
    }
}

#[tokio::test(start_paused = true)]
async fn d03_an_error_beyond_the_cap_says_in_its_verdict_that_it_is_the_last() {
    let probe = Server::new(|request: Request<ReplayBody<Stream>>| async {
        request.into_body().collect().await?;
        Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
    });
    let watch = probe.watch();
    let error = send(4, probe, Stream::of(&["one ", "two"])).await.unwrap_err();
    assert_eq!(error.downcast_ref::<RetriesExhausted>().unwrap().stop_reason(), StopReason::BodyNotReplayable);
    assert_eq!((watch.calls(), Verdict::of(&*error).unwrap().advice()), (1, Advice::Never));
}

#[tokio::test(start_paused = true)]
async fn d03_what_was_not_read_is_sent_again_whatever_its_length() {
    let (probe, _, seen) = server(vec![0, 0]);
    let stream = Stream { size: Some(13), ..Stream::of(&["one ", "two ", "three"]) };
    assert_eq!(send(4, probe, stream).await.unwrap().status(), 200);
    assert_eq!(seen.lock().unwrap().last().unwrap().0, "one two three");
}

#[tokio::test(start_paused = true)]
async fn d03_a_body_that_says_that_it_is_longer_is_not_kept_at_all() {
    let (probe, watch, _) = server(vec![1]);
    let stream = Stream { size: Some(13), ..Stream::of(&["one ", "two ", "three"]) };
    let response = send(12, probe, stream).await.unwrap();
    assert_eq!(GaveUp::of(response.extensions()).unwrap().stop_reason(), StopReason::BodyNotReplayable);
    assert_eq!(watch.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_is_not_sent_again() {
    let mut stream = Stream::of(&["one "]);
    stream.frames.push_back(Err(io::ErrorKind::UnexpectedEof.into()));
    let (probe, watch, _) = server(vec![]);
    let error = send(64, probe, stream).await.unwrap_err();
    assert_eq!(error.downcast_ref::<RetriesExhausted>().unwrap().stop_reason(), StopReason::BodyNotReplayable);
    assert_eq!(watch.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn f18_a_body_that_panics_leaves_an_error_for_later_readers() {
    let body = ReplayBody::new(Stream { panics: true, ..Stream::default() }, 64);
    let mut copy = body.clone();
    assert!(tokio::spawn(body.collect()).await.unwrap_err().is_panic());
    assert!(copy.frame().await.unwrap().is_err());
    assert!(copy.frame().await.is_none());
}

#[test]
fn an_earlier_reader_is_over_when_a_later_one_begins() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = ReplayBody::new(Stream::of(&["one ", "two"]), 64);
    let mut second = first.clone();
    let text = |polled: Poll<Option<Result<Frame<Bytes>, BoxError>>>| match polled {
        Poll::Ready(Some(Ok(frame))) => Ok(frame.into_data().unwrap()),
        other => Err(format!("{other:?}")),
    };
    let mut poll = |body: &mut ReplayBody<Stream>| text(pin!(body).poll_frame(&mut cx));
    assert_eq!(poll(&mut first).unwrap(), "one ");
    assert_eq!(poll(&mut second).unwrap(), "one ");
    assert!(poll(&mut first).unwrap_err().contains("a later attempt reads the body"));
    assert_eq!(poll(&mut second).unwrap(), "two");
}

#[test]
fn lengths_are_those_of_what_is_left_and_an_empty_body_ends_at_once() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut body = ReplayBody::new(Stream { size: Some(7), ..Stream::of(&["one ", "two"]) }, 64);
    let copy = body.clone();
    assert!(pin!(&mut body).poll_frame(&mut cx).is_ready());
    assert_eq!((body.size_hint().exact(), copy.size_hint().exact()), (Some(3), Some(7)));
    let empty = ReplayBody::new(http_body_util::Empty::<Bytes>::new(), 64);
    assert!(empty.is_end_stream() && empty.clone().is_end_stream() && empty.can_replay());
}

/// Without a clone that may need it, nothing is kept.
#[test]
fn the_last_attempt_keeps_nothing() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut body = ReplayBody::new(Stream::of(&["one ", "two"]), 64);
    assert!(pin!(&mut body).poll_frame(&mut cx).is_ready());
    assert!(!body.can_replay());
    assert!(format!("{body:?}").contains("kept_bytes: None"), "{body:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Each reader sees a prefix of the same bytes, and as much as the plain model says.
    #[test]
    fn d03_readers_see_what_the_plain_model_says(
        lengths in proptest::collection::vec(0..20_usize, 0..12),
        reads in proptest::collection::vec(0..14_usize, 1..6),
        max_bytes in 0..120_usize, trailers in any::<bool>(),
    ) {
        let mut next = 0_u8;
        let frames: Vec<Bytes> = lengths.iter().map(|length| {
            (0..*length).map(|_| { next = next.wrapping_add(1); next }).collect()
        }).collect();
        let stream = Stream { frames: frames.iter().cloned().map(|bytes| Ok(Frame::data(bytes))).collect(), ..Stream::default() };
        let stream = if trailers { stream.trailers() } else { stream };
        let mut cx = Context::from_waker(Waker::noop());
        let mut body = ReplayBody::new(stream, max_bytes);
        // How many frames were read by any reader so far.
        let mut furthest = 0;
        for read in reads {
            let copy = body.clone();
            for index in 0..read {
                let polled = pin!(&mut body).poll_frame(&mut cx);
                let fits = frames[..furthest.min(frames.len())].iter().map(Bytes::len).sum::<usize>() <= max_bytes;
                let Poll::Ready(polled) = polled else { panic!("never pending") };
                match polled {
                    Some(Ok(frame)) if frame.is_data() => {
                        prop_assert!(index >= furthest || fits);
                        prop_assert_eq!(frame.data_ref().unwrap(), &frames[index]);
                        furthest = furthest.max(index + 1);
                    }
                    Some(Ok(_)) => prop_assert!(trailers && index == frames.len()),
                    Some(Err(_)) => {
                        prop_assert!(index < furthest && !fits);
                        break;
                    }
                    None => {
                        prop_assert!(index >= frames.len() + usize::from(trailers));
                        break;
                    }
                }
            }
            let bytes = frames[..furthest].iter().map(Bytes::len).sum::<usize>();
            prop_assert_eq!(copy.can_replay(), furthest == 0 || bytes <= max_bytes);
            body = copy;
        }
    }
}

/// A body that another reader polls while it is polled, as a second thread would: a client may still send the body of an attempt
/// whose response has come.
struct Contended {
    later: Arc<Mutex<Option<tokio_test::task::Spawn<ReplayBody<Self>>>>>,
    frames: VecDeque<&'static str>,
}

impl Body for Contended {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(later) = &mut *self.later.lock().unwrap() {
            assert!(later.enter(|cx, body| body.poll_frame(cx)).is_pending(), "it waits");
        }
        Poll::Ready(self.frames.pop_front().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

#[tokio::test]
async fn d03_a_later_attempt_waits_while_the_body_of_an_earlier_one_is_still_polled() {
    let later = Arc::new(Mutex::new(None));
    let stream = Contended { later: Arc::clone(&later), frames: VecDeque::from(["one ", "two"]) };
    let mut first = ReplayBody::new(stream, 64);
    *later.lock().unwrap() = Some(tokio_test::task::spawn(first.clone()));
    let frame = first.frame().await.unwrap().unwrap();
    assert_eq!(frame.data_ref().unwrap(), "one ");
    let later = later.lock().unwrap().take().unwrap();
    assert!(later.is_woken());
    assert_eq!(later.into_inner().collect().await.unwrap().to_bytes(), "one two");
    assert!(first.frame().await.unwrap().is_err(), "it is overtaken");
}
