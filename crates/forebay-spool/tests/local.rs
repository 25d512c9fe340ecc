//! The directory, the files in it, and the thread that writes them.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "test code")]

#[expect(clippy::allow_attributes, reason = "what one test leaves unused another uses")]
mod support;

use forebay_spool::{
    DiskSpool, Disposition, Durability, Group, NewRecord, Spool, SpoolBuilder, SpoolError, SpoolErrorKind, Want,
    storage::SnapshotStorage,
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    sync::Arc,
    time::Duration,
};
use support::{NOW, TempDir, append, at, drain, group, payloads};

fn builder(dir: &TempDir) -> SpoolBuilder {
    let durability = Durability::Disk { every: Duration::ZERO, bytes: 0 };
    DiskSpool::builder(dir.spool()).destination("main", "https://a.example").durability(durability)
}

fn kind(builder: SpoolBuilder) -> SpoolErrorKind {
    let error = builder.open_engine(at(NOW)).unwrap_err();
    error.downcast_ref::<SpoolError>().unwrap().kind().clone()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn s10_files_are_for_their_owner_only_and_links_are_refused() {
    let dir = TempDir::new("modes");
    let mut engine = builder(&dir).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a"]));
    assert_eq!(mode(&dir.spool()), 0o700);
    for entry in fs::read_dir(dir.spool()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    engine.close().unwrap();
    // Modes that became wider are narrowed again.
    fs::set_permissions(dir.spool(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(dir.spool().join("manifest-a"), fs::Permissions::from_mode(0o644)).unwrap();
    builder(&dir).open_engine(at(NOW)).unwrap().close().unwrap();
    assert_eq!((mode(&dir.spool()), mode(&dir.spool().join("manifest-a"))), (0o700, 0o600));

    let link = dir.path().join("link");
    symlink(dir.spool(), &link).unwrap();
    let linked = DiskSpool::builder(&link).destination("main", "https://a.example");
    assert_eq!(kind(linked), SpoolErrorKind::Untrusted { path: link, why: "it is a symbolic link" });

    let target = dir.path().join("target");
    fs::write(&target, "untouched").unwrap();
    fs::remove_file(dir.spool().join("lock")).unwrap();
    symlink(&target, dir.spool().join("lock")).unwrap();
    assert!(matches!(kind(builder(&dir)), SpoolErrorKind::Untrusted { .. }));
    assert_eq!(fs::read(&target).unwrap(), b"untouched");
    fs::remove_file(dir.spool().join("lock")).unwrap();
    fs::hard_link(&target, dir.spool().join("lock")).unwrap();
    assert!(matches!(kind(builder(&dir)), SpoolErrorKind::Untrusted { .. }), "a second name is a way in as well");
}

#[test]
fn s10_a_foreign_owner_is_refused() {
    let dir = TempDir::new("foreign");
    builder(&dir).open_engine(at(NOW)).unwrap().close().unwrap();
    let own = fs::metadata(dir.spool()).unwrap().uid();
    let refused = |path: &Path| {
        let spool = DiskSpool::builder(path).destination("main", "https://a.example");
        assert!(matches!(kind(spool), SpoolErrorKind::Untrusted { why, .. } if why.contains("another")), "{path:?}");
    };
    // Only root may give a file away; a directory of root's is a foreign one to everyone else.
    if chown(dir.spool(), Some(own + 1), None).is_err() {
        refused(Path::new("/"));
        return;
    }
    refused(&dir.spool());
    chown(dir.spool(), Some(own), None).unwrap();
    chown(dir.spool().join("lock"), Some(own + 1), None).unwrap();
    refused(&dir.spool());
    chown(dir.spool().join("lock"), Some(own), None).unwrap();

    // A file of records that is a foreign one is not read, and what it held is counted.
    let mut engine = builder(&dir).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a", "b"]));
    engine.close().unwrap();
    let mut names = fs::read_dir(dir.spool()).unwrap().map(|entry| entry.unwrap().path());
    let segment = names.find(|path| path.to_str().unwrap().contains("/n-")).unwrap();
    chown(&segment, Some(own + 1), None).unwrap();
    let engine = builder(&dir).open_engine(at(NOW)).unwrap();
    assert_eq!((engine.stats().recovered.lost, engine.stats().records), (2, 0));
}

#[test]
fn s10_a_link_in_the_place_of_a_file_is_not_read_and_counts_as_lost() {
    let dir = TempDir::new("link");
    let mut engine = builder(&dir).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a", "b"]));
    engine.close().unwrap();
    let names = fs::read_dir(dir.spool()).unwrap().map(|entry| entry.unwrap().path());
    let segment = names.into_iter().find(|path| path.to_str().unwrap().contains("/n-")).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&segment, &elsewhere).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    symlink(&elsewhere, &segment).unwrap();
    let mut engine = builder(&dir).open_engine(at(NOW)).unwrap();
    assert_eq!((engine.stats().recovered.lost, engine.stats().records), (2, 0));
    append(&mut engine, group(["c"]));
    assert_eq!(payloads(&drain(&mut engine)), ["c"]);
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
}

#[test]
fn one_process_at_a_time_with_a_clear_error() {
    let dir = TempDir::new("lock");
    let engine = builder(&dir).open_engine(at(NOW)).unwrap();
    assert_eq!(kind(builder(&dir)), SpoolErrorKind::InUse { holder: Some(std::process::id()) });
    drop(engine);
    builder(&dir).open_engine(at(NOW)).unwrap();
}

#[test]
fn a_snapshot_shows_what_is_there_and_changes_nothing() {
    let dir = TempDir::new("snapshot");
    let mut engine = builder(&dir).open_engine(at(NOW)).unwrap();
    append(&mut engine, group(["a", "b"]));
    drop(engine);
    let files = || -> Vec<_> {
        let mut all: Vec<_> = fs::read_dir(dir.spool())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.ends_with("lock"))
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect();
        all.sort();
        all
    };
    let before = files();
    let snapshot = Arc::new(SnapshotStorage::new(dir.spool()));
    let mut engine = SpoolBuilder::on(snapshot).open_engine(at(NOW)).unwrap();
    assert_eq!(payloads(&drain(&mut engine)), ["a", "b"]);
    engine.close().unwrap();
    assert_eq!(files(), before);
}

/// A spool that an earlier version wrote. `SPOOL_WRITE_FIXTURE=1` writes one for this version.
#[test]
fn s09_a_spool_of_version_1_is_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    if std::env::var_os("SPOOL_WRITE_FIXTURE").is_some() {
        let dir = TempDir::new("fixture");
        let mut engine = builder(&dir).open_engine(at(NOW)).unwrap();
        let record = NewRecord::new("with a key").key("tenant-7").first_seen(at(NOW - 5000));
        append(&mut engine, Group::new([record, NewRecord::new("poison")]).mark("file", "1234"));
        append(&mut engine, group(["urgent"]).priority(forebay_core::Priority::High));
        append(&mut engine, group(["last"]));
        let want = Want { records: 3, ..Want::default() };
        let (lease, _) = engine.lease("main", want, NOW).unwrap().unwrap();
        let no = Disposition::Quarantine("never".into());
        assert_eq!(engine.settle(lease, &[Disposition::GiveBack, Disposition::Failed, no]).dead, 1);
        engine.close().unwrap();
        fs::create_dir_all(&fixture).unwrap();
        for entry in fs::read_dir(dir.spool()).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("lock") {
                continue;
            }
            fs::copy(&path, fixture.join(path.file_name().unwrap())).unwrap();
        }
    }
    let dir = TempDir::copy(&fixture, "v1").unwrap();
    let mut engine = builder(&dir).open_engine(at(NOW)).unwrap();
    let stats = engine.stats();
    assert!(stats.recovered.clean);
    assert_eq!((stats.recovered.records, stats.recovered.lost, stats.recovered.damaged_files), (4, 0, 0));
    assert_eq!(engine.mark("file").unwrap(), "1234");
    let records = drain(&mut engine);
    assert_eq!(payloads(&records), ["urgent", "with a key", "last"]);
    assert_eq!(
        (&records[1].key[..], records[1].attempts, records[1].first_seen),
        (&b"tenant-7"[..], 1, at(NOW - 5000))
    );
    assert_eq!(engine.dead_letters(None, 9).unwrap()[0].reason, "never");
    assert_eq!(engine.requeue(None, None, |_| ()).unwrap(), 1);
    assert_eq!(payloads(&drain(&mut engine)), ["poison"]);
}

#[tokio::test]
async fn a_lease_that_is_dropped_is_given_back_and_one_that_is_acknowledged_is_not() {
    let dir = TempDir::new("lease");
    let spool = builder(&dir).open().unwrap();
    spool.append(group(["a", "b"])).await.unwrap();
    let lease = spool.lease("main", Want::default()).await.unwrap().unwrap();
    assert!(spool.lease("main", Want::default()).await.unwrap().is_none());
    drop(lease);
    let lease = spool.lease("main", Want::default()).await.unwrap().unwrap();
    assert_eq!(payloads(lease.records()), ["a", "b"]);
    let settled = spool.settle(lease, vec![Disposition::Delivered]).await.unwrap();
    assert_eq!((settled.delivered, settled.given_back), (1, 1), "what is not mentioned is given back");
    let lease = spool.lease("main", Want::default()).await.unwrap().unwrap();
    assert_eq!(spool.quarantine(lease, "no").await.unwrap().dead, 1);
    assert_eq!(spool.dead_letters(Some("main"), 9).await.unwrap()[0].reason, "no");
    assert_eq!(spool.requeue(None, None).await.unwrap(), 1);
    assert_eq!(spool.verify().await.unwrap().records, 1);
    assert_eq!(spool.stats().await.unwrap().records, 1);
}

#[tokio::test]
async fn s02_groups_that_wait_together_share_a_commit() {
    let dir = TempDir::new("group");
    let durability = Durability::Disk { every: Duration::from_secs(3600), bytes: 100 };
    let spool = builder(&dir).durability(durability).open().unwrap();
    let first = spool.append(group(["a"]));
    // The timer is far away; the bytes of the second end the wait of both.
    let second = spool.append(Group::new([NewRecord::new(vec![0; 100])]));
    assert_eq!(second.await.unwrap().records + first.await.unwrap().records, 2);
}

#[tokio::test]
async fn a_group_is_appended_whether_its_future_is_polled_or_not() {
    let dir = TempDir::new("dropped");
    let spool = builder(&dir).open().unwrap();
    drop(spool.append(group(["a"]).mark("file", "7")));
    spool.close().await.unwrap();
    let error = spool.append(group(["b"])).await.unwrap_err();
    assert_eq!(*error.kind(), SpoolErrorKind::Closed);
    assert_eq!(*spool.lease("main", Want::default()).await.unwrap_err().kind(), SpoolErrorKind::Closed);
    spool.close().await.unwrap();
    let spool = builder(&dir).open().unwrap();
    assert_eq!(spool.mark("file").await.unwrap().unwrap(), "7");
    assert_eq!(payloads(spool.lease("main", Want::default()).await.unwrap().unwrap().records()), ["a"]);
}

#[tokio::test]
async fn bytes_that_wait_are_bounded() {
    let dir = TempDir::new("busy");
    let durability = Durability::Disk { every: Duration::from_secs(3600), bytes: usize::MAX };
    let spool = builder(&dir).durability(durability).max_record_bytes(1000).max_waiting_bytes(1000).open().unwrap();
    let first = spool.append(Group::new([NewRecord::new(vec![0; 900])]));
    let error = spool.append(Group::new([NewRecord::new(vec![0; 200])])).await.unwrap_err();
    assert_eq!(*error.kind(), SpoolErrorKind::Busy);
    spool.close().await.unwrap();
    first.await.unwrap();
}

#[tokio::test]
async fn bytes_that_were_written_wait_no_more() {
    let dir = TempDir::new("written");
    let spool = builder(&dir).max_record_bytes(1000).max_waiting_bytes(1000).open().unwrap();
    for round in 0..5 {
        let appended = spool.append(Group::new([NewRecord::new(vec![0; 900])])).await;
        assert!(appended.is_ok(), "round {round}: {appended:?}");
    }
}
