//! The body of a response, and the connection that it arrives on.

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::Upload;
use super::failure;
use super::line::{Lease, Line};
use super::streams::Stream;
use crate::outcome::FailureError;
use crate::service::Admission;

/// The body of a response that [`Transport`](super::Transport) received.
///
/// It holds its connection, and gives it back when the body is at its end: at once if there is none, else with the
/// last frame, as far as that is known to be the last, or with the `None` after it. Dropped earlier, or after an
/// error, it closes the connection (HTTP/1.1) or resets the stream (HTTP/2).
///
/// Its errors say which [`Failure`](crate::outcome::Failure) they are, with hyper's as their source.
pub struct TransportBody {
    body: Incoming,
    held: Held,
    /// Given back before the connection: whoever gets that may be in need of it.
    admission: Admission,
}

enum Held {
    Nothing,
    /// The lock is never taken: it makes the body `Sync`, which boxed bodies often have to be.
    Line(Mutex<Pin<Box<dyn Lease>>>),
    /// Counted until it is dropped.
    #[expect(dead_code, reason = "it is there to be dropped")]
    Stream(Stream),
}

impl TransportBody {
    /// A body whose connection is not coming back.
    pub(super) fn unbound(body: Incoming) -> Self {
        Self { body, held: Held::Nothing, admission: Admission::default() }
    }

    pub(super) fn leased<B: Upload>(body: Incoming, line: Line<B>, admission: Admission) -> Self {
        if body.is_end_stream() {
            admission.release();
            line.give_back();
            return Self::unbound(body);
        }
        Self { body, held: Held::Line(Mutex::new(line)), admission }
    }

    pub(super) fn stream(body: Incoming, stream: Stream, admission: Admission) -> Self {
        if body.is_end_stream() {
            admission.release();
            return Self::unbound(body);
        }
        Self { body, held: Held::Stream(stream), admission }
    }

    fn give_back(&mut self) {
        self.admission.release();
        if let Held::Line(line) = std::mem::replace(&mut self.held, Held::Nothing) {
            line.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).give_back();
        }
    }
}

impl Drop for TransportBody {
    fn drop(&mut self) {
        self.admission.release();
    }
}

impl Body for TransportBody {
    type Data = Bytes;
    type Error = FailureError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FailureError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            // hyper takes a reset without an error for the end, which only the other side can say.
            None if matches!(self.held, Held::Stream(_)) && !self.body.is_end_stream() => {
                self.held = Held::Nothing;
                return Poll::Ready(Some(Err(failure::of_cut_body())));
            }
            // Nothing follows trailers, and many readers do not ask.
            Some(Ok(frame)) if !frame.is_trailers() && !self.body.is_end_stream() => {}
            Some(Ok(_)) | None => self.give_back(),
            Some(Err(_)) => self.held = Held::Nothing,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(failure::of_exchange)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for TransportBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}
