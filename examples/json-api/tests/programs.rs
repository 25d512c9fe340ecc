//! The program, as its user runs it. It asserts its own numbers.

use std::process::Command;

#[test]
fn a_client_of_many_tenants_survives_what_its_server_does() {
    let output = Command::new(env!("CARGO_BIN_EXE_json_api")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("registry: 3 clients for 3 tenants"), "{text}");
}
