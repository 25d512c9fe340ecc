/// Records an event in `tracing` at debug: `event!(TARGET, "message", field = value, ..)`.
///
/// The feature is the `tracing` of the calling crate, which depends on the crate `tracing` itself. Without the feature nothing is
/// evaluated and nothing is left of it. A subscriber that panics does not take the caller along; the panic hook has reported it. It
/// is called while no lock is held, since a subscriber may call back.
#[doc(hidden)]
#[macro_export]
macro_rules! event {
    ($target:expr, $message:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        #[cfg(feature = "tracing")]
        let _reported = $crate::panic::catch(|| ::tracing::debug!(target: $target, $($field = $value,)* $message));
        #[cfg(not(feature = "tracing"))]
        let _never_called = || {
            let _unused = $target;
            $(let _unused = &$value;)*
        };
    }};
}

/// Whether a subscriber of `tracing` wants the events of a target at debug: one load, where none does.
#[doc(hidden)]
#[macro_export]
macro_rules! event_enabled {
    ($target:expr) => {{
        #[cfg(feature = "tracing")]
        let enabled = ::tracing::enabled!(target: $target, ::tracing::Level::DEBUG);
        #[cfg(not(feature = "tracing"))]
        let (enabled, _) = (false, $target);
        enabled
    }};
}
