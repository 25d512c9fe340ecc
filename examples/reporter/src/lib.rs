//! A process that reports on itself: gathers its numbers on a timer, filters and labels them as a server says, and exports
//! them as cumulative OTLP metrics.

mod buffer;
mod builtin;
mod compare;
mod login;
mod options;
mod own;
mod report;
mod run;
mod settings;
mod sink;

pub use self::{
    buffer::measure,
    compare::compare,
    login::{Login, LoginError},
    options::{HELP, Options, Task, parse},
    report::{Received, Summary},
    run::{RunError, run},
    settings::{Settings, SettingsError},
};
