//! How requests are sent again, and the types that a layer is made of.

use crate::{Attempt, Deadline, GaveUp, StopReason};
use forebay_core::Seen;

pub use crate::throttle::{Gate, Keyed};

/// What a retry layer has to know about a type of request: how to send it again, first of all.
///
/// | implementation | requests | is set with |
/// | --- | --- | --- |
/// | [`Cloned`] | any that are `Clone` | nothing: the default |
/// | any `Fn(&Req) -> Option<Req>` | what the function can copy, e.g. `reqwest::Request::try_clone` | [`policy`](crate::RetryBuilder::policy) |
/// | `HttpPolicy` | `http::Request<B>`, feature `http` | `RetryLayer::http` |
/// | your own | | [`policy`](crate::RetryBuilder::policy) |
///
/// Only [`copy`](Self::copy) has no default. Nothing here may block, and nothing should panic.
///
/// ```
/// use forebay_retry::{Deadline, Policy};
///
/// struct Job { rows: Vec<u64>, deadline: Option<Deadline> }
/// struct Report { refused: Vec<u64> }
///
/// #[derive(Clone)]
/// struct Jobs;
///
/// impl<Err> Policy<Job, Report, Err> for Jobs {
///     fn copy(&self, job: &Job) -> Option<Job> {
///         Some(Job { rows: job.rows.clone(), deadline: job.deadline })
///     }
///
///     fn deadline(&self, job: &Job) -> Option<Deadline> {
///         job.deadline
///     }
///
///     /// Only what was refused is sent again.
///     fn narrow(&self, job: &mut Job, result: &Result<Report, Err>) -> bool {
///         if let Ok(report) = result {
///             job.rows.retain(|row| report.refused.contains(row));
///         }
///         !job.rows.is_empty()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not know how to send a `{Req}` again",
    note = "make the request `Clone`, or pass `.policy(|request: &{Req}| -> Option<{Req}> ..)`",
    note = "an `http::Request` is sent again where its body is `Clone`, as `http_body_util::Full` is; for other bodies there are \
            `.replay_body()` below a `ReplayLayer`, and `.copy_body(..)`"
)]
pub trait Policy<Req, Res, Err> {
    /// A copy of `request` for the attempt after this one, or `None` if there cannot be one.
    ///
    /// It is called before each attempt but the last. The request goes out all the same; if it then fails in a way that
    /// may pass, the failure says [`BodyNotReplayable`](crate::StopReason::BodyNotReplayable). The copy must carry the same
    /// bytes and ids.
    fn copy(&self, request: &Req) -> Option<Req>;

    /// Marks `request` before it is copied for the first time, so that all attempts carry the mark: an id, say.
    #[inline]
    fn begin(&self, _request: &mut Req) {}

    /// Marks the `request` of one attempt, before it is sent. It is not called for the first attempt.
    #[inline]
    fn stamp(&self, _request: &mut Req, _attempt: Attempt) {}

    /// When `request` is worth nothing any more. A retry that could only begin later is not made: the verdict of the error
    /// that ends the attempts then has the reason [`Expired`](forebay_core::DropReason::Expired).
    #[inline]
    fn deadline(&self, _request: &Req) -> Option<Deadline> {
        None
    }

    /// Cuts `request` down to what `result`, which is retryable, has not settled.
    ///
    /// `false` means that nothing is left to send: the result is then returned as it is.
    #[inline]
    fn narrow(&self, _request: &mut Req, _result: &Result<Res, Err>) -> bool {
        true
    }

    /// Why `request` must not be sent again after a retryable result, if it must not.
    ///
    /// `result` is the response, or whether the server may have seen the request that ended with an error. `HttpPolicy`
    /// gives [`NotIdempotent`](StopReason::NotIdempotent) here.
    #[inline]
    fn obstacle(&self, _request: &Req, _result: Result<&Res, Seen>) -> Option<StopReason> {
        None
    }

    /// What a retry after `result` costs the [`Budget`](crate::Budget); 1.0 is the plain price.
    #[inline]
    fn cost(&self, _result: &Result<Res, Err>) -> f64 {
        1.0
    }

    /// Marks a `response` that was retryable, and that no more attempt is made for.
    #[inline]
    fn give_up(&self, _response: &mut Res, _gave_up: GaveUp) {}

    /// Whether `response` carries that mark already, from a retry layer further in.
    #[inline]
    fn is_given_up(&self, _response: &Res) -> bool {
        false
    }
}

/// The policy for requests that are `Clone`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cloned;

/// A policy that cuts requests down with a function: [`RetryBuilder::narrow`](crate::RetryBuilder::narrow).
#[derive(Clone, Copy, Debug)]
pub struct Narrowing<P, F> {
    pub(crate) policy: P,
    pub(crate) narrow: F,
}

/// A policy that prices retries with a function: [`RetryBuilder::cost`](crate::RetryBuilder::cost).
#[derive(Clone, Copy, Debug)]
pub struct Priced<P, F> {
    pub(crate) policy: P,
    pub(crate) cost: F,
}

// === impl Policy ===

impl<Req: Clone, Res, Err> Policy<Req, Res, Err> for Cloned {
    #[inline]
    fn copy(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

impl<Req, Res, Err, F: Fn(&Req) -> Option<Req>> Policy<Req, Res, Err> for F {
    #[inline]
    fn copy(&self, request: &Req) -> Option<Req> {
        self(request)
    }
}

/// What a policy with a function around it leaves to the policy inside.
macro_rules! ask_inside {
    () => {
        #[inline]
        fn copy(&self, request: &Req) -> Option<Req> {
            self.policy.copy(request)
        }

        #[inline]
        fn begin(&self, request: &mut Req) {
            self.policy.begin(request);
        }

        #[inline]
        fn stamp(&self, request: &mut Req, attempt: Attempt) {
            self.policy.stamp(request, attempt);
        }

        #[inline]
        fn deadline(&self, request: &Req) -> Option<Deadline> {
            self.policy.deadline(request)
        }

        #[inline]
        fn obstacle(&self, request: &Req, result: Result<&Res, Seen>) -> Option<StopReason> {
            self.policy.obstacle(request, result)
        }

        #[inline]
        fn give_up(&self, response: &mut Res, gave_up: GaveUp) {
            self.policy.give_up(response, gave_up);
        }

        #[inline]
        fn is_given_up(&self, response: &Res) -> bool {
            self.policy.is_given_up(response)
        }
    };
}

impl<Req, Res, Err, P, F> Policy<Req, Res, Err> for Narrowing<P, F>
where
    P: Policy<Req, Res, Err>,
    F: Fn(&mut Req, &Result<Res, Err>) -> bool,
{
    ask_inside!();

    #[inline]
    fn narrow(&self, request: &mut Req, result: &Result<Res, Err>) -> bool {
        // The policy inside narrows as well: both may take something away.
        self.policy.narrow(request, result) && (self.narrow)(request, result)
    }

    #[inline]
    fn cost(&self, result: &Result<Res, Err>) -> f64 {
        self.policy.cost(result)
    }
}

impl<Req, Res, Err, P, F> Policy<Req, Res, Err> for Priced<P, F>
where
    P: Policy<Req, Res, Err>,
    F: Fn(&Result<Res, Err>) -> f64,
{
    ask_inside!();

    #[inline]
    fn narrow(&self, request: &mut Req, result: &Result<Res, Err>) -> bool {
        self.policy.narrow(request, result)
    }

    #[inline]
    fn cost(&self, result: &Result<Res, Err>) -> f64 {
        (self.cost)(result)
    }
}
