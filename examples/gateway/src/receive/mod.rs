//! The receiving side: OTLP/HTTP and OTLP/gRPC on one router, and what is asked about the gateway itself.

mod body;
mod grpc;
mod http;
mod routes;
pub(super) mod status;

pub(super) use self::routes::router;

use super::intake::Intake;
use axum::http::HeaderMap;
use std::sync::Arc;

/// A tenant's name is a key, and a part of every row: it is not a place for a megabyte.
const LONGEST_TENANT: usize = 256;

/// Whose a request is.
fn tenant(intake: &Intake, headers: &HeaderMap) -> Result<Arc<str>, &'static str> {
    let Some(value) = headers.get(&*intake.config.tenant_header) else { return Ok("".into()) };
    match value.to_str() {
        Ok(tenant) if tenant.len() <= LONGEST_TENANT => Ok(tenant.into()),
        _ => Err("the name of the tenant is too long, or not plain ASCII"),
    }
}
