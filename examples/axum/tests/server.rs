//! The example, as its user runs it.

use std::process::Command;

#[test]
fn d04_who_pays_is_served_at_once_under_ten_times_the_load() {
    let output = Command::new(env!("CARGO_BIN_EXE_shed_axum")).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("high      50 requests:   50 served") && text.contains("0 refused"), "{text}");
}
