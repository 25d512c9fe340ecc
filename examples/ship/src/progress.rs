use super::input::Source;
use forebay::core::Totals;
use forebay_example_support::usage::Format;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A live bar on a terminal; nothing elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Progress(ProgressBar);

// === impl Progress ===

impl Progress {
    pub(super) fn new(format: Format, inputs: &[Source]) -> Self {
        let length: Option<u64> = inputs.iter().map(Source::len).sum();
        let bar = match (format, length) {
            (Format::Json, _) => return Self(ProgressBar::hidden()),
            (Format::Text, Some(length)) => ProgressBar::new(length),
            (Format::Text, None) => ProgressBar::new_spinner(),
        };
        // It hides itself where standard error is no terminal.
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let template = match length {
            Some(_) => "{wide_bar} {bytes:>10} of {total_bytes} read  {msg}",
            None => "{spinner} {bytes:>10} read  {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(super) fn show(&self, bytes: u64, totals: &Totals) {
        self.0.set_position(bytes);
        let Totals { delivered, pending, .. } = totals;
        self.0.set_message(format!("{delivered} delivered, {pending} under way"));
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
