use super::*;
use Priority::{High, Normal};

fn admission(limits: Limits) -> Admission {
    Admission::new(&limits).unwrap()
}

fn fill(admission: &mut Admission, items: usize, bytes: usize) {
    for _ in 0..items {
        admission.admit(bytes, High, None).unwrap();
    }
}

#[test]
fn q01_below_the_soft_limit_every_item_is_admitted() {
    let mut admission = admission(Limits::new().items(100));
    for _ in 0..90 {
        admission.admit(1, Normal, None).unwrap();
    }
    assert_eq!(admission.items(), 90);
}

#[test]
fn q02_q03_from_soft_to_full_only_high_priority_is_admitted() {
    let mut admission = admission(Limits::new().items(100));
    fill(&mut admission, 90, 1);
    assert_eq!(admission.admit(1, Normal, None), Err(DropReason::SoftLimit));
    fill(&mut admission, 10, 1);
}

#[test]
fn q02_fullness_is_the_larger_of_items_and_bytes() {
    let mut admission = admission(Limits::new().items(100).bytes(1000));
    fill(&mut admission, 1, 900);
    assert_eq!(admission.admit(1, Normal, None), Err(DropReason::SoftLimit));
    assert!((admission.fullness() - 0.9).abs() < 1e-9);
}

#[test]
fn q04_full_refuses_both() {
    let mut admission = admission(Limits::new().items(10));
    fill(&mut admission, 10, 1);
    assert_eq!(admission.admit(1, Normal, None), Err(DropReason::Full));
    assert_eq!(admission.admit(1, High, None), Err(DropReason::Full));
}

#[test]
fn q05_bytes_refuse_high_priority_too() {
    let mut admission = admission(Limits::new().items(10).bytes(100));
    fill(&mut admission, 1, 80);
    assert_eq!(admission.admit(21, High, None), Err(DropReason::Bytes));
    fill(&mut admission, 1, 20);
    assert_eq!(admission.admit(1, High, None), Err(DropReason::Bytes));
}

#[test]
fn q06_an_item_above_its_own_limit_is_never_admitted() {
    let mut admission = admission(Limits::new().bytes(100).item_bytes(50));
    assert_eq!(admission.admit(51, High, None), Err(DropReason::TooLarge));
    assert!(admission.is_too_large(51));
    assert!(admission.admit(50, Normal, None).is_ok());
}

#[test]
fn q08_a_key_holds_its_share_and_gets_it_back() {
    let mut admission = admission(Limits::new().items(10).fair_share(0.3));
    let epoch = admission.admit(1, Normal, Some(7)).unwrap();
    admission.admit(1, Normal, Some(7)).unwrap();
    admission.admit(1, Normal, Some(7)).unwrap();
    assert_eq!(admission.admit(1, Normal, Some(7)), Err(DropReason::FairShare));
    assert!(admission.admit(1, High, Some(7)).is_ok(), "high priority takes no share");
    assert!(admission.admit(1, Normal, Some(8)).is_ok(), "another key has its own share");

    admission.settle(Fate::Delivered, Charge::one(1, epoch));
    admission.free_share(7);
    assert!(admission.admit(1, Normal, Some(7)).is_ok());
    assert_eq!(admission.shares.len(), 2);
    admission.free_share(8);
    assert_eq!(admission.shares.len(), 1, "a key that holds nothing takes no memory");
}

#[test]
fn a_flush_is_over_when_its_epoch_and_all_before_are_settled() {
    let mut admission = admission(Limits::new());
    let none = admission.end_epoch();
    assert!(admission.is_settled(none), "nothing to wait for");

    let first = admission.admit(1, Normal, None).unwrap();
    let one = admission.end_epoch();
    let second = admission.admit(1, Normal, None).unwrap();
    let two = admission.end_epoch();
    assert_eq!(admission.end_epoch(), two, "no item was admitted since");
    let third = admission.admit(1, Normal, None).unwrap();

    assert!(!admission.settle(Fate::Delivered, Charge::one(1, second)));
    assert!(!admission.is_settled(two), "the first is still out");
    assert!(admission.settle(Fate::Delivered, Charge::one(1, first)));
    assert!(admission.is_settled(one) && admission.is_settled(two));
    assert!(!admission.is_settled(third));
    admission.settle(Fate::Delivered, Charge::one(1, third));
    assert!(admission.is_settled(third));
}

#[test]
fn lowered_limits_keep_what_is_held_and_admit_nothing() {
    let mut admission = admission(Limits::new().items(100).bytes(1000));
    fill(&mut admission, 50, 10);
    admission.set_limits(&Limits::new().items(10).bytes(100)).unwrap();
    assert_eq!(admission.admit(1, High, None), Err(DropReason::Full));
    assert_eq!((admission.items(), admission.bytes()), (50, 500));
    assert!(admission.fullness() > 4.9);
    assert!(admission.set_limits(&Limits::new().items(0)).is_err());
}

#[test]
fn e06_an_item_needs_room_in_its_own_limits_and_in_the_budget() {
    let budget = ByteBudget::new(100).unwrap();
    let own = Limits::new().items(3).bytes(60).soft_limit(1.0);
    let mut one = admission(own).byte_budget(&budget);
    let mut two = admission(own).byte_budget(&budget);
    let epoch = one.admit(50, Normal, None).unwrap();
    assert_eq!(one.admit(11, Normal, None), Err(DropReason::Bytes));
    two.admit(40, Normal, None).unwrap();
    assert_eq!(two.admit(11, High, None), Err(DropReason::ByteBudget));
    assert_eq!(two.admit(0, Normal, None), Err(DropReason::ByteBudget), "above the soft limit of the budget");
    one.settle(Fate::Delivered, Charge::one(50, epoch));
    two.admit(11, Normal, None).unwrap();
    assert_eq!((budget.bytes(), two.bytes()), (51, 51));
    drop(two);
    assert_eq!(budget.bytes(), 0, "what was held goes back");
}

#[test]
fn e06_a_refusal_for_the_budget_takes_no_fair_share() {
    let budget = ByteBudget::new(10).unwrap();
    let mut admission = admission(Limits::new().items(10).fair_share(0.1)).byte_budget(&budget);
    let epoch = admission.admit(8, High, None).unwrap();
    assert_eq!(admission.admit(3, Normal, Some(7)), Err(DropReason::ByteBudget));
    admission.settle(Fate::Delivered, Charge::one(8, epoch));
    assert!(admission.admit(3, Normal, Some(7)).is_ok(), "its share was free");
}

#[test]
fn e06_an_item_above_the_budget_is_never_admitted() {
    let budget = ByteBudget::new(10).unwrap();
    let mut admission = admission(Limits::new()).byte_budget(&budget);
    assert_eq!(admission.admit(11, High, None), Err(DropReason::TooLarge));
    admission.set_limits(&Limits::new().items(5)).unwrap();
    assert!(admission.is_too_large(11));
}
