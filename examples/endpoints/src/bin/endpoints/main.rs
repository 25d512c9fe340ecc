//! An outage that goes unnoticed: one exporter, three receivers, of which any two die and return at random.
//!
//! Each item has a number, and the receivers have one bitmap for all of them, so that in the end every item is either there or named
//! as missing. On a terminal each receiver has a line that shows how it is and what it takes.
//!
//! ```text
//! cargo run --release -p forebay-example-endpoints --bin endpoints
//! cargo run --release -p forebay-example-endpoints --bin endpoints -- --for 10m --rate 100000 --failover
//! ```

#![expect(clippy::disallowed_methods, reason = "the story goes by the real clock, in threads of its own")]

mod books;
mod chaos;
mod item;
mod load;
mod options;
mod producer;
mod receiver;
mod view;

use books::Books;
use forebay::{
    core::BoxError,
    export::{Balance, Batching, Endpoints, Exporter, Failover},
};
use forebay_example_support::{client::http_client, server::say, stop::complain};
use item::{Encoder, Item};
use options::{HELP, Options};
use receiver::Receiver;
use std::{process::ExitCode, sync::Arc, time::Duration};
use view::View;

/// How many receivers there are.
const RECEIVERS: usize = 3;

/// How long the rest may take when the last item was handed over.
const DRAIN: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let ended = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => say(HELP).map(|()| true),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            complain("endpoints", &error.to_string());
            ExitCode::from(2)
        }
    }
}

/// Runs the story, and says whether it ended as it should.
fn run(options: &Options) -> Result<bool, BoxError> {
    let books = Arc::new(Books::new(options.items()));
    let mut receivers = Vec::new();
    for _ in 0..RECEIVERS {
        receivers.push(Receiver::start(Arc::clone(&books))?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exporter = runtime.block_on(async { exporter(options, &receivers) })?;

    let view = View::new(options, &exporter, &receivers, &books);
    let (emitted, last) = std::thread::scope(|scope| {
        let done = scope.spawn(|| producer::run(options, &exporter, &books));
        let shown = scope.spawn(|| view.show());
        chaos::run(options, &receivers);
        let emitted = done.join();
        view.end();
        (emitted, shown.join())
    });
    let (emitted, (lag, load)) =
        (emitted.map_err(|_panic| "the producer panicked")?, last.map_err(|_panic| "the view panicked")?);

    let handle = exporter.handle();
    let report = runtime.block_on(exporter.shutdown(DRAIN));
    let counts = books.counts();
    let deaths: u64 = receivers.iter().map(Receiver::deaths).sum();

    say(format_args!("emit:       {emitted}"))?;
    say(format_args!("exporter:   {}", report.totals))?;
    say(format_args!(
        "            {} requests, {} of them further attempts; the circuits of its endpoints opened {} times, its own {} times",
        report.counters.requests,
        report.counters.retries,
        report.counters.endpoint_opens,
        report.counters.breaker_opens
    ))?;
    for (receiver, status) in receivers.iter().zip(handle.endpoints()) {
        say(format_args!("{receiver}; {} requests, {} failed", status.requests, status.failures))?;
    }
    say(format_args!(
        "delays:     half of the items arrived within {:?}, 99 % within {:?}, the last within {:?}",
        books.delay(50),
        books.delay(99),
        books.delay(100)
    ))?;
    say(format_args!("load:       {load}"))?;
    say(format_args!("freshness:  {lag}"))?;
    say(format_args!(
        "receivers:  {} of {} items arrived, {} missing, {} of them twice; a death left at most {} in doubt",
        counts.arrived,
        emitted.offered,
        emitted.offered - counts.arrived,
        counts.twice,
        counts.doubtful
    ))?;
    say(format_args!("            through {deaths} deaths in {}", humantime::format_duration(options.time)))?;
    Ok(report.totals.delivered == emitted.offered
        && counts.arrived == emitted.offered
        && load.is_kept()
        && counts.twice <= counts.doubtful)
}

/// All that a program has to write for it.
fn exporter(options: &Options, receivers: &[Receiver]) -> Result<Exporter<Item>, BoxError> {
    let urls = receivers.iter().map(|receiver| format!("http://{}/items", receiver.address()));
    let endpoints: Endpoints = if options.failover {
        Failover::new(urls).return_after(Duration::from_secs(2)).into()
    } else {
        Balance::new(urls).into()
    };
    let exporter = Exporter::builder()
        .endpoints(endpoints)
        .encoder(Encoder)
        .client(http_client())
        .limits(forebay::export::Limits::new().items(1 << 20))
        .batching(Batching::new().max_items(1024).max_delay(Duration::from_millis(100)).max_in_flight(16))
        .attempt_timeout(Duration::from_secs(1))
        .build()?;
    Ok(exporter)
}
