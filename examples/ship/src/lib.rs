//! A log shipper: every line of a file becomes one OTLP log record, and none is lost unseen.

#[cfg(feature = "spool")]
mod durable;
mod input;
mod line;
mod options;
mod progress;
mod receiver;
mod report;
mod run;
mod source;

#[cfg(feature = "spool")]
pub use self::durable::{Spooled, run_durably};
pub use self::{
    line::{Line, is_urgent},
    options::{HELP, Options, parse},
    report::Summary,
    run::{Ended, run},
    source::{Lines, MAX_LINE},
};
