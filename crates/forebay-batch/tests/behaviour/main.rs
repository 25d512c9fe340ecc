//! What a caller of the batch layer sees, by subject.

mod adaptive;
mod batch;
mod brownout;
mod budget;
mod cancel;
mod cancelled;
mod deadline;
mod durations;
mod laws;
mod recovery;
mod spool;
mod support;
mod waiting;
