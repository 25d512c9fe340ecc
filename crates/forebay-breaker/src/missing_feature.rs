//! The presets in a build without their feature: the compile error names the feature.
//!
//! Of a method that is configured out the compiler says only that it is not found. These exist instead, and cannot be called.

use crate::{BreakerBuilder, BreakerLayer};
use forebay_core::{ByError, Unkeyed};
use std::marker::PhantomData;

/// Does not implement the trait below. The lifetime keeps the compiler from rejecting the bounds where they are written.
#[doc(hidden)]
#[derive(Debug)]
pub struct MissingFeature<'a>(PhantomData<&'a ()>);

#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`BreakerLayer::http` needs the feature `http` of `forebay-breaker`, or of `forebay`",
    label = "the feature is off",
    note = "in `Cargo.toml`: `features = [\"http\"]`; `BreakerLayer::http_telemetry` needs it too"
)]
pub trait HasHttp {
    fn preset() -> BreakerBuilder;
}

// === impl BreakerLayer ===

impl BreakerLayer<(), Unkeyed, ByError> {
    #[doc(hidden)]
    pub fn http<'a>() -> BreakerBuilder
    where
        MissingFeature<'a>: HasHttp,
    {
        MissingFeature::preset()
    }

    #[doc(hidden)]
    pub fn http_telemetry<'a>() -> BreakerBuilder
    where
        MissingFeature<'a>: HasHttp,
    {
        MissingFeature::preset()
    }
}
