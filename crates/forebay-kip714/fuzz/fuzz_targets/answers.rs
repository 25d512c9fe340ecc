//! Whatever a broker answers, reading it neither panics nor takes more memory than the answer has bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    forebay_kip714::tcp::fuzzing::decode_all(bytes);
});
