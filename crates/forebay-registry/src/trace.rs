//! What is told to `tracing`; without the feature nothing is.

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::tell;
#[cfg(feature = "tracing")]
pub(crate) use self::on::tell;

#[cfg(feature = "tracing")]
mod on {
    use crate::{AcquireErrorKind, CloseEnd, Event, panics::guarded};
    use tracing::debug;

    const TARGET: &str = "forebay_registry";

    /// Called without any lock. Keys are not told, for they may name a tenant; nor are the texts of errors.
    pub(crate) fn tell<K, G>(event: &Event<'_, K, G>) {
        // A subscriber that panics is not allowed to take the host along.
        let _told = guarded(|| match event {
            Event::Created { generation, took, .. } => {
                debug!(target: TARGET, generation, took_s = took.as_secs_f64(), "client built");
            }
            Event::Failed { error, took, .. } => {
                let kind = match error.kind() {
                    AcquireErrorKind::Panicked => "panicked",
                    _ => "failed",
                };
                debug!(target: TARGET, kind, took_s = took.as_secs_f64(), "client not built");
            }
            Event::Closed { generation, took, end, .. } => {
                let end = match end {
                    CloseEnd::Done => "done",
                    CloseEnd::Failed(_) => "failed",
                    CloseEnd::TimedOut => "timed_out",
                    CloseEnd::Panicked(_) => "panicked",
                    CloseEnd::Aborted => "aborted",
                };
                debug!(target: TARGET, generation, took_s = took.as_secs_f64(), end, "client closed");
            }
            _ => {}
        });
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::Event;

    #[inline(always)]
    pub(crate) fn tell<K, G>(_: &Event<'_, K, G>) {}
}
