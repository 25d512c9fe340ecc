//! Sends numbered events to a topic of Kafka, and counts there what has arrived.

use bytes::Bytes;
use forebay::core::BoxError;
use forebay_rdkafka::{Config, Event, Pipeline, count, cpu_seconds};
use lexopt::prelude::*;
use std::{
    fmt::Display,
    io::{Write, stderr, stdout},
    process::ExitCode,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

const HELP: &str = "\
Sends numbered events to a topic of Kafka, and counts there what has arrived.

Usage: to_kafka --brokers ADDRS --topic NAME --spool DIR [OPTIONS]

  --brokers ADDRS         where Kafka is: host:port, and more after commas
  --topic NAME            the topic, which should be empty
  --spool DIR             where events are kept that Kafka does not take
  --events N              how many (default 100000)
  --rate N                events per second (default: as fast as they are taken)
  --bytes N               of each value, 1 MiB at most (default 200)
  --delivery-timeout MS   how long librdkafka tries to deliver one (default 5000)
  --items N               events in memory, at most (default 50000)
  --wait S                for the rest, after the last event (default 120)
  --no-count              do not read the topic in the end

Exit status: 0 when every event is in the topic, and none is there more often than its failures explain; 1 when not.
";

/// What to do.
struct Options {
    config: Config,
    events: u64,
    rate: Option<u64>,
    bytes: usize,
    wait: Duration,
    counts: bool,
}

/// Events that are handed over at a time where a rate is given.
const STEP: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => return say(HELP).map(|()| ExitCode::SUCCESS),
        Err(error) => {
            writeln!(stderr(), "to_kafka: {error}; see --help")?;
            return Ok(ExitCode::from(2));
        }
    };
    let Config { brokers, topic, .. } = options.config.clone();
    let is_fine = run(&options).await?;
    if !options.counts {
        return Ok(ExitCode::from(u8::from(is_fine.is_none())));
    }
    let events = options.events;
    let counted = tokio::task::spawn_blocking(move || count(&brokers, &topic, events)).await??;
    say(format_args!(
        "topic: {} records, {} missing, {} duplicates\n",
        counted.records, counted.missing, counted.duplicates
    ))?;
    let explained = is_fine.is_some_and(|ambiguous| counted.duplicates <= ambiguous);
    Ok(ExitCode::from(u8::from(counted.missing > 0 || !explained)))
}

/// Sends all events. `None` if some were dropped or wait in the spool, else how many records are ambiguous.
async fn run(options: &Options) -> Result<Option<u64>, BoxError> {
    let pipeline = Pipeline::start(&options.config)?;
    let values = noise();
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let mut ticks = interval(STEP);
    // A late program catches up: the load is what was asked for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut most_spooled = 0;
    for id in 0..options.events {
        if let Some(rate) = options.rate
            && id % (rate / 100).max(1) == 0
        {
            ticks.tick().await;
            most_spooled = most_spooled.max(pipeline.handle().totals().spooled);
        }
        // Each event has other bytes than those around it, so that they are as long on the wire as they are here.
        let at = usize::try_from(id)?.wrapping_mul(options.bytes) % (values.len() - options.bytes);
        pipeline.send(Event { id, value: values.slice(at..at + options.bytes) }).await?;
    }
    let rest = pipeline.end(options.wait).await?;
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu.zip(cpu_seconds()).map(|(before, after)| after - before));
    say(format_args!("ledger: {}\n", rest.totals))?;
    say(format_args!(
        "records: {} delivered, {} not stored, {} ambiguous; {most_spooled} in the spool at most, {} left there\n",
        rest.attempts.delivered, rest.attempts.unsent, rest.attempts.ambiguous, rest.spooled
    ))?;
    let per = |seconds: f64| options.events as f64 / seconds;
    say(format_args!("took {seconds:.2} s: {:.0} events/s", per(seconds)))?;
    match cpu.filter(|cpu| *cpu > 0.0) {
        Some(cpu) => say(format_args!("; {cpu:.2} s of CPU time: {:.0} events per CPU second\n", per(cpu)))?,
        None => say("\n")?,
    }
    let is_delivered = rest.totals.delivered == options.events && rest.spooled == 0;
    Ok(is_delivered.then_some(rest.attempts.ambiguous))
}

/// Bytes that no compression makes fewer, by Marsaglia's xorshift.
fn noise() -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(1 << 20).flatten().collect()
}

/// Reads the arguments. `None` if help is asked for.
fn parse() -> Result<Option<Options>, BoxError> {
    let (mut brokers, mut topic, mut spool, mut rate, mut counts) = (None, None, None, None, true);
    let (mut events, mut bytes, mut timeout, mut max_items, mut wait) = (100_000, 200, 5_000, 50_000, 120);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("brokers") => brokers = Some(parser.value()?.string()?),
            Long("topic") => topic = Some(parser.value()?.string()?),
            Long("spool") => spool = Some(parser.value()?.into()),
            Long("events") => events = parser.value()?.parse()?,
            Long("rate") => rate = Some(parser.value()?.parse()?),
            Long("bytes") => {
                bytes = parser.value()?.parse_with(|text| text.parse().map(|bytes: usize| bytes.min(1 << 20)))?
            }
            Long("delivery-timeout") => timeout = parser.value()?.parse()?,
            Long("items") => max_items = parser.value()?.parse()?,
            Long("wait") => wait = parser.value()?.parse()?,
            Long("no-count") => counts = false,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let (Some(brokers), Some(topic), Some(spool)) = (brokers, topic, spool) else {
        return Err("--brokers, --topic and --spool are needed".into());
    };
    let delivery_timeout = Duration::from_millis(timeout);
    let config = Config { brokers, topic, spool, delivery_timeout, max_items };
    Ok(Some(Options { config, events, rate, bytes, wait: Duration::from_secs(wait), counts }))
}

fn say(text: impl Display) -> Result<(), BoxError> {
    Ok(write!(stdout().lock(), "{text}")?)
}
