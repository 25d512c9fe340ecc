//! A load of two lanes on a small server, what each request met, and whether the server kept what a queue in front of it promises.

use crate::client::HttpClient;
use forebay_core::{BoxError, DropReason, Totals};
use http::{Request, StatusCode, Uri, header::RETRY_AFTER};
use http_body_util::{BodyExt, Full};
use std::{fmt, future::Future, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

/// How long the server works on one request.
pub const WORK: Duration = Duration::from_millis(40);
/// How many requests it works on at a time.
pub const WORKERS: usize = 2;
/// How many requests it holds, those that it works on included.
pub const ITEMS: usize = 200;
/// From this share of [`ITEMS`] on only the high lane is admitted.
pub const SOFT_LIMIT: f64 = 0.8;

/// Ten times as many requests per second as the server takes.
const RATE: u32 = 500;
/// How long the load lasts, in seconds.
const SECONDS: u32 = 5;
/// One request in so many takes the high lane: a fifth of what the server takes.
const HIGH_EVERY: u32 = 50;

/// The lane that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A client that pays, or a health check.
    High,
    /// All others.
    Normal,
}

/// What a client gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The response of the service.
    Served,
    /// The server has no room, and says when to try again.
    Refused,
    /// What should not happen.
    Wrong(String),
}

/// What the clients got in all.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    high: LaneTally,
    normal: LaneTally,
    wrong: Vec<String>,
}

/// What the clients of one lane got.
#[derive(Clone, Debug, Default)]
struct LaneTally {
    /// How long each request took that was served, the shortest first.
    served: Vec<Duration>,
    refused: u64,
}

/// Sends ten times the load that the server takes, each request when its time has come, whatever became of those before.
pub async fn offer<F>(send: impl Fn(Lane, u32) -> F) -> Tally
where
    F: Future<Output = Reply> + Send + 'static,
{
    let (mut ticks, mut requests) = (interval(Duration::from_secs(1) / RATE), JoinSet::new());
    for n in 0..RATE * SECONDS {
        ticks.tick().await;
        let lane = if n.is_multiple_of(HIGH_EVERY) { Lane::High } else { Lane::Normal };
        let (request, sent) = (send(lane, n), Instant::now());
        requests.spawn(async move {
            let reply = request.await;
            (lane, reply, sent.elapsed())
        });
    }
    let mut tally = Tally::default();
    while let Some(request) = requests.join_next().await {
        match request {
            Ok((lane, reply, took)) => tally.add(lane, reply, took),
            Err(panicked) => tally.wrong.push(panicked.to_string()),
        }
    }
    tally.high.served.sort_unstable();
    tally.normal.served.sort_unstable();
    tally
}

/// Sends one request over HTTP: a client that pays says so in a header.
pub async fn send_http(client: HttpClient, uri: Uri, lane: Lane) -> Reply {
    match try_http(client, uri, lane).await {
        Ok(reply) => reply,
        Err(error) => Reply::Wrong(error.to_string()),
    }
}

async fn try_http(client: HttpClient, uri: Uri, lane: Lane) -> Result<Reply, BoxError> {
    let plan = if lane == Lane::High { "paid" } else { "free" };
    let response = client.request(Request::get(uri).header("x-plan", plan).body(Full::default())?).await?;
    let (head, body) = response.into_parts();
    // Read to its end, so that the connection serves the next request.
    body.collect().await?;
    Ok(match head.status {
        StatusCode::OK => Reply::Served,
        StatusCode::TOO_MANY_REQUESTS if head.headers.contains_key(RETRY_AFTER) => Reply::Refused,
        status => Reply::Wrong(format!("{status} with {:?}", head.headers)),
    })
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, lane: Lane, reply: Reply, took: Duration) {
        let lane = match lane {
            Lane::High => &mut self.high,
            Lane::Normal => &mut self.normal,
        };
        match reply {
            Reply::Served => lane.served.push(took),
            Reply::Refused => lane.refused += 1,
            Reply::Wrong(what) => self.wrong.push(what),
        }
    }

    /// Checks what the clients got, and that the ledger of the queue says the same.
    ///
    /// # Errors
    ///
    /// The first promise that was not kept.
    pub fn check(&self, totals: &Totals) -> Result<(), BoxError> {
        let Self { high, normal, wrong } = self;
        if let Some(first) = wrong.first() {
            return Err(format!("{} responses are neither served nor a due refusal: {first}", wrong.len()).into());
        }
        if high.refused > 0 || totals.dropped.get(DropReason::Full) > 0 {
            return Err(format!("{} of the high lane were refused while there was room", high.refused).into());
        }
        if normal.refused < 4 * normal.count() / 5 {
            return Err("under ten times its load a server refuses most of what may be refused".into());
        }
        if high.percentile(99) >= normal.percentile(50) / 10 {
            return Err("the high lane waited for longer than a tenth of what the normal lane did".into());
        }
        let (served, refused) = ((high.served.len() + normal.served.len()) as u64, high.refused + normal.refused);
        let books = (totals.delivered, totals.dropped.total(), totals.pending);
        if !totals.balance() || totals.offered != served + refused || books != (served, refused, 0) {
            return Err(format!("the clients know of {served} and {refused}, the ledger of {totals}").into());
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, lane) in [("high", &self.high), ("normal", &self.normal)] {
            let (half, most) = (lane.percentile(50), lane.percentile(99));
            let (all, served, refused) = (lane.count(), lane.served.len(), lane.refused);
            writeln!(
                f,
                "{name:6} {all:5} requests: {served:4} served, half within {half:.1?} and 99 % within {most:.1?}; {refused:4} refused"
            )?;
        }
        write!(f, "all refusals were due, and said when to try again")
    }
}

// === impl LaneTally ===

impl LaneTally {
    fn count(&self) -> u64 {
        self.served.len() as u64 + self.refused
    }

    /// So many percent of those that were served took no longer.
    fn percentile(&self, percent: usize) -> Duration {
        self.served.get(self.served.len() * percent / 100).copied().unwrap_or_default()
    }
}
