use std::time::Duration;

/// How the worker treats the results of the inner service.
#[derive(Clone, Debug)]
pub(crate) struct Delivery<Se, P, An, B> {
    pub(crate) settle: Se,
    pub(crate) pack: P,
    pub(crate) answer: An,
    /// Where a batch waits that came back retryable; `None` drops it.
    pub(crate) park: Option<Parking<B>>,
    /// How many requests may be spent on a batch that has to be cut; below 2 it is never cut.
    pub(crate) split_budget: u32,
    pub(crate) ready_timeout: Duration,
    /// The longest that a server's hint may hold a partition.
    pub(crate) max_hint: Duration,
}

/// Where a batch waits that came back retryable.
#[derive(Clone, Debug)]
pub(crate) struct Parking<B> {
    /// A fresh backoff for each partition that gets into trouble.
    pub(crate) backoff: B,
    /// The most bytes that may wait for another attempt.
    pub(crate) max_bytes: usize,
}
