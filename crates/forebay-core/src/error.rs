use std::error::Error;

/// A boxed error, as the rest of the Tower ecosystem spells it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The first `E` in the chain of `error`, `error` itself included.
///
/// Layers that are stacked in any order wrap each other's errors; this finds one whatever stands around it.
///
/// ```
/// use forebay_core::{BoxError, cause_ref};
/// use std::{fmt, io};
///
/// let error: BoxError = io::Error::other(fmt::Error).into();
/// assert!(cause_ref::<fmt::Error>(&*error).is_some());
/// assert!(cause_ref::<std::num::ParseIntError>(&*error).is_none());
/// ```
#[must_use]
pub fn cause_ref<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // `io::Error` and `Box` hand out the source of what they hold, not what they hold.
        if let Some(held) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(found) = cause_ref::<E>(held)
        {
            return Some(found);
        }
        link = error.source();
    }
    None
}

/// Whether an `E` stands anywhere in the chain of `error`, `error` itself included.
#[must_use]
pub fn is_caused_by<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    cause_ref::<E>(error).is_some()
}

/// An error whose chain a classifier can walk: any concrete [`Error`], and a [`BoxError`], which is none itself.
///
/// `Kind` only separates the two implementations; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an error that a classifier can walk",
    note = "implement `std::error::Error` for it, or convert it with `.map_err(BoxError::from)`"
)]
pub trait AsError<Kind> {
    /// The error at the head of the chain.
    fn as_error(&self) -> &(dyn Error + 'static);
}

/// Marks [`AsError`] for a type that is an [`Error`] itself.
#[derive(Debug)]
pub enum Concrete {}

/// Marks [`AsError`] for [`BoxError`].
#[derive(Debug)]
pub enum Boxed {}

// === impl AsError ===

// That the type does not implement `Error` would hide that it can be converted.
#[diagnostic::do_not_recommend]
impl<E: Error + 'static> AsError<Concrete> for E {
    fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl AsError<Boxed> for BoxError {
    fn as_error(&self) -> &(dyn Error + 'static) {
        &**self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fmt, io, num::ParseIntError};

    #[derive(Debug)]
    struct Outer(BoxError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn a_cause_is_found_at_any_depth() {
        let parse = "x".parse::<u8>().unwrap_err();
        let error: BoxError = Outer(Outer(parse.into()).into()).into();
        assert!(is_caused_by::<Outer>(&*error), "the head itself counts");
        assert!(is_caused_by::<ParseIntError>(&*error));
        assert!(!is_caused_by::<fmt::Error>(&*error));
    }

    #[test]
    fn a_cause_inside_an_io_error_is_found() {
        let error: BoxError = Outer(io::Error::other(Outer(fmt::Error.into())).into()).into();
        assert!(is_caused_by::<fmt::Error>(&*error));
        assert!(is_caused_by::<io::Error>(&*error));
    }
}
