//! What the trait promises, on JetStream.

use crate::nats::{Nats, group, take};
use forebay_core::{ConfigError, Priority, cause_ref};
use forebay_spool_nats::{
    Disposition, Group, JetStreamSpool, Limit, NewRecord, Spool, SpoolErrorKind, Want,
    async_nats::{HeaderMap, jetstream},
};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};
use tokio::time::{sleep, timeout};

const S: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_group_is_leased_as_it_was_appended_and_gone_when_it_is_acknowledged() {
    let nats = Nats::start().await;
    let spool = nats.spool().await;
    let first_seen = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let records = [NewRecord::new("one").key([0, 255, 10].to_vec()).first_seen(first_seen), NewRecord::new("two")];
    let appended = spool.append(Group::new(records)).await.unwrap();
    assert_eq!(appended.records, 2);

    let lease = spool.lease("main", Want::default()).await.unwrap().unwrap();
    let [one, two] = lease.records() else { unreachable!("{lease:?}") };
    assert_eq!((one.id, &one.payload[..], &one.key[..]), (appended.first_id, &b"one"[..], &[0, 255, 10][..]));
    assert_eq!((one.first_seen, one.attempts, one.priority), (first_seen, 0, Priority::Normal));
    assert_eq!((two.id, &two.payload[..]), (appended.first_id.wrapping_add(1), &b"two"[..]));
    assert!(spool.lease("main", Want::default()).await.unwrap().is_none(), "what is leased is leased once");
    assert_eq!(spool.stats().await.unwrap().destinations[0].pending, 2);
    assert_eq!(spool.verify().await.unwrap().records, 2);

    assert_eq!(spool.acknowledge(lease).await.unwrap().delivered, 2);
    let stats = spool.stats().await.unwrap();
    assert_eq!((stats.records, stats.appended, stats.delivered, stats.bytes), (0, 2, 2, 0));
}

#[tokio::test]
async fn the_high_lane_is_first_and_each_destination_has_its_own_progress() {
    let nats = Nats::start().await;
    let builder = nats.builder().await;
    let spool = builder.destination("second", "https://b.example").open().await.unwrap();
    spool.append(group(["normal"])).await.unwrap();
    spool.append(group(["urgent"]).priority(Priority::High)).await.unwrap();
    spool.append(group(["for the second"]).destination("second")).await.unwrap();
    assert_eq!(take(&spool, "main", Disposition::Delivered).await, ["urgent", "normal"]);
    assert_eq!(take(&spool, "second", Disposition::Delivered).await, ["urgent", "normal", "for the second"]);
    assert_eq!(spool.stats().await.unwrap().bytes, 0, "what every destination has is deleted");
    let unknown = spool.lease("third", Want::default()).await.unwrap_err();
    assert_eq!(*unknown.kind(), SpoolErrorKind::UnknownDestination { name: "third".into() });
}

#[tokio::test]
async fn what_is_given_back_or_dropped_is_leased_again_and_counts_against_no_record() {
    let nats = Nats::start().await;
    let spool = nats.spool().await;
    spool.append(group(["one", "two"])).await.unwrap();
    assert_eq!(take(&spool, "main", Disposition::GiveBack).await.len(), 2);
    drop(spool.lease("main", Want::default()).await.unwrap().unwrap());
    let lease = loop {
        if let Some(lease) = spool.lease("main", Want::default()).await.unwrap() {
            break lease;
        }
        sleep(S / 100).await;
    };
    assert!(lease.records().iter().all(|record| record.attempts == 0));
}

#[tokio::test]
async fn a_record_that_fails_too_often_is_a_dead_letter_and_a_requeue_brings_it_back() {
    let nats = Nats::start().await;
    let spool = nats.builder().await.max_attempts(3).open().await.unwrap();
    let id = spool.append(group(["poison"])).await.unwrap().first_id;
    for attempts in 0..3 {
        let lease = spool.lease("main", Want::default()).await.unwrap().unwrap();
        assert_eq!((lease.records()[0].id, lease.records()[0].attempts), (id, attempts));
        spool.settle_all(lease, &Disposition::Failed).await.unwrap();
    }
    spool.append(group(["never\r\n"])).await.unwrap();
    let lease = spool.lease("main", Want::default()).await.unwrap().unwrap();
    spool.quarantine(lease, "it has\na line too many").await.unwrap();

    let letters = spool.dead_letters(None, 9).await.unwrap();
    let reasons: Vec<_> = letters.iter().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(reasons, ["attempts", "it has a line too many"]);
    assert_eq!((letters[0].record.id, letters[0].record.attempts), (id, 3));
    let stats = spool.stats().await.unwrap();
    assert_eq!((stats.destinations[0].pending, stats.destinations[0].dead, stats.dead_lettered), (0, 2, 2));

    assert_eq!(spool.requeue(Some("main"), Some(vec![id])).await.unwrap(), 1);
    let lease = spool.lease("main", Want::default()).await.unwrap().unwrap();
    assert_eq!((lease.records()[0].id, lease.records()[0].attempts), (id, 0));
    spool.acknowledge(lease).await.unwrap();
    assert_eq!(spool.requeue(None, None).await.unwrap(), 1);
    assert_eq!(take(&spool, "main", Disposition::Delivered).await, ["never\r\n"]);
    assert!(spool.dead_letters(None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_full_stream_refuses_whole_groups_and_takes_them_again_when_there_is_room() {
    let nats = Nats::start().await;
    let spool = nats.builder().await.max_records(10).open().await.unwrap();
    let ten = || Group::new((0..10).map(|_| NewRecord::new("a")));
    spool.append(ten()).await.unwrap();
    for more in [ten(), group(["one more"])] {
        let full = spool.append(more).await.unwrap_err();
        assert_eq!(*full.kind(), SpoolErrorKind::Full { limit: Limit::Records }, "{:?}", full.verdict());
    }
    assert_eq!(take(&spool, "main", Disposition::Delivered).await.len(), 10);
    spool.append(ten()).await.unwrap();

    let spool = JetStreamSpool::builder(nats.client().await, "small")
        .destination("main", "")
        .max_bytes(1 << 20)
        .open()
        .await
        .unwrap();
    let big = || Group::new([NewRecord::new(vec![0; 600_000])]);
    spool.append(big()).await.unwrap();
    let full = spool.append(big()).await.unwrap_err();
    assert_eq!(*full.kind(), SpoolErrorKind::Full { limit: Limit::Bytes });
    let large = spool.append(Group::new([NewRecord::new(vec![0; 1 << 20])])).await.unwrap_err();
    assert!(matches!(large.kind(), SpoolErrorKind::TooLarge { .. }), "{large}");
    let many = Group::new((0..1001).map(|_| NewRecord::new("")));
    assert!(matches!(spool.append(many).await.unwrap_err().kind(), SpoolErrorKind::Unsupported { .. }));
    let marked = group(["a"]).mark("position", "7");
    assert!(matches!(spool.append(marked).await.unwrap_err().kind(), SpoolErrorKind::Unsupported { .. }));
}

#[tokio::test]
async fn a_lease_takes_no_more_than_is_wanted_and_one_record_whatever_its_size() {
    let nats = Nats::start().await;
    let spool = nats.spool().await;
    spool.append(Group::new((0..10).map(|_| NewRecord::new(vec![0; 10_000])))).await.unwrap();
    let want = |records, bytes| Want { records, bytes, ..Want::default() };
    let three = spool.lease("main", want(3, 1 << 20)).await.unwrap().unwrap();
    assert_eq!(three.records().len(), 3);
    let few = spool.lease("main", want(512, 45_000)).await.unwrap().unwrap();
    assert!((1..=4).contains(&few.records().len()), "{few:?}");
    let one = spool.lease("main", want(512, 100)).await.unwrap().unwrap();
    assert_eq!(one.records().len(), 1);
}

#[tokio::test]
async fn an_append_whose_acknowledgement_is_lost_is_stored_once() {
    let nats = Nats::start().await;
    let spool = nats.builder().await.timeout(S).open().await.unwrap();
    for group in [group(["alone"]), group(["two", "together"])] {
        // It lies in the socket until the server goes on, and so does the second attempt.
        nats.signal("STOP");
        let append = spool.append(group);
        sleep(S + S / 2).await;
        nats.signal("CONT");
        append.await.unwrap();
    }
    assert_eq!(take(&spool, "main", Disposition::Delivered).await, ["alone", "two", "together"]);
    assert!(spool.lease("main", Want::default()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_lease_lasts_as_long_as_its_process_and_then_another_gets_the_records() {
    let nats = Nats::start().await;
    let short = async || nats.builder().await.lease_for(S).open().await.unwrap();
    let (mine, other) = (short().await, short().await);
    mine.append(group(["record"])).await.unwrap();
    let lease = mine.lease("main", Want::default()).await.unwrap().unwrap();
    sleep(3 * S).await;
    assert!(other.lease("main", Want::default()).await.unwrap().is_none(), "it is renewed while its process lives");
    // A process that ends says nothing.
    std::mem::forget(lease);
    drop(mine);
    let taken = timeout(10 * S, async {
        loop {
            let taken = take(&other, "main", Disposition::Delivered).await;
            if !taken.is_empty() {
                break taken;
            }
            sleep(S / 10).await;
        }
    });
    assert_eq!(taken.await.unwrap(), ["record"]);
}

#[tokio::test]
async fn another_identity_under_the_same_name_has_a_progress_of_its_own() {
    let nats = Nats::start().await;
    let spool = nats.spool().await;
    spool.append(group(["for the first"])).await.unwrap();
    let client = nats.client().await;
    let other = JetStreamSpool::builder(client, "spool").destination("main", "https://b.example").open().await.unwrap();
    assert!(take(&other, "main", Disposition::Delivered).await.is_empty(), "it came before the destination");
    spool.close().await.unwrap();
    assert_eq!(*spool.append(group(["late"])).await.unwrap_err().kind(), SpoolErrorKind::Closed);
    let again = nats.spool().await;
    assert_eq!(again.stats().await.unwrap().recovered.records, 1);
    assert_eq!(take(&again, "main", Disposition::Delivered).await, ["for the first"]);
}

#[tokio::test]
async fn a_stream_that_would_lose_records_in_silence_is_refused() {
    let nats = Nats::start().await;
    let context = jetstream::new(nats.client().await);
    let good = jetstream::stream::Config {
        name: "spool".into(),
        subjects: vec!["spool.high.>".into(), "spool.normal.>".into()],
        retention: jetstream::stream::RetentionPolicy::Interest,
        discard: jetstream::stream::DiscardPolicy::New,
        allow_atomic_publish: true,
        allow_direct: true,
        ..jetstream::stream::Config::default()
    };
    type Spoil = fn(&mut jetstream::stream::Config);
    let faults: [(&str, Spoil); 6] = [
        ("discard", |config| config.discard = jetstream::stream::DiscardPolicy::Old),
        ("max_age", |config| config.max_age = 60 * S),
        ("retention", |config| config.retention = jetstream::stream::RetentionPolicy::Limits),
        ("allow_atomic", |config| config.allow_atomic_publish = false),
        ("subjects", |config| _ = config.subjects.pop()),
        ("allow_direct", |config| config.allow_direct = false),
    ];
    for (setting, spoil) in faults {
        let mut config = good.clone();
        spoil(&mut config);
        context.create_stream(config).await.unwrap();
        let error = nats.builder().await.open().await.unwrap_err();
        assert!(cause_ref::<ConfigError>(&*error).is_some(), "{error}");
        assert!(error.to_string().contains(setting), "{setting}: {error}");
        context.delete_stream("spool").await.unwrap();
    }
    context.create_stream(good).await.unwrap();
    nats.builder().await.open().await.unwrap();
}

#[tokio::test]
async fn what_no_spool_has_appended_is_put_aside_and_counted_and_the_rest_goes_on() {
    let nats = Nats::start().await;
    let spool = nats.spool().await;
    let context = jetstream::new(nats.client().await);
    context.publish("spool.normal.all", "foreign".into()).await.unwrap().await.unwrap();
    let mut damaged = HeaderMap::new();
    damaged.insert("Forebay-Id", "7");
    damaged.insert("Forebay-Crc32", "1");
    context.publish_with_headers("spool.normal.all", damaged, "damaged".into()).await.unwrap().await.unwrap();
    spool.append(group(["good"])).await.unwrap();
    assert_eq!((spool.verify().await.unwrap().records, spool.verify().await.unwrap().bad), (1, 2));
    assert_eq!(take(&spool, "main", Disposition::Delivered).await, ["good"]);
    let stats = spool.stats().await.unwrap();
    assert_eq!((stats.quarantined, stats.destinations[0].dead, stats.records), (2, 2, 2));
}

#[tokio::test]
async fn an_append_is_made_whether_or_not_its_future_is_polled() {
    let nats = Nats::start().await;
    let spool = nats.spool().await;
    drop(spool.append(group(["handed over"])));
    let taken: BTreeSet<_> = timeout(10 * S, async {
        loop {
            let taken = take(&spool, "main", Disposition::Delivered).await;
            if !taken.is_empty() {
                break taken.into_iter().collect();
            }
            sleep(S / 100).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(taken, BTreeSet::from(["handed over".to_owned()]));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_named() {
    let nats = Nats::start().await;
    let of = async |name: &str| JetStreamSpool::builder(nats.client().await, name);
    for (knob, builder) in [
        ("stream", of("a.b").await.destination("main", "")),
        ("destination", of("a").await),
        ("destination", of("a").await.destination("a b", "")),
        ("destination", of("a").await.destination("a", "").destination("a", "")),
        ("replicas", of("a").await.destination("a", "").replicas(6)),
        ("max_bytes", of("a").await.destination("a", "").max_bytes(0)),
        ("max_records", of("a").await.destination("a", "").max_records(0)),
        ("max_attempts", of("a").await.destination("a", "").max_attempts(0)),
        ("max_leases", of("a").await.destination("a", "").max_leases(0)),
        ("max_in_flight", of("a").await.destination("a", "").max_in_flight(0)),
        ("lease_for", of("a").await.destination("a", "").lease_for(Duration::MAX)),
        ("timeout", of("a").await.destination("a", "").timeout(Duration::ZERO)),
    ] {
        let error = builder.open().await.unwrap_err();
        assert_eq!(cause_ref::<ConfigError>(&*error).unwrap().knob(), knob, "{error}");
    }
}
