//! What a caller of the queue layer sees, by subject.

mod adaptive;
mod budget;
mod cancel;
mod cancelled;
mod channel;
mod deadline;
mod drain;
mod durations;
mod laws;
mod panics;
mod park;
mod queue;
mod shared;
mod shed;
mod wakers;
