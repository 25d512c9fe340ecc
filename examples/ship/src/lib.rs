//! A log shipper: every line of a file becomes one OTLP log record, and none is lost unseen.

mod input;
mod line;
mod options;
mod progress;
mod receiver;
mod report;
mod run;
mod source;

pub use self::{
    line::{Line, is_urgent},
    options::{HELP, Options, parse},
    report::Summary,
    run::{Ended, run},
    source::{Lines, MAX_LINE},
};
