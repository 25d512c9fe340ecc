//! `ship --spool`, killed at random instants and started again: each line arrives, and twice at most what was in flight.
//!
//! `SHIP_KILLS` says how many kills.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_testkit::receiver::{Faults, Keep, Receiver};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};

/// A directory that goes with the test.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("forebay-ship-spool-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, lines: impl Iterator<Item = String>) -> String {
        let path = self.0.join("app.log");
        fs::write(&path, lines.map(|line| line + "\n").collect::<String>()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn ship(temp: &Temp, endpoint: &str, file: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ship"));
    command.arg("--spool").arg(temp.0.join("spool")).args(["--endpoint", endpoint, "--report=json", file]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

fn ended(output: &Output) -> (i32, Value) {
    let report = String::from_utf8_lossy(&output.stdout).lines().last().map(|line| serde_json::from_str(line).unwrap());
    (output.status.code().unwrap_or(-1), report.unwrap_or(Value::Null))
}

/// How often each of the lines was accepted.
fn accepted(receiver: &Receiver, lines: usize) -> Vec<u32> {
    (0..lines).map(|number| receiver.count(format!("line {number}")).accepted).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shipper_that_is_killed_at_any_instant_goes_on_where_it_was_safe() {
    let kills: u64 = std::env::var("SHIP_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let temp = Temp::new("kill");
    // So many that there is something left to send at most of the kills.
    let lines = 20_000 + 1_000 * usize::try_from(kills).unwrap();
    let file = temp.file((0..lines).map(|number| format!("line {number}")));
    let receiver = Receiver::builder().faults(Faults::default()).keep(Keep::Counts).start().await.unwrap();
    let endpoint = receiver.endpoint() + "/v1/logs";
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..kills {
        let mut child = ship(&temp, &endpoint, &file).spawn().unwrap();
        // xorshift: any instant of the start, the reading, the sending and the end.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(random % 250)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = tokio::task::spawn_blocking({
        let mut command = ship(&temp, &endpoint, &file);
        move || command.output().unwrap()
    });
    let output = output.await.unwrap();
    let (code, report) = ended(&output);
    assert_eq!((code, &report["pending"]), (0, &0.into()), "{report} {}", String::from_utf8_lossy(&output.stderr));
    let accepted = accepted(&receiver, lines);
    let missing = accepted.iter().filter(|count| **count == 0).count();
    assert_eq!(missing, 0, "each line has arrived");
    let twice: u32 = accepted.iter().map(|count| count - 1).sum();
    // Four leases of 512 lines are in flight at a time, and no line is read twice.
    let most = u32::try_from(kills).unwrap() * 4 * 512;
    assert!(twice <= most, "{twice} of at most {most}");
    println!("{kills} kills, {lines} lines, {twice} arrived twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_receiver_does_not_take_is_sent_by_the_next_run_and_no_line_is_read_twice() {
    let temp = Temp::new("away");
    let file = temp.file((0..1000).map(|number| format!("line {number}")));
    let run = |endpoint: String, more: &'static [&'static str]| {
        let mut command = ship(&temp, &endpoint, &file);
        command.args(more);
        tokio::task::spawn_blocking(move || ended(&command.output().unwrap()))
    };
    // The identity of the destination is the endpoint, so the receiver is there and refuses.
    let receiver =
        Receiver::builder().faults(Faults::parse("503:100").unwrap()).keep(Keep::Counts).start().await.unwrap();
    let endpoint = receiver.endpoint() + "/v1/logs";
    let (code, report) = run(endpoint.clone(), &["--give-up-after", "1s"]).await.unwrap();
    assert_eq!((code, &report["appended"], &report["pending"]), (1, &1000.into(), &1000.into()), "{report}");
    receiver.set_faults(Faults::default());
    let (code, report) = run(endpoint.clone(), &[]).await.unwrap();
    let counts = [&report["found"], &report["appended"], &report["replayed"], &report["pending"]];
    assert_eq!((code, counts), (0, [&1000.into(), &0.into(), &1000.into(), &0.into()]), "{report}");
    // What is written later is all that the next run reads.
    let mut appended = fs::OpenOptions::new().append(true).open(&file).unwrap();
    appended.write_all(b"line 1000\n").unwrap();
    let (code, report) = run(endpoint, &[]).await.unwrap();
    assert_eq!((code, &report["appended"], &report["replayed"]), (0, &1.into(), &1.into()), "{report}");
    assert_eq!(accepted(&receiver, 1001), vec![1; 1001]);
}

#[expect(clippy::disallowed_methods, reason = "the program under test compares it with the real time")]
fn touch(file: &fs::File) {
    file.set_modified(std::time::SystemTime::now()).unwrap();
}

/// Waits until the receiver has accepted `line`; a test that never gets there fails.
async fn until_accepted(receiver: &Receiver, line: &str, mut meanwhile: impl FnMut()) {
    let waited = async {
        while receiver.count(line).accepted == 0 {
            meanwhile();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waited).await.is_ok(), "{line:?} does not arrive");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_line_that_is_still_being_written_is_sent_as_a_whole() {
    let temp = Temp::new("growing");
    let file = temp.file(["whole".to_owned()].into_iter());
    let mut writer = fs::OpenOptions::new().append(true).open(&file).unwrap();
    writer.write_all(b"half a").unwrap();
    let receiver = Receiver::builder().faults(Faults::default()).keep(Keep::Counts).start().await.unwrap();
    let endpoint = receiver.endpoint() + "/v1/logs";
    let mut command = ship(&temp, &endpoint, &file);
    let shipped = tokio::task::spawn_blocking(move || ended(&command.output().unwrap()));
    // The file stays fresh for as long as this takes.
    until_accepted(&receiver, "whole", || touch(&writer)).await;
    writer.write_all(b" line\nand the end").unwrap();
    let (code, report) = shipped.await.unwrap();
    assert_eq!((code, &report["appended"]), (0, &3.into()), "{report}");
    let counts = ["whole", "half a line", "and the end", "half a", " line"].map(|line| receiver.count(line).accepted);
    assert_eq!(counts, [1, 1, 1, 0, 0], "the file did not grow behind its last line, which is one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_being_written_when_the_shipper_is_killed_is_read_by_the_next_run() {
    let temp = Temp::new("half");
    let file = temp.file(["whole".to_owned()].into_iter());
    let mut writer = fs::OpenOptions::new().append(true).open(&file).unwrap();
    writer.write_all(b"half a").unwrap();
    let receiver = Receiver::builder().faults(Faults::default()).keep(Keep::Counts).start().await.unwrap();
    let endpoint = receiver.endpoint() + "/v1/logs";
    let mut child = ship(&temp, &endpoint, &file).spawn().unwrap();
    until_accepted(&receiver, "whole", || touch(&writer)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    writer.write_all(b" line\n").unwrap();
    let mut command = ship(&temp, &endpoint, &file);
    let (code, report) = tokio::task::spawn_blocking(move || ended(&command.output().unwrap())).await.unwrap();
    assert_eq!(code, 0, "{report}");
    assert_eq!(["half a line", "half a"].map(|line| receiver.count(line).accepted), [1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_high_lane_is_first_in_and_first_out() {
    use forebay_spool::{DiskSpool, Spool, Want};

    let temp = Temp::new("lanes");
    let file = temp.file((0..100).map(|number| format!("line {number}")).chain(["ERROR the last one".to_owned()]));
    let receiver =
        Receiver::builder().faults(Faults::parse("503:100").unwrap()).keep(Keep::Counts).start().await.unwrap();
    let endpoint = receiver.endpoint() + "/v1/logs";
    let mut command = ship(&temp, &endpoint, &file);
    command.args(["--give-up-after", "1s"]);
    let (code, report) = tokio::task::spawn_blocking(move || ended(&command.output().unwrap())).await.unwrap();
    assert_eq!((code, &report["pending"]), (1, &101.into()), "{report}");
    let spool = DiskSpool::builder(temp.0.join("spool")).destination("ship", &*endpoint).open().unwrap();
    let lease = spool.lease("ship", Want::default()).await.unwrap().unwrap();
    let bodies: Vec<_> = lease.records().iter().map(|record| String::from_utf8_lossy(&record.payload[8..])).collect();
    assert_eq!((bodies.len(), &*bodies[0], &*bodies[1]), (101, "ERROR the last one", "line 0"));
    let first = lease.records().first().map(|record| record.id);
    assert_eq!(first, lease.records().iter().map(|record| record.id).min(), "it was appended first as well");
}
