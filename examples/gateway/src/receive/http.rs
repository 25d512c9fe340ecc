//! OTLP/HTTP.

use super::{
    body::{Encoding, Request, Wrong},
    status, tenant,
};
use crate::{
    clock::unix_nanos,
    intake::{Admission, Intake},
};
use axum::{
    body::Body,
    http::{HeaderMap, Response, StatusCode, header},
};
use forebay::{core::DropReason, otlp::Signal, queue::Rejected};

/// Responds to one export request.
pub(super) async fn export(intake: &Intake, signal: Signal, headers: HeaderMap, body: Body) -> Response<Body> {
    let Some(encoding) = Encoding::of(&headers) else {
        intake.meters.malformed();
        let message = "content types that are understood: application/x-protobuf, application/json";
        return status::failed(StatusCode::UNSUPPORTED_MEDIA_TYPE, Encoding::Protobuf, message);
    };
    let received = unix_nanos();
    let read = async {
        let tenant = tenant(intake, &headers).map_err(|why| Wrong::new(StatusCode::BAD_REQUEST, why))?;
        let (max, look) = (intake.config.max_body, intake.look());
        Ok((tenant, Request::read((signal, encoding), &headers, body, max, look).await?))
    };
    match read.await {
        Ok((tenant, Request { body, facts, refused, why })) => {
            intake.meters.unreadable(refused);
            let admission = intake.take(signal, tenant, body, facts, received).await.without(refused, &why);
            respond(intake, signal, encoding, admission)
        }
        Err(Wrong { status, message }) => {
            intake.meters.malformed();
            status::failed(status, encoding, &message)
        }
    }
}

fn respond(intake: &Intake, signal: Signal, encoding: Encoding, admission: Admission) -> Response<Body> {
    match admission {
        Admission::Accepted => status::taken(signal, encoding, 0, ""),
        Admission::Partial { rejected, why } => status::taken(signal, encoding, rejected, &why),
        Admission::Refused(refused) => refuse(intake, encoding, &refused, &refused.to_string()),
        // Not stored here and now: as good as switched off.
        Admission::NotStored(why) => refuse(intake, encoding, &Rejected::new((), DropReason::Disabled), &why),
    }
}

fn refuse(intake: &Intake, encoding: Encoding, refused: &Rejected<()>, why: &str) -> Response<Body> {
    let head: Response<()> = refused.http_response(intake.config.retry_after);
    if head.headers().contains_key(header::RETRY_AFTER) {
        intake.meters.throttled("http");
    }
    let mut response = status::failed(head.status(), encoding, why);
    response.headers_mut().extend(head.into_parts().0.headers);
    response
}
