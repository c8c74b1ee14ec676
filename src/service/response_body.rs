//! The body of a response: [`ResponseBody`], which ends what the request held.
//!
//! ```
//! use http_body_util::{BodyExt, Full};
//! use mesh_router::service::ResponseBody;
//!
//! # async fn read(body: ResponseBody<Full<bytes::Bytes>>) -> Result<bytes::Bytes, mesh_router::service::BodyError> {
//! // It is a `http_body::Body` like the one it wraps, with the same data; its errors are the sources of errors.
//! let all = body.collect().await?.to_bytes();
//! # Ok(all)
//! # }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::body_error::BodyError;
use super::completion::Completion;
use super::deadline::ResponseDeadline;
use crate::error::BoxError;

pin_project! {
    /// The body of a response: of the upstream, or of a reply made here.
    ///
    /// The request counts as active on its endpoint until this body has ended: when it was empty from the start, said
    /// it has no more, failed, gave a frame after which nothing comes, or was dropped. If the timeout of the route
    /// passes first, it fails with a [`BodyError`].
    ///
    /// # Panics
    ///
    /// Where it has to wait, and its request has a timeout, outside of a tokio runtime that has time.
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
        Timed { #[pin] body: B, deadline: Box<Timer> },
        Over,
    }
}

/// When the body has to be complete. A timer runs only while the body is waited for.
#[derive(Debug)]
struct Timer {
    deadline: ResponseDeadline,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Whether it has passed, whatever the body has to give.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline.poll(cx).is_some_and(|at| Instant::now() >= at)
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.deadline.poll(cx) else { return false };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx).is_ready()
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

/// An empty one, for an answer that no upstream gave: tonic's interceptors make such.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self { kind: Kind::Over, completion: None }
    }
}

impl<B: Body> ResponseBody<B> {
    /// The body of an upstream, whose end ends `completion`; `awaited` is its head, where a client on a connection of its
    /// own waits for it.
    pub(super) fn upstream(
        body: B,
        mut completion: Completion,
        deadline: Option<ResponseDeadline>,
        awaited: Option<&HeaderMap>,
    ) -> Self {
        if body.is_end_stream() {
            completion.ended();
            return Self { kind: Kind::Upstream { body }, completion: None };
        }
        if let Some(head) = awaited {
            completion.awaited = length(head, &body);
        }
        let kind = match deadline {
            None => Kind::Upstream { body },
            Some(deadline) => Kind::Timed { body, deadline: Box::new(Timer { deadline, sleep: None }) },
        };
        Self { kind, completion: Some(completion) }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BodyError>>> {
        let mut this = self.project();
        let frame = match this.kind.as_mut().project() {
            KindProject::Local { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into())))),
            KindProject::Upstream { body } => inner(body.poll_frame(cx)),
            KindProject::Timed { body, deadline } => match deadline.is_over(cx) {
                true => Poll::Ready(Some(Err(BodyError::timeout()))),
                false => match inner(body.poll_frame(cx)) {
                    Poll::Pending if deadline.poll_expired(cx) => Poll::Ready(Some(Err(BodyError::timeout()))),
                    frame => frame,
                },
            },
            KindProject::Over => Poll::Ready(None),
        };
        match &frame {
            Poll::Pending => {}
            Poll::Ready(Some(Err(error))) => {
                if let Some(completion) = this.completion.take() {
                    completion.broke_off(error);
                }
                // The upstream is let go at once, whatever its body still had.
                this.kind.set(Kind::Over);
            }
            Poll::Ready(Some(Ok(frame))) => {
                let trailers = frame.trailers_ref();
                if let Some((completion, trailers)) = this.completion.as_mut().zip(trailers) {
                    completion.trailers(trailers);
                }
                // Nothing comes after trailers.
                if trailers.is_some() || this.kind.is_end_stream() {
                    end(this.completion);
                } else if let Some((completion, data)) = this.completion.as_mut().zip(frame.data_ref()) {
                    completion.came(data.remaining());
                }
            }
            Poll::Ready(None) => end(this.completion),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.kind.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.kind.size_hint()
    }
}

/// How many bytes of a body whoever sends it behind this head may ask for: HTTP/1.1 is over with the last of them.
fn length(head: &HeaderMap, body: &impl Body) -> u64 {
    let said = || head.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    body.size_hint().exact().or_else(said).unwrap_or(Completion::UNTOLD)
}

fn end(completion: &mut Option<Completion>) {
    if let Some(completion) = completion.take() {
        completion.ended();
    }
}

fn inner<D, E: Into<BoxError>>(frame: Poll<Option<Result<Frame<D>, E>>>) -> Poll<Option<Result<Frame<D>, BodyError>>> {
    frame.map(|frame| frame.map(|frame| frame.map_err(BodyError::new)))
}

impl<B: Body> Kind<B> {
    fn is_end_stream(&self) -> bool {
        match self {
            Kind::Local { bytes } => bytes.is_none(),
            Kind::Upstream { body } | Kind::Timed { body, .. } => body.is_end_stream(),
            Kind::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Kind::Local { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Upstream { body } | Kind::Timed { body, .. } => body.size_hint(),
            Kind::Over => SizeHint::with_exact(0),
        }
    }
}
