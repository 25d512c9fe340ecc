//! What a user of the encoders and the drop-ins sees, by subject.

mod allocations;
mod collect;
mod http_client;
mod settle;
