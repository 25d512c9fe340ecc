//! Every input that a fuzzer has kept, through the checks of its target.

#![expect(clippy::panic, clippy::unwrap_used, reason = "test code")]

#[path = "../../fuzz/checks/endpoint.rs"]
mod endpoint;
#[path = "../../fuzz/checks/environment.rs"]
mod environment;
#[path = "../../fuzz/checks/partial_success.rs"]
mod partial_success;
#[path = "../../fuzz/checks/retry_after.rs"]
mod retry_after;

use std::{fs, path::Path};

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(folder).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 5, "{target}: {inputs} inputs");
}

#[test]
fn every_kept_input_of_each_target_holds() {
    replay("endpoint", endpoint::check);
    replay("environment", environment::check);
    replay("partial_success", partial_success::check);
    replay("retry_after", retry_after::check);
}
