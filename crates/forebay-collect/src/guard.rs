//! The code of users may panic; ours goes on.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs the code of a user; a panic in it is returned as its text.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // Whatever `run` left half done is dropped by the callers, or said to be suspect where it is kept.
    catch_unwind(AssertUnwindSafe(run)).map_err(text_of)
}

/// The text of a panic.
pub(crate) fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast_ref::<&'static str>() {
        Some(text) => (*text).to_owned(),
        None => payload.downcast_ref::<String>().map_or_else(|| "a payload that is no text".to_owned(), String::clone),
    };
    // A payload may panic when it is dropped; there is nothing left to say about that one.
    drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
    text
}
