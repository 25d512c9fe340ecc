//! S03: the inputs that a fuzzer keeps, and random ones: whatever stands in a file of a spool, its opening is not refused.

#![expect(clippy::expect_used, reason = "test code")]

#[path = "../fuzz/check.rs"]
mod check;

use check::check;
use proptest::prelude::*;
use std::{fs, path::Path};

#[test]
fn s03_every_input_of_the_corpus_is_opened_and_goes_on() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/record");
    let (mut inputs, mut records) = (0, 0);
    for entry in fs::read_dir(corpus).unwrap() {
        records += check(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 8 && records > inputs, "{inputs} inputs, {records} records");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn s03_so_is_a_file_with_any_other_bytes_in_it(kind in any::<u8>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&[&[kind][..], &bytes].concat());
    }
}
