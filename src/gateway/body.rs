//! The bodies of an exchange: [`InboundBody`] from the client, [`OutboundBody`] to it.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::grpc_web::{Answer, Decoder};
use super::idle::Busy;
use crate::error::BoxError;

/// The body of a request as it comes from the client.
///
/// Trailers of HTTP/1.1 are dropped, as Envoy does. A body that breaks its framing marks the connection, so that the
/// request is answered with 400. One that nobody reads to its end, for its request was answered early, is read on and
/// forgotten: a client that is still sending would find its connection reset and never see the answer.
#[derive(Debug)]
pub(super) struct InboundBody {
    body: Option<Incoming>,
    trailers: bool,
    /// Whether the client sends without being asked to, or has nothing to send.
    comes_unasked: bool,
    /// Reads it, if it is one of gRPC-Web.
    decoder: Option<Box<Decoder>>,
    busy: Busy,
}

/// How long a body is read that nobody wants.
const UNWANTED: Duration = Duration::from_secs(30);

impl InboundBody {
    /// The body of a request; `comes_unasked`: it has no `Expect: 100-continue`.
    pub(super) fn new(body: Incoming, http2: bool, comes_unasked: bool, busy: Busy) -> Self {
        Self { body: Some(body), trailers: http2, comes_unasked, decoder: None, busy }
    }

    /// Has it read by `decoder`.
    pub(super) fn decoded(mut self, decoder: Option<Box<Decoder>>) -> Self {
        self.decoder = decoder;
        self
    }
}

impl Drop for InboundBody {
    fn drop(&mut self) {
        // HTTP/2 resets one stream and not the connection.
        let Some(mut body) =
            self.body.take().filter(|body| self.comes_unasked && !self.trailers && !body.is_end_stream())
        else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let busy = self.busy.clone();
        runtime.spawn(async move {
            let read = async { while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {} };
            drop(tokio::time::timeout(UNWANTED, read).await);
            drop(busy);
        });
    }
}

impl Body for InboundBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let frame = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => Some(frame).filter(|frame| self.trailers || !frame.is_trailers()),
                Some(Err(error)) => {
                    self.busy.mark_broken();
                    self.body = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    self.body = None;
                    None
                }
            };
            let Some(decoder) = &mut self.decoder else { return Poll::Ready(frame.map(Ok)) };
            match decoder.frame(frame) {
                // A part of a group says nothing yet.
                Ok(Some(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Ok(frame) => return Poll::Ready(frame.map(Ok)),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let read = self.decoder.as_ref().is_none_or(|decoder| decoder.is_at_end());
        read && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.decoder.is_some() {
            return SizeHint::default();
        }
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

pin_project! {
    /// The body of a response on its way to the client: nothing, or what the service gave.
    ///
    /// An error waits for one turn, in which hyper writes what came before it: the client is to see how far it came. It
    /// says nothing of its cause: hyper would give the stream the code that an endpoint's stream ended with, where Envoy
    /// says `INTERNAL_ERROR`.
    #[derive(Debug)]
    pub(super) struct OutboundBody<B> {
        #[pin]
        body: Option<B>,
        // Said instead of a body.
        words: &'static str,
        failed: bool,
        trailers: bool,
        busy: Option<Busy>,
        // Whether it tells its size: hyper would add that to a head that says no length, or another body's.
        sized: bool,
        // Whether the head tells of another body's length: hyper drops that where it knows that there is none.
        tells_length: bool,
        // Writes it as gRPC-Web.
        web: Option<Answer>,
    }
}

/// A part of a response. Its request is not over before it is written, which in HTTP/2 may be long after the body has
/// ended: the client says how much it takes.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Bytes,
    _busy: Option<Busy>,
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

/// The body of a response broke off.
#[derive(Debug, thiserror::Error)]
#[error("the body of the response broke off")]
pub(super) struct BrokenOff;

impl<B> OutboundBody<B> {
    pub(super) fn empty() -> Self {
        Self::words("")
    }

    pub(super) fn words(words: &'static str) -> Self {
        let (trailers, sized, tells_length) = (false, true, false);
        Self { body: None, words, failed: false, trailers, busy: None, sized, tells_length, web: None }
    }

    /// That of `response`, which tells its size only if the head does: a rule may have taken that out.
    pub(super) fn of(response: Response<B>, trailers: bool, busy: Option<Busy>) -> Response<Self> {
        let sized = response.headers().contains_key(CONTENT_LENGTH);
        response.map(|body| Self { body: Some(body), trailers, busy, sized, ..Self::empty() })
    }

    /// Lets the head tell of another body's length.
    pub(super) fn telling_length(self, tells_length: bool) -> Self {
        Self { tells_length, sized: self.sized && !tells_length, ..self }
    }

    /// Has it written by `web`.
    pub(super) fn translated(self, web: Option<Answer>) -> Self {
        Self { sized: self.sized && web.is_none(), web, ..self }
    }
}

impl<B> Body for OutboundBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Part;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Part>, BrokenOff>>> {
        let this = self.project();
        let part = |bytes| Part { bytes, _busy: this.busy.clone() };
        let Some(body) = this.body.as_pin_mut() else {
            let words = std::mem::take(this.words).as_bytes();
            return Poll::Ready((!words.is_empty()).then(|| Ok(Frame::data(part(Bytes::from_static(words))))));
        };
        if *this.failed {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        Poll::Ready(match ready!(body.poll_frame(cx)) {
            Some(Ok(frame)) => {
                let frame = match this.web {
                    Some(web) => Some(web.encode(frame)),
                    None => Some(frame).filter(|frame| *this.trailers || !frame.is_trailers()),
                };
                frame.map(|frame| Ok(frame.map_data(part)))
            }
            Some(Err(_)) => {
                *this.failed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.tells_length && self.body.as_ref().map_or(self.words.is_empty(), Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(self.words.len() as u64), Body::size_hint)
    }
}
