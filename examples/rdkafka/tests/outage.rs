//! A broker that is killed, and one that hangs, while events are sent to it; `.ci/interop-kafka` runs it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "test code")]

// The broker of the tests of forebay-kip714, with its Java and its ports.
#[path = "../../../crates/forebay-kip714/tests/kafka/node.rs"]
#[expect(dead_code, reason = "the other tests use the rest of it")]
mod node;

use self::node::Node;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use std::{
    env, fs,
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{process::Command, time::sleep};

const SECOND: Duration = Duration::from_secs(1);
const EVENTS: u64 = 60_000;

async fn create(node: &Node, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", node.address()).create().unwrap();
    let topic = NewTopic::new(topic, 4, TopicReplication::Fixed(1));
    let created = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
}

/// The example, sending 6,000 events per second to `topic`.
async fn to_kafka(brokers: String, topic: &str) -> Output {
    let spool = env::temp_dir().join(format!("forebay-rdkafka-{topic}-{}", std::process::id()));
    // What an earlier run has left there, if anything.
    drop(fs::remove_dir_all(&spool));
    let mut command = Command::new(env!("CARGO_BIN_EXE_to_kafka"));
    command
        .args(["--brokers", &brokers, "--topic", topic, "--events", &EVENTS.to_string(), "--rate", "6000"])
        .args(["--delivery-timeout", "1500", "--items", "8000", "--spool"])
        .arg(&spool)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let output = command.spawn().unwrap().wait_with_output().await.unwrap();
    fs::remove_dir_all(&spool).unwrap();
    output
}

/// The number before `word` in the report.
fn number(report: &str, word: &str) -> u64 {
    let words: Vec<_> = report.split([' ', ',', ';', '\n']).filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(|found| *found == word).unwrap_or_else(|| panic!("no {word} in {report}"));
    words[at - 1].parse().unwrap()
}

fn check(what: &str, output: &Output) {
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{what}:\n{report}");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(number(&report, "missing"), 0);
    assert!(number(&report, "duplicates") <= number(&report, "ambiguous"));
    // Otherwise the outage was none.
    assert!(report.contains(&format!("{EVENTS} offered")) && !report.contains("; 0 in the spool at most"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_kafka_loses_nothing() {
    let mut node = Node::start();
    node.up().await;

    create(&node, "killed").await;
    let (output, ()) = tokio::join!(to_kafka(node.address(), "killed"), async {
        // Other processes, in real time: there is nothing to wait on.
        sleep(SECOND * 2).await;
        node.kill();
        sleep(SECOND * 5).await;
        node.start_again();
    });
    check("the broker is killed with SIGKILL, and started again after 5 s", &output);

    // A broker that hangs has taken requests to which it does not respond: these are the ambiguous ones.
    create(&node, "hung").await;
    let (output, ()) = tokio::join!(to_kafka(node.address(), "hung"), async {
        sleep(SECOND * 2).await;
        node.signal("STOP");
        sleep(SECOND * 5).await;
        node.signal("CONT");
    });
    check("the broker is stopped for 5 s, and goes on", &output);
}
