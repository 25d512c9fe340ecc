//! The code of users may panic; ours goes on.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Runs the code of a user; a panic in it is returned as its text.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    // Whatever `run` left half done is dropped by the callers and never looked at again.
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let text = text_of(&*payload);
        // A payload may panic when it is dropped; there is nothing left to say about that one.
        drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
        text
    })
}

fn text_of(payload: &(dyn Any + Send)) -> Arc<str> {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        Arc::from(*text)
    } else if let Some(text) = payload.downcast_ref::<String>() {
        Arc::from(text.as_str())
    } else {
        Arc::from("a payload that is no text")
    }
}
