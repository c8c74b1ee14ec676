//! The body of a request before its first try: [`Unsent`], and [`first_body`], with which that goes.

use std::sync::Arc;

use http_body::Body;

use super::exchange::Exchange;
use super::mirror_body::Tap;
use super::request_body::RequestBody;
use super::upload::Upload;
use super::upload_end::UploadEnd;
use crate::error::BoxError;

/// The body of a request that waits for its first try.
pub(super) enum Unsent<B> {
    /// As it came.
    Whole(B),
    /// It is read ahead, for only so it tells that its client has left.
    Held(Box<Upload<B>>),
}

impl<B> Unsent<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// That of a request which is held back.
    pub(super) fn held(exchange: &Exchange, body: B) -> Self {
        match exchange.listener.is_some() && !body.is_end_stream() {
            true => Self::Held(Box::new(Upload::held(body))),
            false => Self::Whole(body),
        }
    }

    pub(super) fn upload(&self) -> Option<&Upload<B>> {
        match self {
            Self::Whole(_) => None,
            Self::Held(upload) => Some(upload),
        }
    }

    /// The body as it is sent first.
    pub(super) fn first(self, exchange: &mut Exchange) -> (RequestBody<B>, Option<Arc<Upload<B>>>) {
        match self {
            Self::Whole(body) => first_body(exchange, body),
            Self::Held(upload) => {
                let (keeping, taps, end) = readers(exchange, upload.length());
                shared(exchange, upload.share(keeping, taps, end))
            }
        }
    }
}

/// The body as it is sent first, shared if more than that may read it or its end has to be known.
pub(super) fn first_body<B>(exchange: &mut Exchange, body: B) -> (RequestBody<B>, Option<Arc<Upload<B>>>)
where
    B: Body,
    B::Error: Into<BoxError>,
{
    if body.is_end_stream() {
        if exchange.tells_service_time() || !exchange.deadline.is_none() {
            let read_at = exchange.arrived();
            exchange.read_at = exchange.tells_service_time().then_some(read_at);
            exchange.deadline.begin(read_at);
        }
        return (RequestBody::new(body), None);
    }
    let (keeping, taps, end) = readers(exchange, body.size_hint().exact());
    if !keeping && taps.is_empty() && end.is_none() && !exchange.tells_service_time() && exchange.judge().is_none() {
        return (RequestBody::new(body).sized(!exchange.length_removed), None);
    }
    shared(exchange, Upload::new(body, keeping, taps, end))
}

/// Who reads a body, which may have announced its length, beside its first try: whether it is kept for further ones, the
/// copies, and who is told of its end.
fn readers(exchange: &mut Exchange, length: Option<u64>) -> (bool, Vec<Tap>, Option<Arc<UploadEnd>>) {
    let (end, taps) = (exchange.deadline.begin_after_upload(), exchange.copies(length));
    let hedging = exchange.hedge().is_some();
    let end = end.or_else(|| hedging.then(Arc::default));
    (hedging || exchange.retry().is_some(), taps, end)
}

fn shared<B>(exchange: &Exchange, upload: Arc<Upload<B>>) -> (RequestBody<B>, Option<Arc<Upload<B>>>)
where
    B: Body,
    B::Error: Into<BoxError>,
{
    (RequestBody::shared(upload.read()).sized(!exchange.length_removed), Some(upload))
}
