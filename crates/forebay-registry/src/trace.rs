//! Events for `tracing`; without the feature there are none.

use crate::{AcquireErrorKind, CloseEnd, RegistryEvent};
use forebay_core::event;

const TARGET: &str = "forebay_registry";

/// Called without any lock. Keys are left out, for they may name a tenant, and so are the texts of errors.
#[inline]
pub(crate) fn emit_event<K, G>(event: &RegistryEvent<'_, K, G>) {
    match event {
        RegistryEvent::Created { generation, took, .. } => {
            event!(TARGET, "client built", generation = generation, took_s = took.as_secs_f64());
        }
        RegistryEvent::Failed { error, took, .. } => {
            let kind = if error.kind() == AcquireErrorKind::Panicked { "panicked" } else { "failed" };
            event!(TARGET, "client not built", kind = kind, took_s = took.as_secs_f64());
        }
        RegistryEvent::Closed { generation, took, end, .. } => {
            let end = match end {
                CloseEnd::Done => "done",
                CloseEnd::Failed(_) => "failed",
                CloseEnd::TimedOut => "timed_out",
                CloseEnd::Panicked(_) => "panicked",
                CloseEnd::Aborted => "aborted",
            };
            event!(TARGET, "client closed", generation = generation, took_s = took.as_secs_f64(), end = end);
        }
        _ => {}
    }
}
