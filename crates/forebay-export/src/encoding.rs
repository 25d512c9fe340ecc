//! Encodes a batch into one request, and settles its items by the response.

use crate::{
    BodyTooLarge, Encode, EndpointFailed, ExportError, Framing, GrpcError, Skipped,
    control::{Control, Target},
    endpoints::Tried,
    meters::Stopwatch,
    telemetry::Telemetry,
};
use bytes::{Bytes, BytesMut};
use forebay_batch::Items;
use forebay_core::{
    BoxError, DropReason, Fate, ItemFate, Settle, Settlement, SplitCause, Verdict, cause_ref, http::StatusError,
};
use forebay_retry::{RetriesExhausted, grpc::Code};
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// Encodes each batch once, into one request that all attempts share.
pub(crate) struct Encoding<E, S> {
    /// The circuit breaker and all below it.
    inner: S,
    /// Shared with the futures, which settle by it.
    encoder: Arc<E>,
    /// The target of the requests, and the kill switch.
    control: Arc<Control>,
    telemetry: Arc<Telemetry>,
    /// The last body. Its memory is used again once its request has ended.
    spare: Bytes,
}

/// A batch as one request.
struct Encoded {
    /// `None` where no item could be encoded.
    request: Option<Request<Full<Bytes>>>,
    skipped: Skipped,
}

pin_project! {
    /// The future of [`Encoding`].
    #[project = ExportingProj]
    pub(crate) enum Exporting<F, E, T> {
        Sent {
            #[pin]
            response: F,
            encoder: Arc<E>,
            telemetry: Arc<Telemetry>,
            took: Stopwatch,
            // The number of items in the body.
            sent: usize,
            skipped: Skipped,
            items: PhantomData<fn(T)>,
        },
        NotSent { result: Option<Result<Settlement, BoxError>> },
    }
}

// === impl Encoding ===

impl<E, S> Encoding<E, S> {
    pub(crate) fn new(inner: S, encoder: Arc<E>, control: Arc<Control>, telemetry: Arc<Telemetry>) -> Self {
        Self { inner, encoder, control, telemetry, spare: Bytes::new() }
    }

    /// The request for `items`.
    fn request<T>(&mut self, items: &[T]) -> Result<Encoded, BoxError>
    where
        E: Encode<T>,
    {
        // The last body is shared as long as its request is under way, and then cannot be used again.
        let mut body = std::mem::take(&mut self.spare).try_into_mut().unwrap_or_default();
        body.clear();
        let target = self.control.target().ok_or("no endpoint is set")?;
        let Target { framing, compression, max_request_bytes, .. } = *target;
        let prefix = framing.begin(&mut body);
        let skipped = self.encoder.encode(items, &mut body)?;
        if skipped.0.len() >= items.len() {
            return Ok(Encoded { request: None, skipped });
        }
        let check = |length: usize| {
            // The share of the items is about that of the bytes.
            let fits = || items.len().saturating_mul(max_request_bytes) / length;
            if length > max_request_bytes { Err(BodyTooLarge::new(max_request_bytes, fits())) } else { Ok(()) }
        };
        // Checked before the compression, because servers bound the decompressed size as well.
        check(body.len())?;
        let packed: Option<BytesMut> = compression.compress(&body, prefix)?;
        let body = match packed {
            Some(mut packed) => {
                self.spare = body.freeze();
                // A body that does not compress grows a little.
                check(packed.len())?;
                framing.end(&mut packed, true);
                packed.freeze()
            }
            None => {
                framing.end(&mut body, false);
                let body = body.freeze();
                self.spare = body.clone();
                body
            }
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&target.uri);
        *request.version_mut() = match framing {
            Framing::Plain => Version::HTTP_11,
            Framing::Grpc { .. } => Version::HTTP_2,
        };
        request.headers_mut().clone_from(&target.headers);
        request.headers_mut().insert(header::CONTENT_TYPE, self.encoder.content_type());
        if target.has_several {
            // The attempts of one export share it.
            request.extensions_mut().insert(Tried::default());
        }
        Ok(Encoded { request: Some(request), skipped })
    }
}

/// A clone shares all but the memory of the last body.
impl<E, S: Clone> Clone for Encoding<E, S> {
    fn clone(&self) -> Self {
        let (control, telemetry) = (Arc::clone(&self.control), Arc::clone(&self.telemetry));
        Self::new(self.inner.clone(), Arc::clone(&self.encoder), control, telemetry)
    }
}

impl<T, E, S> Service<Items<T>> for Encoding<E, S>
where
    E: Encode<T>,
    S: Service<Request<Full<Bytes>>, Response = Response<Bytes>, Error = BoxError>,
{
    type Response = Settlement;
    type Error = BoxError;
    type Future = Exporting<S::Future, E, T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, items: Items<T>) -> Self::Future {
        if !self.control.is_on() {
            // The batch was closed while the exporter was switched off.
            return Exporting::NotSent { result: Some(Ok(Settlement::All(Fate::Dropped(DropReason::Disabled)))) };
        }
        let result = match self.request(&items) {
            Err(error) => {
                let error = ExportError::new(error, items.len(), &*self.encoder);
                self.telemetry.export_failed(&error);
                Err(error.into())
            }
            // CORRECTNESS: the inner service is not called, so it stays ready for the next batch.
            Ok(Encoded { request: None, .. }) => Ok(Settlement::All(Fate::Dropped(DropReason::Encode))),
            Ok(Encoded { request: Some(request), skipped }) => {
                let sent = items.len() - skipped.0.len();
                let took = Stopwatch::start();
                let (response, encoder) = (self.inner.call(request), Arc::clone(&self.encoder));
                let telemetry = Arc::clone(&self.telemetry);
                return Exporting::Sent { response, encoder, telemetry, took, sent, skipped, items: PhantomData };
            }
        };
        Exporting::NotSent { result: Some(result) }
    }
}

// === impl Exporting ===

impl<F, E, T> Future for Exporting<F, E, T>
where
    F: Future<Output = Result<Response<Bytes>, BoxError>>,
    E: Encode<T>,
{
    type Output = Result<Settlement, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // CANCEL: the batcher drops this future when it abandons the batch, and settles the items itself.
        match self.project() {
            ExportingProj::Sent { response, encoder, telemetry, took, sent, skipped, .. } => {
                let settlement = match ready!(response.poll(cx)) {
                    Ok(response) => {
                        telemetry.export_ended(*took, None);
                        let (head, body) = response.into_parts();
                        encoder.settle(&head, &body, *sent)
                    }
                    Err(error) => {
                        let error = ExportError::new(error, *sent, &**encoder);
                        telemetry.export_ended(*took, Some(&error));
                        let error = BoxError::from(error);
                        if skipped.0.is_empty() {
                            return Poll::Ready(Err(error));
                        }
                        // The items that were left out of the body must not be sent again with the others.
                        of_error(&error)
                    }
                };
                Poll::Ready(Ok(with_skipped(settlement, *sent, skipped)))
            }
            ExportingProj::NotSent { result } => {
                Poll::Ready(result.take().unwrap_or_else(|| Err("polled after it was ready".into())))
            }
        }
    }
}

/// The settlement of `sent` items and of the skipped items between them.
pub(crate) fn with_skipped(settlement: Settlement, sent: usize, skipped: &Skipped) -> Settlement {
    if skipped.0.is_empty() {
        return settlement;
    }
    let fate_of: Box<dyn Fn(usize) -> ItemFate> = match settlement {
        Settlement::All(fate) => Box::new(move |_| ItemFate::Final(fate)),
        Settlement::Partial { dropped, reason } => Box::new(move |index| {
            let fate = if index.saturating_add(dropped) >= sent { Fate::Dropped(reason) } else { Fate::Delivered };
            ItemFate::Final(fate)
        }),
        Settlement::Each(fates) => Box::new(move |index| {
            fates.get(index).copied().unwrap_or(ItemFate::Final(Fate::Dropped(DropReason::Failed)))
        }),
        Settlement::Retry { otherwise, .. } | Settlement::Split { otherwise, .. } => {
            Box::new(move |_| ItemFate::Retry(otherwise))
        }
        _ => Box::new(|_| ItemFate::Final(Fate::Dropped(DropReason::Failed))),
    };
    let mut left_out = skipped.0.iter().copied().peekable();
    let mut next = 0;
    let fates = (0..sent + skipped.0.len()).map(|index| {
        if left_out.next_if_eq(&index).is_some() {
            return ItemFate::Final(Fate::Dropped(DropReason::Encode));
        }
        next += 1;
        fate_of(next - 1)
    });
    Settlement::Each(fates.collect())
}

/// Turns a result of [`Encoding`] into fates for the batch layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SettleExport;

impl Settle<Settlement> for SettleExport {
    fn settle(&self, result: &Result<Settlement, BoxError>, _: usize) -> Settlement {
        match result {
            Ok(settlement) => settlement.clone(),
            Err(error) => of_error(error),
        }
    }
}

/// Whether the server refused a request for its content, which says nothing about the health of the server.
pub(crate) fn is_about_items(error: &BoxError) -> bool {
    matches!(of_error(error), Settlement::Split { .. })
}

fn of_error(error: &BoxError) -> Settlement {
    // The retry layer has given up; the batch can wait longer.
    if let Some(exhausted) = cause_ref::<RetriesExhausted>(&**error) {
        let otherwise = Verdict::of(&**error).map_or(DropReason::RetriesExhausted, Verdict::reason);
        return Settlement::Retry { after: exhausted.hint(), otherwise };
    }
    let split = |cause, otherwise| Settlement::Split { cause, otherwise };
    // What one of several endpoints does not take another may take.
    let is_of_one = cause_ref::<EndpointFailed>(&**error).is_some();
    let too_large = if is_of_one { SplitCause::TooLargeForOne } else { SplitCause::TooLarge };
    if cause_ref::<BodyTooLarge>(&**error).is_some() {
        return split(too_large, DropReason::TooLarge);
    }
    if let Some(grpc) = cause_ref::<GrpcError>(&**error) {
        return match grpc.code() {
            _ if grpc.is_too_large() => split(too_large, DropReason::Rejected),
            Code::InvalidArgument => split(SplitCause::BadItem, DropReason::Rejected),
            _ => Settlement::of_error(error),
        };
    }
    match cause_ref::<StatusError>(&**error).map(StatusError::status) {
        Some(StatusCode::PAYLOAD_TOO_LARGE) => split(too_large, DropReason::Rejected),
        Some(StatusCode::BAD_REQUEST) => split(SplitCause::BadItem, DropReason::Rejected),
        _ => Settlement::of_error(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_dropped_and_the_rest_keeps_its_fates() {
        let encode = ItemFate::Final(Fate::Dropped(DropReason::Encode));
        let delivered = ItemFate::Final(Fate::Delivered);
        let rejected = ItemFate::Final(Fate::Dropped(DropReason::Rejected));
        let skipped = Skipped(vec![0, 2]);
        let all = with_skipped(Settlement::All(Fate::Delivered), 3, &skipped);
        assert_eq!(all, Settlement::Each(vec![encode, delivered, encode, delivered, delivered]));
        let partial = Settlement::Partial { dropped: 1, reason: DropReason::Rejected };
        let partial = with_skipped(partial, 3, &skipped);
        assert_eq!(partial, Settlement::Each(vec![encode, delivered, encode, delivered, rejected]));
        let again = Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted };
        let retry = ItemFate::Retry(DropReason::RetriesExhausted);
        assert_eq!(with_skipped(again.clone(), 2, &Skipped(vec![2])), Settlement::Each(vec![retry, retry, encode]));
        assert_eq!(with_skipped(again.clone(), 2, &Skipped::NONE), again);
    }

    #[test]
    fn f26_more_refused_than_were_sent_is_all_of_them() {
        let encode = ItemFate::Final(Fate::Dropped(DropReason::Encode));
        let rejected = ItemFate::Final(Fate::Dropped(DropReason::Rejected));
        for dropped in [2, 3, usize::MAX] {
            let partial = Settlement::Partial { dropped, reason: DropReason::Rejected };
            let fates = with_skipped(partial, 2, &Skipped(vec![1]));
            assert_eq!(fates, Settlement::Each(vec![rejected, encode, rejected]), "{dropped}");
        }
    }

    #[test]
    fn a_batch_that_is_too_large_or_has_a_bad_item_is_cut() {
        let of = |status| {
            let outcome = forebay_core::Outcome::Terminal;
            of_error(&StatusError::new(StatusCode::from_u16(status).unwrap(), outcome).into())
        };
        let split = |cause| Settlement::Split { cause, otherwise: DropReason::Rejected };
        assert_eq!(of(413), split(SplitCause::TooLarge));
        assert_eq!(of(400), split(SplitCause::BadItem));
        assert_eq!(of(404), Settlement::All(Fate::Dropped(DropReason::Rejected)));
        let too_large = of_error(&BodyTooLarge::new(9, 1).into());
        assert_eq!(too_large, Settlement::Split { cause: SplitCause::TooLarge, otherwise: DropReason::TooLarge });
    }
}
