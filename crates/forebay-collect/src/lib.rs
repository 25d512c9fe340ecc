//! What stands in front of a telemetry queue.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod aggregate;
mod guard;
mod rng;
mod schedule;
mod scope;
mod series;
mod source;

pub use self::{
    aggregate::{
        Aggregator, AggregatorBuilder, AggregatorEvent, Emission, End, Fold, FoldFn, Folded, Gathered, Handed, Place,
        Refused, Ticker,
    },
    schedule::Schedule,
    series::{
        Deltas, Histogram, LabelValue, Labels, NotMerged, Number, Pending, Precedence, Reported, Series, Temporality,
        Value,
    },
    source::{Gathering, Source},
};
