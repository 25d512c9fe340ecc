//! The presets in a build without their feature: the compile error names the feature.
//!
//! Of a method that is configured out the compiler says only that it is not found. These exist instead, and cannot be called.

use crate::RetryLayer;
use forebay_core::ByError;
use std::marker::PhantomData;

/// Implements none of the traits below. The lifetime keeps the compiler from rejecting the bounds where they are written.
#[doc(hidden)]
#[derive(Debug)]
pub struct MissingFeature<'a>(PhantomData<&'a ()>);

#[cfg(not(feature = "http"))]
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`RetryLayer::http` needs the feature `http` of `forebay-retry`, or of `forebay`",
    label = "the feature is off",
    note = "in `Cargo.toml`: `features = [\"http\"]`"
)]
pub trait HasHttp {
    fn preset<L>() -> L;
}

#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`RetryLayer::grpc` needs the feature `grpc` of `forebay-retry`, or of `forebay`",
    label = "the feature is off",
    note = "in `Cargo.toml`: `features = [\"grpc\"]`"
)]
pub trait HasGrpc {
    fn preset<L>() -> L;
}

// === impl RetryLayer ===

impl<Kind> RetryLayer<ByError<Kind>> {
    #[cfg(not(feature = "http"))]
    #[doc(hidden)]
    #[must_use]
    pub fn http<'a>() -> Self
    where
        MissingFeature<'a>: HasHttp,
    {
        MissingFeature::preset()
    }

    #[doc(hidden)]
    #[must_use]
    pub fn grpc<'a>() -> Self
    where
        MissingFeature<'a>: HasGrpc,
    {
        MissingFeature::preset()
    }
}
