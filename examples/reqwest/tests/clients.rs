//! The examples of this client, as their user runs them.

use std::process::Command;

#[test]
fn the_client_delivers_to_the_receiver() {
    let output = Command::new(env!("CARGO_BIN_EXE_export_reqwest")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.trim(), "delivered 10 of 10; the receiver has 10");
}
