//! The shipper as its user runs it: a process, its exit status, and what it prints.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use forebay_testkit::receiver::{Faults, Keep, Receiver};
use serde_json::Value;
use std::{
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

fn ship(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ship"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Whatever the machine's own environment says about telemetry is not for this process.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// Exit status, the JSON of the last line on standard output, and standard error.
fn ended(output: &Output) -> (i32, Value, String) {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let report = stdout.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
    (output.status.code().unwrap(), report, stderr)
}

fn run(arguments: &[&str]) -> (i32, Value, String) {
    ended(&ship(arguments).arg("--report=json").output().unwrap())
}

/// A file that goes with the test.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("forebay-ship-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[test]
fn without_arguments_the_recorded_log_arrives_through_all_faults() {
    let output = ship(&[]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("delivered       24000"), "{text}");
    assert!(text.contains("24000 of 24000 lines arrived"), "{text}");
    assert!(text.contains("records/s"), "{text}");
}

#[test]
fn the_json_report_is_the_last_line_and_balances() {
    // What takes time are the waits between attempts, so they run side by side.
    let balances = |seed: &str| {
        let (code, report, stderr) = run(&["--seed", seed, "--faults", "503:10,429=1:2,reset:3,slow:2,truncated:2"]);
        assert_eq!((code, &report["offered"], &report["delivered"]), (0, &24_000.into(), &24_000.into()), "{report}");
        let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "breaker_opens",
            "delivered",
            "dropped",
            "offered",
            "pending",
            "records_per_second",
            "requests",
            "retries",
            "seconds",
            "spooled",
        ];
        assert_eq!(keys, expected);
        assert!(stderr.contains("24000 of 24000 lines arrived"), "{stderr}");
        assert!(!stderr.contains("without need") && !stderr.contains("never sent"), "{stderr}");
    };
    thread::scope(|scope| {
        for seed in ["1", "2", "3"] {
            scope.spawn(move || balances(seed));
        }
    });
}

#[test]
fn a_receiver_that_never_comes_back_costs_the_age_limit_and_every_line_has_a_reason() {
    let (code, report, stderr) = run(&["--faults", "reset:100", "--give-up-after", "2s"]);
    assert!(report["seconds"].as_f64().unwrap() < 4.0, "{report}");
    let dropped: u64 = report["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((code, dropped, &report["pending"]), (1, 24_000, &0.into()), "{report}");
    assert!(report["dropped"]["expired"].as_u64().unwrap() > 0, "{report}");
    assert!(stderr.contains("24000 of 24000 lines were not delivered"), "{stderr}");
}

#[test]
fn odd_inputs_are_shipped_as_they_are() {
    let long = vec![b'x'; 10 << 20];
    let odd = [&b"one\n\n\xff\xfe\xfd\n"[..], &long, b"\nlast without a break"].concat();
    for (name, content, lines) in
        [("empty", &b""[..], 0), ("breaks", b"\n\n\n", 3), ("unbroken", b"no break at the end", 1), ("odd", &odd, 5)]
    {
        let file = Temp::new(name, content);
        let (code, report, stderr) = run(&[file.path(), "--faults", "503:20"]);
        assert_eq!((code, &report["delivered"]), (0, &lines.into()), "{name}: {report} {stderr}");
        assert!(stderr.contains(&format!("{lines} of {lines} lines arrived")), "{name}: {stderr}");
    }
}

#[test]
fn several_files_and_standard_input_are_read_in_order() {
    let (one, two) = (Temp::new("one", b"1\n2\n"), Temp::new("two", b"5"));
    let mut child = ship(&[one.path(), "-", two.path(), "--report=json", "--compression=gzip", "--protocol=http/json"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"3\n4\n").unwrap();
    let (code, report, _) = ended(&child.wait_with_output().unwrap());
    assert_eq!((code, &report["delivered"]), (0, &5.into()), "{report}");
}

#[test]
fn wrong_arguments_are_one_line_and_status_2() {
    let folder = std::env::temp_dir();
    for arguments in [
        &["--endpoint", "not a url"][..],
        &["--endpoint", "http://h:99999/"],
        &["--protocol", "smoke"],
        &["--faults", "503:101"],
        &["--give-up-after", "0"],
        &["--no-such-option"],
        &["no-such-file.log"],
        &[folder.to_str().unwrap()],
    ] {
        let output = ship(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!((stderr.lines().count(), output.stdout.len()), (1, 0), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("ship: "), "{stderr}");
    }
    let output = ship(&[]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let wrong = ship(&["--faults", "none"]).env("OTEL_EXPORTER_OTLP_COMPRESSION", "zip").output().unwrap();
    assert_eq!(wrong.status.code(), Some(0), "a knob that cannot be used is ignored");
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("OTEL_EXPORTER_OTLP_COMPRESSION"));
    assert_eq!(ship(&["--help"]).output().unwrap().status.code(), Some(0));
}

#[tokio::test]
async fn a_receiver_that_is_away_for_a_while_costs_nothing() {
    let receiver = Receiver::builder().faults(Faults::none()).keep(Keep::Counts).start().await.unwrap();
    receiver.pause().await.unwrap();
    let child = ship(&["--report=json"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint()).spawn().unwrap();
    let shipped = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    // It is away while the shipper starts, and again in the middle.
    tokio::time::timeout(Duration::from_millis(1500), std::future::pending::<()>()).await.unwrap_err();
    receiver.resume().await.unwrap();
    receiver.until(|totals| totals.accepted > 0).await;
    receiver.pause().await.unwrap();
    tokio::time::timeout(Duration::from_millis(700), std::future::pending::<()>()).await.unwrap_err();
    receiver.resume().await.unwrap();

    let (code, report, stderr) = ended(&shipped.await.unwrap());
    assert_eq!((code, &report["delivered"]), (0, &24_000.into()), "{report} {stderr}");
    assert!(report["retries"].as_u64().unwrap() > 0, "{report}");
    receiver.shutdown().await;
    let log = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/access.log")).unwrap();
    let audit = receiver.audit(log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()));
    assert!(audit.is_sound(), "{audit:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ships_what_was_read() {
    let receiver = Receiver::builder().faults(Faults::none()).start().await.unwrap();
    let mut child =
        ship(&["-", "--report=json", "--endpoint", &receiver.endpoint()]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"first\nsecond\n").unwrap();
    stdin.flush().unwrap();
    // Both were read when they have arrived; then more is written, and the key is pressed at once.
    receiver.until(|totals| totals.accepted == 2).await;
    interrupt(&child);
    let (code, report, _) =
        ended(&tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap());
    assert_eq!((code, &report["offered"], &report["delivered"]), (0, &2.into(), &2.into()), "{report}");
    drop(stdin);
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    signal(child, "-INT");
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(name).arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}

/// What the child said and how it ended; killed, with a failed assertion, where it does not end by itself.
async fn outcome(mut child: Child) -> (i32, Value, String) {
    let id = child.id();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let waited = tokio::task::spawn_blocking(move || {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        std::io::copy(&mut out, &mut stdout).unwrap();
        std::io::copy(&mut err, &mut stderr).unwrap();
        ended(&Output { status: child.wait().unwrap(), stdout, stderr })
    });
    tokio::time::timeout(Duration::from_secs(20), waited)
        .await
        .unwrap_or_else(|_| {
            assert!(Command::new("kill").arg("-KILL").arg(id.to_string()).status().unwrap().success());
            panic!("it did not end")
        })
        .unwrap()
}

/// Ends when the child has taken the signals over: before, they would end it as any process.
#[cfg(target_os = "linux")]
async fn listens(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    loop {
        let text = std::fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        // SIGINT is 2, SIGTERM 15.
        let both = (1 << 1) | (1 << 14);
        if u64::from_str_radix(caught, 16).unwrap() & both == both {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn f24_a_pipe_that_nobody_writes_to_can_be_interrupted() {
    let fifo = Temp(std::env::temp_dir().join(format!("forebay-ship-{}-fifo", std::process::id())));
    assert!(Command::new("mkfifo").arg(&fifo.0).status().unwrap().success());
    let before = Temp::new("before", b"one\ntwo\n");
    for name in ["-INT", "-TERM"] {
        let receiver = Receiver::builder().faults(Faults::none()).start().await.unwrap();
        let arguments = [before.path(), fifo.path(), "--report=json", "--endpoint", &receiver.endpoint()];
        let child = ship(&arguments).spawn().unwrap();
        receiver.until(|totals| totals.accepted == 2).await;
        listens(&child).await;
        signal(&child, name);
        let (code, report, stderr) = outcome(child).await;
        assert_eq!((code, &report["delivered"]), (0, &2.into()), "{name}: {report} {stderr}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn f24_what_cannot_be_read_again_is_not_audited() {
    let fifo = Temp(std::env::temp_dir().join(format!("forebay-ship-{}-written", std::process::id())));
    assert!(Command::new("mkfifo").arg(&fifo.0).status().unwrap().success());
    let child = ship(&[fifo.path(), "--report=json", "--faults", "none"]).spawn().unwrap();
    std::fs::write(&fifo.0, b"one\ntwo\n").unwrap();
    let (code, report, stderr) = outcome(child).await;
    assert_eq!((code, &report["delivered"], stderr.as_str()), (0, &2.into(), ""), "{report}");

    // A device that never ends, and has no line break.
    let child = ship(&["/dev/zero", "--report=json", "--faults", "none"]).spawn().unwrap();
    listens(&child).await;
    signal(&child, "-TERM");
    let (code, report, stderr) = outcome(child).await;
    assert_eq!((code, &report["offered"], stderr.as_str()), (0, &0.into(), ""), "{report}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn f24_the_second_signal_ends_at_once_and_still_reports() {
    let receiver =
        Receiver::builder().faults(Faults::parse("blackhole-unprocessed:100").unwrap()).start().await.unwrap();
    let arguments = ["-", "--report=json", "--give-up-after=1h", "--endpoint", &receiver.endpoint()];
    let mut child = ship(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\n").unwrap();
    receiver.until(|totals| totals.requests > 0).await;
    listens(&child).await;
    signal(&child, "-TERM");
    signal(&child, "-INT");
    let (code, report, stderr) = outcome(child).await;
    assert_eq!(
        (code, &report["offered"], &report["dropped"]["shutdown"]),
        (1, &2.into(), &2.into()),
        "{report} {stderr}"
    );
}

#[test]
fn f02_the_age_limit_is_refused_or_borne_at_the_ends_of_its_range() {
    let input = Temp::new("ends", b"one\ntwo\nthree\n");
    for time in ["0s", "1ns", "18446744073709551615s", "500000000000years"] {
        let arguments = [input.path(), "--give-up-after", time, "--faults", "503:60,429=1:10", "--report=json"];
        let output = ship(&arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(!stderr.contains("panicked"), "{time}: {stderr}");
        if output.status.code() == Some(2) {
            assert!(stderr.contains("--give-up-after"), "{time}: {stderr}");
            continue;
        }
        let (code, report, _) = ended(&output);
        let number = |name: &str| report[name].as_u64().unwrap();
        let dropped = report["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>();
        assert_eq!((number("offered"), number("pending")), (3, 0), "{time}: {report}");
        assert_eq!(number("delivered") + dropped, 3, "{time}: {report}");
        assert_eq!(code, i32::from(dropped > 0), "{time}: {report}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn f24_a_report_that_cannot_be_written_is_no_success() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["--faults", "none"][..], &["--faults", "none", "--report=json"], &["--help"]] {
        let output = ship(arguments).stdout(full()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write the report"), "{stderr}");
    }
    let output = ship(&["--faults=reset:100", "--give-up-after=1s"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "lost lines are the worse news");
}

#[test]
fn f24_the_audit_is_of_what_was_read() {
    let marked = Temp::new("marked", b"\xef\xbb\xbfone\ntwo\n");
    let (code, report, stderr) = run(&[marked.path(), "--faults", "none"]);
    assert_eq!((code, &report["delivered"]), (0, &2.into()), "{report}");
    assert!(stderr.contains("2 of 2 lines arrived, each exactly once"), "{stderr}");
}

#[test]
fn every_protocol_and_compression_arrives() {
    // zstd is a feature: this test was built with the same ones as the program that it runs.
    let built_in = |compression: &&str| compression.parse::<forebay::export::Compression>().is_ok();
    let arrives = |protocol, compression| {
        let arguments = ["--protocol", protocol, "--compression", compression, "--faults", "503:5,429=1:1,reset:1"];
        let (code, report, stderr) = run(&arguments);
        assert_eq!((code, &report["delivered"]), (0, &24_000.into()), "{protocol} {compression}: {report} {stderr}");
    };
    for compression in ["none", "gzip", "zstd"].into_iter().filter(built_in) {
        thread::scope(|scope| {
            for protocol in ["http/protobuf", "http/json", "grpc"] {
                scope.spawn(move || arrives(protocol, compression));
            }
        });
    }
}
