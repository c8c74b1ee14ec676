//! The body of a response: [`ResponseBody`], which ends what the request held.
//!
//! ```
//! use http_body_util::{BodyExt, Full};
//! use mesh_router::service::ResponseBody;
//!
//! # async fn read(body: ResponseBody<Full<bytes::Bytes>>) -> Result<bytes::Bytes, std::convert::Infallible> {
//! // It is a `http_body::Body` like the one it wraps, with the same data and errors.
//! let all = body.collect().await?.to_bytes();
//! # Ok(all)
//! # }
//! ```

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::completion::Completion;

pin_project! {
    /// The body of a response: of the upstream, or of a reply made here.
    ///
    /// The request counts as active on its endpoint until this body has ended: when it was empty from the start, said
    /// it has no more, failed, gave a frame after which nothing comes, or was dropped.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
        completion: Option<Completion>,
    }
}

pin_project! {
    #[project = KindProject]
    #[derive(Debug)]
    enum Kind<B> {
        Local { bytes: Option<Bytes> },
        Upstream { #[pin] body: B },
    }
}

impl<B> ResponseBody<B> {
    /// A reply made here.
    pub(super) fn local(bytes: Bytes, completion: Completion) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        // An empty body ends at birth.
        let completion = Some(completion).filter(|_| bytes.is_some());
        Self { kind: Kind::Local { bytes }, completion }
    }
}

impl<B: Body> ResponseBody<B> {
    /// The body of an upstream, whose end ends `completion`.
    pub(super) fn upstream(body: B, completion: Completion) -> Self {
        let completion = if body.is_end_stream() { None } else { Some(completion) };
        Self { kind: Kind::Upstream { body }, completion }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = match this.kind.as_mut().project() {
            KindProject::Local { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into())))),
            KindProject::Upstream { body } => body.poll_frame(cx),
        };
        if let Some(completion) = this.completion {
            let ended = match &frame {
                Poll::Pending => false,
                Poll::Ready(None | Some(Err(_))) => true,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        completion.trailers(trailers);
                    }
                    this.kind.is_end_stream()
                }
            };
            if ended {
                *this.completion = None;
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.kind.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Local { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Upstream { body } => body.size_hint(),
        }
    }
}

impl<B: Body> Kind<B> {
    fn is_end_stream(&self) -> bool {
        match self {
            Kind::Local { bytes } => bytes.is_none(),
            Kind::Upstream { body } => body.is_end_stream(),
        }
    }
}
