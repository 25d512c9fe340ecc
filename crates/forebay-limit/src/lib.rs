#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]
//! draft

mod adaptive;
mod limiter;
mod window;

pub use self::{
    adaptive::{Adaptive, AdaptiveBuilder},
    limiter::{Limiter, Sample},
};
