//! The programs, as their user runs them. Each asserts its own numbers.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::process::Command;

fn output_of(program: &str) -> String {
    let output = Command::new(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_webhook_gets_each_event_once() {
    let text = output_of(env!("CARGO_BIN_EXE_webhook"));
    assert!(text.contains("receiver: 495 events from 6 requests, 0 without the secret"), "{text}");
}

#[test]
fn each_caller_of_a_bulk_api_has_the_fate_of_its_document() {
    let text = output_of(env!("CARGO_BIN_EXE_bulk_api"));
    assert!(text.contains("callers: 1000 of 1000 know what became of their document"), "{text}");
}

/// Runs the outage of four seconds with `more` arguments.
fn an_outage_costs_nothing(more: &[&str]) {
    let arguments = ["--for", "4s", "--rate", "20000", "--seed", "3"];
    let output = Command::new(env!("CARGO_BIN_EXE_endpoints")).args(arguments).args(more).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("80000 of 80000 items arrived, 0 missing"), "{text}");
    assert!(!text.contains("through 0 deaths"), "{text}");
}

#[test]
fn e01_an_outage_of_any_two_of_three_receivers_costs_nothing() {
    an_outage_costs_nothing(&[]);
}

#[test]
fn e01_an_outage_of_any_two_of_three_receivers_costs_nothing_where_endpoints_are_in_order() {
    an_outage_costs_nothing(&["--failover"]);
}
