//! The inputs that a fuzzer found worth keeping, and more at random: whatever a broker answers, reading it does no harm.

use forebay_kip714::tcp::fuzzing::decode_all;
use proptest::prelude::*;
use std::{fs, path::Path};

#[test]
fn every_input_of_the_corpus_is_read_without_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/answers");
    let mut inputs = 0;
    let mut answers = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        answers += decode_all(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 10 && answers > 0, "{inputs} inputs, {answers} answers");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn so_is_any_other(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff), Just(0)], 0..200)) {
        prop_assert!(decode_all(&bytes) <= 10);
    }
}
