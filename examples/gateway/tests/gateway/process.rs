//! The gateway as its operator runs it: a process, its exit status, and what it prints.

use crate::support::Temp;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

fn gateway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(arguments).env_remove("INGEST_ASYNC_ENABLED").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit status, standard output and standard error.
fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The number that stands before `words`.
fn number_before(text: &str, words: &str) -> u64 {
    let before = text.split(words).next().filter(|before| before.len() < text.len());
    before.and_then(|before| before.split_whitespace().last()).unwrap().parse().unwrap()
}

/// The numbers of the line that begins with `name`.
fn row(text: &str, name: &str) -> Vec<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    assert!(line.is_some(), "no {name}: {text}");
    line.unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// A gateway that serves on free ports.
struct Serving {
    child: Child,
    out: BufReader<ChildStdout>,
    http: String,
    grpc: String,
}

impl Serving {
    fn start(arguments: &[&str]) -> Self {
        let free = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"];
        Self::of(gateway(&[&free, arguments].concat()))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut url = || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
            url.trim_end_matches(',').to_owned()
        };
        let (http, grpc) = (url(), url());
        Self { child, out, http, grpc }
    }

    /// What a supervisor does.
    #[cfg(unix)]
    fn terminate(mut self) -> (i32, String) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code().unwrap(), text)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended, or is to.
        drop(self.child.kill());
    }
}

#[test]
fn ten_times_what_the_sink_takes_costs_what_is_healthy_and_nothing_urgent() {
    // Two workers that wait 100 ms store 20 batches per second; 300 come, of which 15 are urgent.
    let load = ["--demo", "--load-for", "2s", "--load-rate", "300", "--pace", "100ms", "--items", "20"];
    let (code, text, error) = ended(gateway(&load).output().unwrap());
    assert_eq!((code, &*error), (0, ""), "{text}");
    assert!(text.contains("the ledger balances"), "{text}");
    let healthy = row(&text, "healthy");
    let [sent, taken, rejected, let_go] = [0, 1, 2, 3].map(|column| healthy[column]);
    let failed = healthy[5];
    // A machine that is busy with other things sends less than it should, and still too much.
    assert!(sent > 3 * taken && rejected > taken && failed == 0, "{text}");
    assert_eq!(sent, taken + rejected + let_go, "{text}");
    for urgent in ["with an error", "with a slow span"] {
        let reply = row(&text, urgent);
        assert!(reply[0] == reply[1] && reply[0] > 5, "{text}");
    }
    let errors = row(&text, "with an error")[0];
    assert!(text.contains(&format!("{errors} of {errors} errors")), "{text}");
    let offered = row(&text, "offered")[3];
    let parts = ["= delivered", "+ in the spool", "+ dropped: soft_limit", "+ pending"];
    let full = if text.contains("+ dropped: full") { row(&text, "+ dropped: full")[3] } else { 0 };
    assert_eq!(offered, full + parts.iter().map(|part| row(&text, part)[3]).sum::<u64>(), "{text}");
    #[cfg(target_os = "linux")]
    assert!(number_before(&text.replace("peak memory: ", "peak "), " MiB") < 200, "{text}");
}

#[cfg(unix)]
#[test]
fn a_gateway_serves_until_it_is_terminated_and_keeps_what_it_took() {
    let temp = Temp::new("process");
    let data = temp.path().to_str().unwrap();
    let serving = Serving::start(&["--data", data]);
    let load = ["--load", &serving.http, "--load-grpc", &serving.grpc, "--load-for", "1s", "--load-rate", "200"];
    let (code, text, error) = ended(gateway(&load).output().unwrap());
    assert_eq!((code, &*error), (0, ""), "{text}");
    let sent: u64 = ["healthy", "with an error", "with a slow span"].iter().map(|kind| row(&text, kind)[0]).sum();

    let (code, text) = serving.terminate();
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains(&format!("the queue, in batches: {sent} offered, {sent} delivered, 0 spooled, 0 dropped")),
        "{text}"
    );
    assert!(temp.path().join("telemetry.db").exists());
}

#[cfg(unix)]
#[test]
fn sigusr1_is_the_kill_switch() {
    let temp = Temp::new("switch");
    let mut serving = Serving::start(&["--data", temp.path().to_str().unwrap(), "--synchronous"]);
    let killed = Command::new("kill").args(["-USR1", &serving.child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut line = String::new();
    serving.out.read_line(&mut line).unwrap();
    assert_eq!(line, "senders do not wait now\n");
    assert_eq!(serving.terminate().0, 0);
}

#[test]
fn what_cannot_start_says_why_in_one_line_with_status_2() {
    let temp = Temp::new("taken");
    let data = temp.path().to_str().unwrap();
    let serving = Serving::start(&["--data", data]);
    let taken = serving.http.trim_start_matches("http://");
    let other = temp.path().join("other");
    for (arguments, words) in [
        (&["--http", taken, "--grpc", "127.0.0.1:0", "--data", other.to_str().unwrap()][..], "cannot be used: "),
        (&["--data", "/dev/null/x"], "/dev/null/x cannot be used: "),
        (&["--forward", "ftp://h"], "endpoint"),
        (&["--items", "many"], "--items"),
    ] {
        let (code, text, error) = ended(gateway(arguments).output().unwrap());
        assert_eq!((code, error.lines().count()), (2, 1), "{arguments:?}: {text} {error}");
        assert!(error.starts_with("gateway: ") && error.contains(words), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn f24_a_report_that_cannot_be_written_is_no_success() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["--help"][..], &["--demo", "--load-for", "200ms", "--load-rate", "1000"]] {
        let output = gateway(arguments).stdout(full()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write the report"), "{arguments:?}: {stderr}");
    }
}

/// A disk without room for a letter, by a limit of the process: the letter is counted, nothing of it stays, and senders are
/// refused until there is room.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn f23_without_room_for_a_letter_it_is_counted_and_senders_are_refused() {
    use crate::support::{Kind, Reply, span, traces};
    use bytes::Bytes;
    use forebay_example_support::client::http_client;
    use http_body_util::{BodyExt, Full};
    use prost::Message;

    let temp = Temp::new("room");
    // No file may grow beyond 1 MiB; a write beyond that is an error, as the signal for it is ignored.
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_gateway")]);
    command.args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data", temp.path().to_str().unwrap()]);
    command.args(["--forward", "http://127.0.0.1:9", "--forward-patience", "1ms"]);
    command.env_remove("INGEST_ASYNC_ENABLED").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let serving = Serving::of(command);

    let client = http_client();
    let ask = async |request: http::Request<Full<Bytes>>| {
        let (head, body) = client.request(request).await.unwrap().into_parts();
        Reply { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    };
    let get = |path: &str| http::Request::get(format!("{}{path}", serving.http)).body(Full::default()).unwrap();
    let send = |bytes: usize| {
        let wide = opentelemetry_proto::tonic::trace::v1::Span { name: "x".repeat(bytes), ..span(Kind::Failed, 1) };
        let post = http::Request::post(format!("{}/v1/traces", serving.http));
        let post = post.header("content-type", "application/x-protobuf");
        post.body(Full::from(traces(vec![wide]).encode_to_vec())).unwrap()
    };
    let counted = async |result: &str| {
        let line = format!("result=\"{result}\"}} 1");
        let waited = async { while !String::from_utf8_lossy(&ask(get("/metrics")).await.body).contains(&line) {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), waited).await.unwrap();
    };
    // A letter that fits is written; one that does not is lost.
    assert!(ask(send(1_000)).await.is_taken());
    counted("enqueued").await;
    assert!(ask(send(2_000_000)).await.is_taken());
    counted("enqueue_failed").await;
    let ready = ask(get("/readyz")).await;
    assert_eq!(ready.status, 503, "{:?}", ready.body);
    assert_eq!(ask(send(1_000)).await.status, 503);
    let page = String::from_utf8(ask(get("/metrics")).await.body.to_vec()).unwrap();
    assert!(page.contains("\nforebay_gateway_spool_batches 1\n"), "{page}");
    assert!(!temp.path().join("spool.probe").exists(), "nothing stays of a try");
    let (_, text) = serving.terminate();
    assert!(text.contains("the ledger balances"), "{text}");
}

/// Senders of a gateway at `http`, until it is gone: what they were told is taken.
#[cfg(unix)]
fn senders(http: &str, acknowledged: &std::sync::Arc<std::sync::Mutex<Vec<u64>>>) -> Vec<tokio::task::JoinHandle<()>> {
    use crate::support::{Kind, span, traces};
    use bytes::Bytes;
    use forebay_example_support::client::http_client;
    use http_body_util::Full;
    use prost::Message;
    use std::sync::Arc;

    let sender = |sender: u64| {
        let (acknowledged, client, http) = (Arc::clone(acknowledged), http_client(), http.to_owned());
        tokio::spawn(async move {
            for n in 0.. {
                let n = sender * 1_000_000 + n;
                let body: Full<Bytes> = Full::from(traces(vec![span(Kind::Healthy, n)]).encode_to_vec());
                let post = http::Request::post(format!("{http}/v1/traces"));
                let post = post.header("content-type", "application/x-protobuf").body(body).unwrap();
                match client.request(post).await {
                    Ok(response) if response.status() == 200 => acknowledged.lock().unwrap().push(n),
                    Ok(response) => assert_eq!(response.status(), 429),
                    Err(_) => return,
                }
            }
        })
    };
    (0..32).map(sender).collect()
}

/// How many of the spans with these numbers are in the database of a gateway.
#[cfg(unix)]
fn stored(temp: &Temp, numbers: &[u64]) -> usize {
    let database = forebay_gateway::sink::Database::open(&temp.path().join("telemetry.db")).unwrap();
    let names: Vec<_> = numbers.iter().map(|n| format!("'span {n}'")).collect();
    let sql = format!("SELECT count(DISTINCT name) FROM spans WHERE name IN ({})", names.join(","));
    database.number(&sql).unwrap().unwrap().try_into().unwrap()
}

/// What a sender learned is taken, with `--synchronous`, is in the database of a gateway that was killed in the middle of it.
#[cfg(unix)]
#[tokio::test]
async fn killed_under_load_a_gateway_has_stored_all_that_it_acknowledged() {
    use std::sync::{Arc, Mutex};

    let temp = Temp::new("killed");
    let data = temp.path().to_str().unwrap();
    // Slow enough that a queue stands in front of the sink.
    let mut serving = Serving::start(&["--data", data, "--synchronous", "--pace", "5ms"]);
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let senders = senders(&serving.http, &acknowledged);
    crate::support::until(|| acknowledged.lock().unwrap().len() >= 300).await;
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    for sender in senders {
        sender.await.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert_eq!(stored(&temp, &acknowledged), acknowledged.len());
    let (code, text) = Serving::start(&["--data", data]).terminate();
    assert_eq!(code, 0, "it starts again: {text}");
}

/// What a sender learned is taken, with `--durability`, is in the spool or the database of a gateway that was killed before it had
/// stored all of it; the next run stores the rest.
#[cfg(unix)]
#[tokio::test]
async fn s01_killed_between_acknowledging_and_storing_a_gateway_loses_nothing() {
    use std::sync::{Arc, Mutex};

    for durability in ["process", "disk"] {
        let temp = Temp::new(&format!("killed-{durability}"));
        let data = temp.path().to_str().unwrap();
        // Far slower than the senders, so that most of what they were told is taken is not stored yet.
        let slow = ["--data", data, "--durability", durability, "--pace", "200ms", "--workers", "2"];
        let mut serving = Serving::start(&slow);
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let senders = senders(&serving.http, &acknowledged);
        crate::support::until(|| acknowledged.lock().unwrap().len() >= 500).await;
        serving.child.kill().unwrap();
        serving.child.wait().unwrap();
        for sender in senders {
            sender.await.unwrap();
        }
        let acknowledged = acknowledged.lock().unwrap().clone();
        let before = stored(&temp, &acknowledged);
        assert!(before < acknowledged.len() / 2, "{before} of {} were stored", acknowledged.len());

        let serving = Serving::start(&["--data", data, "--durability", durability]);
        crate::support::until(|| stored(&temp, &acknowledged) == acknowledged.len()).await;
        let (code, text) = serving.terminate();
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("recovered from earlier runs: "), "{text}");
        println!("{durability}: {} acknowledged, {before} stored before the kill", acknowledged.len());
    }
}
