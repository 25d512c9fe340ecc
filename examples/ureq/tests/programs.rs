//! The program, as its user runs it. It asserts its own numbers.

use std::process::Command;

#[test]
fn a_client_that_blocks_delivers_on_two_threads() {
    let output = Command::new(env!("CARGO_BIN_EXE_export_ureq")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("at most 2 threads blocked at a time, of 2 allowed"), "{text}");
}
