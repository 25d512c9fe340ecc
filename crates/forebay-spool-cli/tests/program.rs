//! The program, run as a user runs it.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::Priority;
use forebay_spool::{DiskSpool, Disposition, Engine, Group, NewRecord, SpoolBuilder, Want};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, SystemTime},
};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("forebay-spool-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn run(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forebay-spool")).args(args).arg(dir).output().unwrap()
}

/// Its standard output and status.
fn said(args: &[&str], dir: &Path) -> (String, i32) {
    let output = run(args, dir);
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

fn builder(dir: &Path) -> SpoolBuilder {
    DiskSpool::builder(dir).destination("main", "https://a.example/\u{1b}[2J")
}

fn open(dir: &Path) -> Engine {
    builder(dir).open_engine(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap()
}

/// Three records and a dead letter.
fn filled(name: &str) -> Dir {
    let dir = Dir::new(name);
    let mut engine = open(&dir.spool());
    let add = |engine: &mut Engine, group| engine.append(vec![group], 1_700_000_000_000).remove(0).unwrap();
    add(&mut engine, Group::new([NewRecord::new("dead")]));
    let (lease, _) = engine.lease("main", Want::default(), 0).unwrap().unwrap();
    engine.settle(lease, &[Disposition::Quarantine("not wanted".into())]);
    add(&mut engine, Group::new([NewRecord::new("text").key("k"), NewRecord::new(vec![0xff, 0])]));
    add(&mut engine, Group::new([NewRecord::new("urgent")]).priority(Priority::High));
    engine.close().unwrap();
    dir
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn it_shows_what_is_there_and_changes_nothing() {
    let dir = filled("look");
    let content = || -> Vec<_> {
        let mut all: Vec<_> = fs::read_dir(dir.spool()).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all.into_iter()
            .filter(|path| !path.ends_with("lock"))
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    };
    let before = content();
    let (text, status) = said(&["inspect"], &dir.spool());
    assert_eq!(status, 0);
    assert!(text.contains("records      4") && text.contains("3 pending, 1 dead letters"), "{text}");
    assert!(!text.contains('\u{1b}'), "what a file says does not command the terminal");
    let (text, status) = said(&["verify"], &dir.spool());
    assert_eq!((&*text, status), ("read         4 records in 3 files\n", 0));
    let (text, status) = said(&["stats"], &dir.spool());
    let stats = &lines(&text)[0];
    assert_eq!((stats["records"].as_u64(), stats["clean"].as_bool(), status), (Some(4), Some(true), 0));
    assert_eq!(stats["destinations"][0]["dead"], 1);
    assert_eq!(content(), before);
}

#[test]
fn it_exports_json_lines() {
    let dir = filled("export");
    let (text, status) = said(&["export"], &dir.spool());
    let lines = lines(&text);
    assert_eq!((lines.len(), status), (3, 0));
    assert_eq!((&lines[0]["text"], &lines[0]["lane"]), (&"urgent".into(), &"high".into()));
    assert_eq!((&lines[1]["text"], &lines[1]["key"]), (&"text".into(), &"k".into()));
    assert_eq!(lines[1]["first_seen_ms"], 1_700_000_000_000_u64);
    assert_eq!((&lines[2]["base64"], &lines[2]["destinations"][0]), (&"/wA=".into(), &"main".into()));
    let (text, _) = said(&["export", "--limit", "1"], &dir.spool());
    assert_eq!(text.lines().count(), 1);
    let (text, _) = said(&["export", "--dead"], &dir.spool());
    let dead = self::lines(&text);
    assert_eq!((&dead[0]["text"], &dead[0]["reason"]), (&"dead".into(), &"not wanted".into()));
}

#[test]
fn s07_it_requeues_dead_letters() {
    let dir = filled("requeue");
    assert_eq!(said(&["requeue", "--id", "1"], &dir.spool()).0, "requeued     0 records\n");
    assert_eq!(run(&["requeue", "--to", "other"], &dir.spool()).status.code(), Some(2));
    assert_eq!(said(&["requeue", "--to", "main"], &dir.spool()).0, "requeued     1 records\n");
    let mut engine = open(&dir.spool());
    let (_, records) = engine.lease("main", Want::default(), 0).unwrap().unwrap();
    let payloads: Vec<_> = records.iter().map(|record| &record.payload[..]).collect();
    assert_eq!(payloads, [&b"urgent"[..], b"text", &[0xff, 0], b"dead"]);
}

#[test]
fn s04_it_sees_damage_and_repairs_it() {
    let dir = filled("repair");
    let segment = fs::read_dir(dir.spool())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("n-"))
        .unwrap();
    let content = fs::read(&segment).unwrap();
    fs::write(&segment, &content[..content.len() / 2]).unwrap();
    let (text, status) = said(&["verify"], &dir.spool());
    assert!(status == 1 && text.contains("damaged      1 files"), "{text}");
    assert_eq!(fs::metadata(&segment).unwrap().len(), content.len() as u64 / 2, "looking changes nothing");
    let (text, status) = said(&["repair"], &dir.spool());
    assert!(status == 0 && text.contains("damaged      1 files"), "{text}");
    let (text, status) = said(&["verify"], &dir.spool());
    assert_eq!(status, 0, "{text}");
    assert_eq!(said(&["repair"], &dir.spool()).1, 0);
}

#[test]
fn it_prints_how_it_is_used_on_its_standard_output() {
    for args in [&["--help"][..], &["help"], &["export", "-h"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_forebay-spool")).args(args).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("forebay-spool inspect DIR"));
    }
}

#[test]
fn it_says_what_is_wrong() {
    let dir = filled("wrong");
    let engine = open(&dir.spool());
    let output = run(&["stats"], &dir.spool());
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&format!("process {} has the spool open", std::process::id())), "{text}");
    drop(engine);
    for (args, dir) in [(&["stats"][..], dir.0.as_path()), (&["stats"], Path::new("/nowhere")), (&["nonsense"], &dir.0)]
    {
        assert_eq!(run(args, dir).status.code(), Some(2));
    }
    assert_eq!(run(&["inspect", "--dead"], &dir.spool()).status.code(), Some(2));
}
