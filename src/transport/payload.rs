//! What is sent as a stream of HTTP/2: a request body, and with it its share of the stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

use super::Upload;
use super::streams::{Half, Shared, Stream};
use crate::service::RequestBody;

/// A request body as hyper's HTTP/2 wants it: it need not stay in place.
pub(super) enum Payload<B> {
    Ended,
    Open {
        body: Pin<Box<RequestBody<B>>>,
        /// What it shares with the answer.
        stream: Option<Arc<Shared>>,
    },
}

impl<B: Upload> Payload<B> {
    pub(super) fn new(body: RequestBody<B>) -> Self {
        if body.is_end_stream() { Payload::Ended } else { Payload::Open { body: Box::pin(body), stream: None } }
    }

    /// Takes its share of the stream that it is sent on; what is returned is that of the answer.
    pub(super) fn share(&mut self, whole: Stream) -> Half {
        match self {
            Payload::Ended => Half::Whole(whole),
            Payload::Open { stream, .. } => Half::Shared(stream.insert(Shared::new(whole)).clone()),
        }
    }
}

impl<B: Upload> Body for Payload<B> {
    type Data = <RequestBody<B> as Body>::Data;
    type Error = <RequestBody<B> as Body>::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Payload::Ended => Poll::Ready(None),
            Payload::Open { body, stream } => {
                if let Some(stream) = stream {
                    stream.begin();
                }
                body.as_mut().poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Ended => true,
            Payload::Open { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // hyper would say `content-length: 0` of a POST, which nobody has said so far: the stream says it.
            Payload::Ended => SizeHint::default(),
            Payload::Open { body, .. } => body.size_hint(),
        }
    }
}
