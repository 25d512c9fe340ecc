//! Keys that mean the same are the same.

mod endpoint;
mod identity;

pub use self::{
    endpoint::{EndpointError, EndpointKey, Endpoints, EndpointsBuilder},
    identity::Identity,
};
