//! A server that responds by script, and remembers which request came when.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{BoxError, Outcome};
use forebay_testkit::{Probe, Watch};
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

/// What the server does with one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scripted {
    Good,
    /// A response that may be better next time.
    Busy,
    /// The same, with a hint in milliseconds.
    BusyFor(u64),
    /// An error that may pass.
    Fail,
    /// The same, with a hint in milliseconds.
    FailFor(u64),
    /// An error that will not pass.
    Fatal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) Scripted);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scripted: {:?}", self.0)
    }
}

impl std::error::Error for Failed {}

#[derive(Clone, Debug)]
pub(crate) struct Log<Req>(Arc<Mutex<Vec<(Duration, Req)>>>, Instant);

impl<Req: Clone> Log<Req> {
    pub(crate) fn requests(&self) -> Vec<Req> {
        self.0.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    /// When each attempt came, since the beginning.
    pub(crate) fn times(&self) -> Vec<Duration> {
        self.0.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }

    /// How long after the one before each attempt came.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.times().windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A strict inner service that responds by script; after its end all is good.
pub(crate) fn scripted<Req>(script: impl IntoIterator<Item = Scripted>) -> (Probe<Req, Scripted>, Watch, Log<Req>)
where
    Req: Clone + Send + 'static,
{
    slow_scripted(Duration::ZERO, script)
}

/// The same, and each response takes this long.
pub(crate) fn slow_scripted<Req>(
    takes: Duration,
    script: impl IntoIterator<Item = Scripted>,
) -> (Probe<Req, Scripted>, Watch, Log<Req>)
where
    Req: Clone + Send + 'static,
{
    let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
    let log = Log(Arc::default(), Instant::now());
    let seen = log.clone();
    let probe = Probe::new(move |request: Req| {
        seen.0.lock().unwrap().push((seen.1.elapsed(), request));
        let response = script.lock().unwrap().pop_front().unwrap_or(Scripted::Good);
        async move {
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            match response {
                Scripted::Good | Scripted::Busy | Scripted::BusyFor(_) => Ok(response),
                Scripted::Fail | Scripted::FailFor(_) | Scripted::Fatal => Err(Failed(response).into()),
            }
        }
    });
    let watch = probe.watch();
    (probe, watch, log)
}

/// What a result of the script means.
pub(crate) fn classify(result: &Result<Scripted, BoxError>) -> Outcome {
    let response = match result {
        Ok(response) => *response,
        Err(error) => forebay_core::cause_ref::<Failed>(&**error).map_or(Scripted::Fail, |failed| failed.0),
    };
    outcome(response)
}

/// The same where the error is not boxed.
pub(crate) fn classify_plain(result: &Result<Scripted, Failed>) -> Outcome {
    outcome(match result {
        Ok(response) | Err(Failed(response)) => *response,
    })
}

fn outcome(response: Scripted) -> Outcome {
    match response {
        Scripted::Good => Outcome::Success,
        Scripted::Busy | Scripted::Fail => Outcome::RETRYABLE,
        Scripted::BusyFor(wait) | Scripted::FailFor(wait) => {
            Outcome::Retryable { after: Some(Duration::from_millis(wait)) }
        }
        Scripted::Fatal => Outcome::Terminal,
    }
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
