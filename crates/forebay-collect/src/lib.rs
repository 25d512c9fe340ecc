//! What stands in front of a telemetry queue.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod rng;
mod schedule;
mod series;
mod source;

pub use self::{
    schedule::Schedule,
    series::{
        Deltas, Histogram, LabelValue, Labels, NotMerged, Number, Pending, Precedence, Reported, Series, Temporality,
        Value,
    },
    source::{Gathering, Source},
};
