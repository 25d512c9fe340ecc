//! Drop-ins for the OpenTelemetry SDK of Rust.

mod background;
mod builder;
mod encode;
mod logs;
mod origin;
mod pen;
mod spans;
mod values;

pub use self::{
    builder::ProcessorBuilder,
    logs::{ForebayLogProcessor, SdkLog},
    spans::{ForebaySpanProcessor, SdkSpan},
};
