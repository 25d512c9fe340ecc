//! Panics of user code: caught where they happen, so that they cost one batch, one key or one call, and never the task that
//! serves all others.
//!
//! User code is everything that this family did not write: an inner service and its futures, a classifier, an observer, a
//! weigher, an item's `Drop`, a waker. Its panic is reported by the panic hook before it is caught here.

use std::{
    any::Any,
    borrow::Cow,
    error::Error,
    fmt,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

/// User code panicked; what it said.
///
/// Whether the request was seen is not known, and a retry is not sensible: the same code would most likely panic again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    message: Cow<'static, str>,
}

/// Runs user code; a panic in it is an error.
///
/// The payload of the panic is dropped in here too, since its `Drop` may panic in turn. What `run` left half done is suspect:
/// the caller drops it (with [`discard`], if that may panic as well), or says why it is whole.
///
/// # Errors
///
/// [`Panic`] if `run` panicked.
#[inline]
pub fn catch<R>(run: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(run)).map_err(Panic::of)
}

/// Drops `value`, whose `Drop` is user code: a panic in it is reported by the panic hook, and goes no further.
#[inline]
pub fn discard<T>(value: T) {
    // The value is dropped either way, and the panic hook has reported a panic.
    let _reported = catch(|| drop(value));
}

/// Polls a future of user code, and drops it as soon as it is ready or has panicked, all in one catch.
///
/// `Ready` leaves `None` in `future`. A panic of the future's own `Drop` does not change what it returned. A future that is not
/// there, since it has been ready already, is `Pending`.
pub fn catch_poll<F: Future>(mut future: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<Result<F::Output, Panic>> {
    let Some(running) = future.as_mut().as_pin_mut() else {
        debug_assert!(false, "polled after it was ready");
        return Poll::Pending;
    };
    let output = match catch(|| running.poll(cx)) {
        Ok(polled) => Ok(ready!(polled)),
        Err(panic) => Err(panic),
    };
    discard_pinned(future);
    Poll::Ready(output)
}

/// Drops the future of user code that is in `future`, if there is one, as [`discard`] does.
pub fn discard_pinned<F>(mut future: Pin<&mut Option<F>>) {
    // An assignment writes the new value even where dropping the old one panics, so `None` is in place afterwards.
    let _reported = catch(|| future.set(None));
}

// === impl Panic ===

impl Panic {
    /// How much of a message is kept, in bytes.
    const MAX_MESSAGE: usize = 256;

    /// Takes the message out of a payload, and drops the payload, whose `Drop` may panic as well.
    #[cold]
    fn of(payload: Box<dyn Any + Send>) -> Self {
        let message = if let Some(text) = payload.downcast_ref::<&'static str>() {
            Cow::Borrowed(shortened(text))
        } else if let Some(text) = payload.downcast_ref::<String>() {
            Cow::Owned(shortened(text).to_owned())
        } else {
            Cow::Borrowed("a payload that is no text")
        };
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            #[expect(
                clippy::mem_forget,
                reason = "a payload whose `Drop` panics with such a payload could go on for ever"
            )]
            mem::forget(second);
        }
        Self { message }
    }

    /// What the panic said, cut to 256 bytes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)
    }
}

impl Error for Panic {}

/// The longest prefix of at most [`Panic::MAX_MESSAGE`] bytes.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(Panic::MAX_MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, panic::panic_any, pin::pin, rc::Rc, task::Waker};

    /// Panics when it is dropped, with a payload that does so too.
    struct Bomb(u8);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Self(self.0 - 1));
            }
        }
    }

    struct Running<T> {
        output: Option<T>,
        panics: bool,
        on_drop: Rc<Cell<u32>>,
        bomb: Bomb,
    }

    impl<T> Drop for Running<T> {
        fn drop(&mut self) {
            self.on_drop.set(self.on_drop.get() + 1);
            let _dropped_after_this = &self.bomb;
        }
    }

    impl<T> Unpin for Running<T> {}

    impl<T> Future for Running<T> {
        type Output = T;

        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
            assert!(!self.panics, "the future panicked");
            self.output.take().map_or(Poll::Pending, Poll::Ready)
        }
    }

    #[test]
    fn f18_a_payload_that_panics_when_dropped_is_caught_too() {
        for depth in 0..4 {
            let caught = catch(|| panic_any(Bomb(depth)));
            assert_eq!(caught.unwrap_err().message(), "a payload that is no text");
        }
        assert_eq!(catch(|| panic!("one of {}", 2)).unwrap_err().to_string(), "panicked: one of 2");
        assert_eq!(catch(|| 7), Ok(7));
        discard(Bomb(3));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let long = "ß".repeat(1000);
        let message = catch(|| panic!("x{long}")).unwrap_err();
        assert_eq!(message.message().len(), 255);
    }

    #[test]
    fn f18_a_future_is_dropped_once_and_its_drop_changes_no_output() {
        let cx = &mut Context::from_waker(Waker::noop());
        for (panics, bomb) in [(false, 0), (false, 2), (true, 0), (true, 2)] {
            let on_drop = Rc::new(Cell::new(0));
            let running = Running { output: Some(7), panics, on_drop: Rc::clone(&on_drop), bomb: Bomb(bomb) };
            let mut future = pin!(Some(running));
            let polled = catch_poll(future.as_mut(), cx).map(|output| output.ok());
            assert_eq!(polled, Poll::Ready((!panics).then_some(7)));
            assert!(future.is_none());
            assert_eq!(on_drop.get(), 1);
        }
    }

    #[test]
    fn a_pending_future_stays() {
        let cx = &mut Context::from_waker(Waker::noop());
        let on_drop = Rc::new(Cell::new(0));
        let running = Running::<u8> { output: None, panics: false, on_drop: Rc::clone(&on_drop), bomb: Bomb(1) };
        let mut future = pin!(Some(running));
        assert!(catch_poll(future.as_mut(), cx).is_pending());
        assert!(future.is_some() && on_drop.get() == 0);
        discard_pinned(future.as_mut());
        assert!(future.is_none() && on_drop.get() == 1);
    }
}
