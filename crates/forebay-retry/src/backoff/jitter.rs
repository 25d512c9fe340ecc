use forebay_core::ConfigError;
use std::time::Duration;

/// How a delay is drawn around its step.
///
/// The step is what the kind of [`Backoff`](crate::Backoff) says for this retry, cut to the cap: `s` below. Each
/// delay is uniform in one window, and no window reaches above the cap or is empty at it:
///
/// | jitter | window | at the cap `c` |
/// | --- | --- | --- |
/// | `None` | `s` | `c`: no spread, for tests and for single callers |
/// | `Full` | `0 ..= s` | `0 ..= c` |
/// | `Equal` | `s/2 ..= s` | `c/2 ..= c` |
/// | `Proportional(f)` | `s - f·s ..= s + f·s` | `c - f·c ..= c` |
/// | `Additive(d)` | `s ..= s + d` | `c - d ..= c`: the window moves down, and keeps its width |
///
/// `Full` and `Equal` are defined as in [Exponential Backoff And Jitter], which finds that `Full` causes the least
/// work; it is the default.
///
/// [Exponential Backoff And Jitter]: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Jitter {
    /// The step itself, and nothing added to a server's hint. Callers that fail together come back together.
    None,
    /// Anything up to the step.
    #[default]
    Full,
    /// At least half of the step.
    Equal,
    /// Around the step, by this share of it, from 0.0 to 1.0.
    ///
    /// [`Backoff::check`](crate::Backoff::check) refuses every other share, and with it every builder that takes one.
    Proportional(f64),
    /// Above the step, by up to this much.
    Additive(Duration),
}

// === impl Jitter ===

impl Jitter {
    /// Whether it has a share that means something.
    pub(crate) fn check(self) -> Result<(), ConfigError> {
        match self {
            Self::Proportional(share) if !(0.0..=1.0).contains(&share) => {
                Err(ConfigError::new("jitter", share, "a share from 0.0 to 1.0"))
            }
            _ => Ok(()),
        }
    }

    /// The window of a `step` that is not above `cap`, all in nanoseconds.
    pub(crate) fn window(self, step: u64, cap: u64) -> (u64, u64) {
        match self {
            Self::None => (step, step),
            Self::Full => (0, step),
            Self::Equal => (step - step / 2, step),
            Self::Proportional(share) => {
                let reach = super::scale(step, share);
                (step - reach.min(step), step.saturating_add(reach).min(cap))
            }
            Self::Additive(width) => {
                let width = super::nanos(width).min(cap);
                let low = step.min(cap - width);
                (low, low + width)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_windows_are_those_of_the_table() {
        let ns = Duration::from_nanos;
        let window = |jitter: Jitter| (jitter.window(100, 1000), jitter.window(1000, 1000));
        assert_eq!(window(Jitter::None), ((100, 100), (1000, 1000)));
        assert_eq!(window(Jitter::Full), ((0, 100), (0, 1000)));
        assert_eq!(window(Jitter::Equal), ((50, 100), (500, 1000)));
        assert_eq!(window(Jitter::Proportional(0.25)), ((75, 125), (750, 1000)));
        assert_eq!(window(Jitter::Additive(ns(30))), ((100, 130), (970, 1000)));
        assert_eq!(window(Jitter::Additive(ns(5000))), ((0, 1000), (0, 1000)), "wider than the cap");
    }

    #[test]
    fn r09_a_share_that_means_nothing_is_refused_and_makes_no_window_wider() {
        for nonsense in [f64::NAN, -0.1, f64::NEG_INFINITY, 1.1, f64::INFINITY] {
            let jitter = Jitter::Proportional(nonsense);
            assert_eq!(jitter.check().unwrap_err().knob(), "jitter");
            let (low, high) = jitter.window(100, 1000);
            assert!(low <= 100 && (100..=1000).contains(&high), "{nonsense}: {low} to {high}");
        }
        for share in [0.0, 0.5, 1.0] {
            assert_eq!(Jitter::Proportional(share).check(), Ok(()));
        }
    }
}
