#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod builder_ext;

#[cfg(feature = "retry")]
#[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
pub use self::builder_ext::AnyRetry;
pub use self::builder_ext::{ServiceBuilderExt, Stacked};
pub use forebay_core as core;
/// When a request is worth nothing any more: every layer reads it.
pub use forebay_core::Deadline;

#[cfg(feature = "batch")]
#[cfg_attr(docsrs, doc(cfg(feature = "batch")))]
#[doc(inline)]
pub use forebay_batch as batch;
#[cfg(feature = "breaker")]
#[cfg_attr(docsrs, doc(cfg(feature = "breaker")))]
#[doc(inline)]
pub use forebay_breaker as breaker;
#[cfg(feature = "cached")]
#[cfg_attr(docsrs, doc(cfg(feature = "cached")))]
#[doc(inline)]
pub use forebay_cached as cached;
#[cfg(feature = "collect")]
#[cfg_attr(docsrs, doc(cfg(feature = "collect")))]
#[doc(inline)]
pub use forebay_collect as collect;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
#[doc(inline)]
pub use forebay_core::http;
#[cfg(feature = "limit")]
#[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
#[doc(inline)]
pub use forebay_core::limit;
#[cfg(feature = "databricks")]
#[cfg_attr(docsrs, doc(cfg(feature = "databricks")))]
#[doc(inline)]
pub use forebay_databricks as databricks;
#[cfg(feature = "export")]
#[cfg_attr(docsrs, doc(cfg(feature = "export")))]
#[doc(inline)]
pub use forebay_export as export;
#[cfg(feature = "kip714")]
#[cfg_attr(docsrs, doc(cfg(feature = "kip714")))]
#[doc(inline)]
pub use forebay_kip714 as kip714;
#[cfg(feature = "otlp")]
#[cfg_attr(docsrs, doc(cfg(feature = "otlp")))]
#[doc(inline)]
pub use forebay_otlp as otlp;
#[cfg(feature = "queue")]
#[cfg_attr(docsrs, doc(cfg(feature = "queue")))]
#[doc(inline)]
pub use forebay_queue as queue;
#[cfg(feature = "registry")]
#[cfg_attr(docsrs, doc(cfg(feature = "registry")))]
#[doc(inline)]
pub use forebay_registry as registry;
#[cfg(feature = "retry")]
#[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
#[doc(inline)]
pub use forebay_retry as retry;

/// The examples of the repository's own README.
#[cfg(all(doctest, feature = "http", feature = "otlp"))]
#[doc = include_str!("../../../README.md")]
#[derive(Debug)]
pub struct Readme;
