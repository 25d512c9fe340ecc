//! The filter of names.

use forebay_collect::{Anchoring, Filter, FilterLayer, LiveFilter, WhenUndecided};
use std::convert::Infallible;
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

fn filter(undecided: WhenUndecided, allow: &[&str], deny: &[&str]) -> (Filter, Vec<String>) {
    let builder = Filter::builder(undecided);
    let builder = allow.iter().fold(builder, |builder, pattern| builder.allow(*pattern));
    let builder = deny.iter().fold(builder, |builder, pattern| builder.deny(*pattern));
    let (filter, bad) = builder.build();
    (filter, bad.iter().map(|bad| bad.pattern().to_owned()).collect())
}

#[test]
fn c01_without_a_valid_pattern_it_fails_open_or_closed_as_chosen() {
    for patterns in [&[][..], &["("], &["[", "*"]] {
        let (open, bad) = filter(WhenUndecided::Allow, patterns, &["secret"]);
        assert_eq!(bad, patterns);
        assert!(open.wants("raft.apply") && !open.wants("a.secret"), "{patterns:?}");
        let (closed, _) = filter(WhenUndecided::Deny, patterns, &[]);
        assert!(!closed.wants("raft.apply"), "{patterns:?}");
    }
    // With one that can be read, both are the same.
    for undecided in [WhenUndecided::Allow, WhenUndecided::Deny] {
        let (filter, _) = filter(undecided, &["(", "raft"], &[]);
        assert!(filter.wants("raft.apply") && !filter.wants("rpc"));
    }
}

#[test]
fn c02_a_bad_pattern_is_skipped_and_reported() {
    let (filter, bad) = filter(WhenUndecided::Deny, &["a+", "b**", "(?<x", "c"], &["a{2", r"\p{Nothing}"]);
    assert_eq!(bad, ["(?<x", "a{2", r"\p{Nothing}"]);
    assert!(filter.wants("a") && filter.wants("c"));
    let (_, bad) = Filter::builder(WhenUndecided::Deny).allow("(").build();
    assert!(bad[0].to_string().starts_with("the pattern `(` was skipped: "), "{}", bad[0]);
}

#[test]
fn flags_end_with_their_pattern() {
    let (filter, bad) = filter(WhenUndecided::Deny, &["(?i)raft", "serf"], &[]);
    assert!(bad.is_empty());
    assert!(filter.wants("RAFT") && filter.wants("serf") && !filter.wants("SERF"));
}

#[test]
fn anchoring_is_a_choice_and_holds_for_every_pattern() {
    let anywhere = Filter::builder(WhenUndecided::Deny).allow("raft|serf").build().0;
    assert!(anywhere.wants("consul.raft.apply"));
    // A comment in a pattern does not swallow the anchor, and an alternative is not left out of it.
    let whole = Filter::builder(WhenUndecided::Deny).anchoring(Anchoring::Whole);
    let whole = whole.allow("(?x) raft | serf # both").deny("serf").build().0;
    assert!(whole.wants("raft") && !whole.wants("raft.apply") && !whole.wants("a.raft") && !whole.wants("serf"));
}

#[test]
fn patterns_of_a_server_cannot_exhaust_the_memory_of_its_clients() {
    let (_, bad) = filter(WhenUndecided::Deny, &[r"(\w{100}){100}", &"(".repeat(10_000)], &[]);
    assert_eq!(bad.len(), 2);
    let many = Filter::builder(WhenUndecided::Deny);
    let many = (0..600).fold(many, |builder, n| builder.allow(format!("^name{n}$")));
    let (filter, bad) = many.build();
    assert_eq!(bad.len(), 600 - 512);
    assert!(filter.wants("name511") && !filter.wants("name512"));
}

#[test]
fn a_live_filter_is_swapped_for_all_at_once() {
    let live = LiveFilter::new(Filter::nothing());
    let clone = live.clone();
    assert!(!clone.wants("a"));
    let before = clone.now();
    live.set(Filter::all());
    assert!(clone.wants("a") && !before.wants("a"));
}

#[tokio::test]
async fn what_is_not_wanted_never_reaches_the_inner_service() {
    let (wanted, _) = filter(WhenUndecided::Deny, &["^a"], &[]);
    let live = LiveFilter::new(wanted);
    let inner = service_fn(|name: &'static str| async move { Ok::<_, Infallible>(name.len()) });
    let mut service = FilterLayer::new(live.clone(), |name: &&'static str| *name).layer(inner);
    assert_eq!(service.ready().await.unwrap().call("abc").await.unwrap(), Some(3));
    assert_eq!(service.ready().await.unwrap().call("bc").await.unwrap(), None);
    live.set(Filter::all());
    assert_eq!(service.ready().await.unwrap().call("bc").await.unwrap(), Some(2));
}
