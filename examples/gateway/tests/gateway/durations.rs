//! Every duration that an operator can say, at the ends of its range: refused by name, or borne.

use crate::support::{Kind, Temp, config, failing, span, spool, traces};
use bytes::Bytes;
use forebay_example_support::client::http_client;
use forebay_gateway::{Config, Gateway, StartError, options};
use http_body_util::Full;
use prost::Message;
use std::{
    process::{Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::timeout;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A task keeps its panic to itself; here each panic of the gateway is counted, but not those of sinks that are to panic.
fn count_panics() -> usize {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.location().is_none_or(|at| !at.file().contains("tests/")) {
                PANICS.fetch_add(1, Relaxed);
            }
            report(panic);
        }));
    });
    PANICS.load(Relaxed)
}

const ENDS: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX];

/// Every option that is a duration.
const OPTIONS: [&str; 7] =
    ["--forward-patience", "--slow", "--retry-after", "--replay-every", "--drain", "--load-for", "--pace"];

#[tokio::test]
async fn f02_every_duration_of_a_configuration_is_refused_or_borne_at_the_ends_of_its_range() {
    type Knob = (&'static str, fn(&mut Config) -> &mut Duration);
    let knobs: [Knob; 8] = [
        ("slow", |config| &mut config.slow),
        ("retry_after", |config| &mut config.retry_after),
        ("request_timeout", |config| &mut config.request_timeout),
        ("header_timeout", |config| &mut config.header_timeout),
        ("idle_timeout", |config| &mut config.idle_timeout),
        ("drain", |config| &mut config.drain),
        ("pace.interval", |config| &mut config.spool.as_mut().unwrap().pace.interval),
        ("probe_every", |config| &mut config.spool.as_mut().unwrap().probe_every),
    ];
    for (name, knob) in knobs {
        for time in ENDS {
            let (what, before) = (format!("{name} = {time:?}"), count_panics());
            let temp = Temp::new("durations");
            let mut wanted = Config { spool: Some(spool(&temp)), ..config() };
            *knob(&mut wanted) = time;
            // One batch fails, and is a letter; a replay of it may fail too.
            let gateway = match Gateway::start(wanted, failing(2)).await {
                Ok(gateway) => gateway,
                Err(StartError::Config(refused)) => {
                    assert_eq!((refused.knob(), time), (name, Duration::ZERO));
                    continue;
                }
                Err(error) => unreachable!("{what}: {error}"),
            };
            let client = http_client();
            for n in 0..3 {
                let post = http::Request::post(format!("http://{}/v1/traces", gateway.http()));
                let post = post.header("content-type", "application/x-protobuf");
                let body: Full<Bytes> = Full::from(traces(vec![span(Kind::Healthy, n)]).encode_to_vec());
                // A connection that may take no time is closed before its request came: that is what was asked for.
                let asked = timeout(Duration::from_secs(10), client.request(post.body(body).unwrap())).await.unwrap();
                assert!(asked.is_ok() || time < Duration::from_secs(1), "{what}: {asked:?}");
            }
            gateway.replay().await;
            drop(client);
            let summary = timeout(Duration::from_secs(20), gateway.stop()).await.unwrap();
            assert!(summary.balances() && summary.queue.pending == 0, "{what}: {summary}");
            assert_eq!(count_panics(), before, "{what}: something panicked");
        }
    }
}

#[test]
fn f02_every_option_that_is_a_duration_is_refused_by_name_or_taken() {
    for option in OPTIONS {
        for time in ["0s", "1ns", "18446744073709551615s", "500000000000years", "-1s", "1e9s", ""] {
            match options::parse([option.into(), time.into()], |_| None) {
                Ok(taken) => assert!(taken.is_some(), "{option} {time}"),
                Err(refused) => assert!(refused.to_string().contains(option), "{option} {time}: {refused}"),
            }
        }
    }
}

#[test]
fn f02_a_gateway_with_every_option_at_an_end_of_its_range_ends_in_order() {
    for time in ["1ns", "18446744073709551615s"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["--demo", "--load-rate", "1000", "--load-for", "1s", "--pace", "1ns"]);
        for option in ["--slow", "--retry-after", "--replay-every", "--drain"] {
            command.args([option, time]);
        }
        command.env_remove("INGEST_ASYNC_ENABLED").stdin(Stdio::null());
        let output = command.output().unwrap();
        let (text, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(text.contains("the ledger balances"), "{time}: {text} {stderr}");
        assert!(!stderr.contains("panicked"), "{time}: {stderr}");
        assert!(matches!(output.status.code(), Some(0 | 1)), "{time}: {:?}", output.status);
    }
}
