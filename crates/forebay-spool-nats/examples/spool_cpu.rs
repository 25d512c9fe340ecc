//! What a spool costs in CPU time, on disk or on JetStream: appended, then leased and acknowledged.
//!
//! ```text
//! cargo run --release -p forebay-spool-nats --example spool_cpu -- process|disk DIR [RECORDS [BYTES]]
//! cargo run --release -p forebay-spool-nats --example spool_cpu -- nats URL [RECORDS [BYTES [PID]]]
//! ```
//!
//! It counts CPU time, user and system, by `/proc`, because a rate by the clock says more about the machine than about the
//! spool; `PID` is that of the NATS server, whose time is counted as well.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and says what it measured")]

use forebay_core::BoxError;
use forebay_spool::{DiskSpool, Durability};
use forebay_spool_nats::{Group, JetStreamSpool, NewRecord, Spool, Want, async_nats};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{fs, time::Instant};

/// Records of one group, and of one lease, at most.
const MOST: usize = 512;
/// Bytes of one group, at most.
const MOST_BYTES: usize = 1 << 20;
/// Groups that are appended at a time, as the batches of several programs are.
const IN_FLIGHT: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, place, rest @ ..] = &arguments[..] else { return Err("process|disk DIR, or nats URL".into()) };
    let number = |at: usize| rest.get(at).map(|text| text.parse::<usize>()).transpose();
    let (records, bytes) = (number(0)?.unwrap_or(500_000), number(1)?.unwrap_or(200));
    let server = number(2)?;
    match &**kind {
        "nats" => {
            let client = async_nats::connect(place).await?;
            let name = format!("cpu-{}", std::process::id());
            let spool = JetStreamSpool::builder(client, &name).destination("main", "cpu").open().await?;
            run(&spool, records, bytes, server).await?;
            spool.close().await?;
        }
        kind => {
            let durability = if kind == "disk" { Durability::DISK } else { Durability::Process };
            let spool = DiskSpool::builder(place).destination("main", "cpu").durability(durability);
            let spool = spool.max_bytes(16 << 30).open()?;
            run(&spool, records, bytes, server).await?;
            spool.close().await?;
        }
    }
    Ok(())
}

async fn run(spool: &impl Spool, records: usize, bytes: usize, server: Option<usize>) -> Result<(), BoxError> {
    let payload = bytes::Bytes::from(vec![7; bytes]);
    let group = (MOST_BYTES / bytes.max(1)).clamp(1, MOST);
    let groups = records.div_ceil(group);
    let records = groups * group;
    let start = Cost::now(server);
    stream::iter(0..groups)
        .map(|_| spool.append(Group::new((0..group).map(|_| NewRecord::new(payload.clone())))))
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    start.report("append", records);
    let held = spool.stats().await?.bytes;
    println!("{:>24}: {:.0} bytes for a record of {bytes}", "held", held as f64 / records as f64);
    let start = Cost::now(server);
    let mut left = records;
    while left > 0 {
        let Some(lease) = spool.lease("main", Want { records: group, ..Want::default() }).await? else {
            tokio::task::yield_now().await;
            continue;
        };
        left -= lease.records().len();
        spool.acknowledge(lease).await?;
    }
    start.report("lease and acknowledge", records);
    Ok(())
}

/// What was spent so far.
struct Cost {
    at: Instant,
    own: f64,
    server: Option<(usize, f64)>,
}

// === impl Cost ===

impl Cost {
    fn now(server: Option<usize>) -> Self {
        let server = server.map(|pid| (pid, cpu(&pid.to_string())));
        Self { at: Instant::now(), own: cpu("self"), server }
    }

    fn report(&self, what: &str, records: usize) {
        let per = |seconds: f64| records as f64 / seconds.max(0.01);
        let (own, wall) = (cpu("self") - self.own, self.at.elapsed().as_secs_f64());
        println!("{what:>24}: {:.0} records per CPU second of the program; {:.0} per second", per(own), per(wall));
        if let Some((pid, before)) = self.server {
            let spent = cpu(&pid.to_string()) - before;
            println!("{:>24}: {:.0} records per CPU second of the server", "", per(spent));
        }
    }
}

/// CPU time of a process so far, user and system, in seconds; 0 where it cannot be read.
fn cpu(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold spaces. Behind it the times are the 12th and the 13th field.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(11).take(2);
    // Linux counts in hundredths of a second.
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
