//! Events for `tracing`; without the feature there are none.

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::emit_event;
#[cfg(feature = "tracing")]
pub(crate) use self::on::emit_event;

#[cfg(feature = "tracing")]
mod on {
    use crate::{AcquireErrorKind, CloseEnd, RegistryEvent};
    use forebay_core::panic::catch;
    use tracing::debug;

    const TARGET: &str = "forebay_registry";

    /// Called without any lock. Keys are left out, for they may name a tenant, and so are the texts of errors.
    pub(crate) fn emit_event<K, G>(event: &RegistryEvent<'_, K, G>) {
        // A panic of the subscriber ends here: some events are sent while a lease is being dropped.
        let _emitted = catch(|| match event {
            RegistryEvent::Created { generation, took, .. } => {
                debug!(target: TARGET, generation, took_s = took.as_secs_f64(), "client built");
            }
            RegistryEvent::Failed { error, took, .. } => {
                let kind = match error.kind() {
                    AcquireErrorKind::Panicked => "panicked",
                    _ => "failed",
                };
                debug!(target: TARGET, kind, took_s = took.as_secs_f64(), "client not built");
            }
            RegistryEvent::Closed { generation, took, end, .. } => {
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
    use crate::RegistryEvent;

    #[inline(always)]
    pub(crate) fn emit_event<K, G>(_: &RegistryEvent<'_, K, G>) {}
}
