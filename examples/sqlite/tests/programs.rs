//! The program, as its user runs it. It asserts its own numbers.

use std::process::Command;

#[test]
fn each_caller_of_a_batched_insert_has_the_id_of_its_own_row() {
    let output = Command::new(env!("CARGO_BIN_EXE_batch_sqlite")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("20480 callers have the id of their own row, 0 do not"), "{text}");
}
