//! The inputs that a fuzzer found worth keeping, and random ones: reading whatever a broker sends does no harm.

use forebay_kip714::tcp::fuzzing::decode_all;
use proptest::prelude::*;
use std::{fs, path::Path};

#[test]
fn every_input_of_the_corpus_is_read_without_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/answers");
    let mut inputs = 0;
    let mut responses = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        responses += decode_all(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 10 && responses > 0, "{inputs} inputs, {responses} responses");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn so_is_any_other(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // More of what lengths are made of.
        let bytes: Vec<u8> = bytes.into_iter().map(|byte| match byte { 0..50 => 0xff, 50..100 => 0, other => other }).collect();
        prop_assert!(decode_all(&bytes) <= 11);
    }
}
