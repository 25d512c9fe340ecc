//! Whatever stands in a file of a spool, opening it neither panics nor refuses the start, and the spool goes on.
#![no_main]

#[path = "../check.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: {
        // The engine catches the panics of its database over a damaged file. One that escapes ends the process in any case.
        std::panic::set_hook(Box::new(|info| {
            if !info.location().is_some_and(|at| at.file().contains("redb")) {
                eprintln!("{info}");
            }
        }));
    },
    |bytes: &[u8]| {
        check::check(bytes);
    }
);
