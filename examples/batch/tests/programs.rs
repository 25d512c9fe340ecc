//! The program, as its user runs it. It asserts its own numbers.

use std::process::Command;

#[test]
fn a_hundred_resolvers_take_two_queries() {
    let output = Command::new(env!("CARGO_BIN_EXE_dataloader")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("by loaders:   2 queries") && text.contains("15 keys together"), "{text}");
}
