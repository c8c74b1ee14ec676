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
use super::streams::Half;
use crate::outcome::FailureError;
use crate::service::Admission;

/// The body of a response that [`Transport`](super::Transport) received.
///
/// It holds its connection, and gives it back when the body is at its end: at once if there is none, else with the
/// last frame, as far as that is known to be the last, or with the `None` after it. Dropped earlier, or after an
/// error, it closes the connection (HTTP/1.1) or resets the stream (HTTP/2).
///
/// The body of an answer over HTTP/2 that opened a tunnel is empty. Its stream counts as one that is taken until the body
/// is dropped, so it should be kept as long as the tunnel.
///
/// Its errors say which [`Failure`](crate::outcome::Failure) they are, with hyper's as their source.
pub struct TransportBody {
    body: Incoming,
    /// Whether it is at its end, as far as its last frame told: to ask HTTP/2 costs a lock each time.
    ended: bool,
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
    Stream(Half),
    /// A stream that goes on behind the end of the body.
    #[expect(dead_code, reason = "it is there to be dropped")]
    Tunnel(Half),
}

impl TransportBody {
    /// A body whose connection is not coming back.
    pub(super) fn unbound(body: Incoming) -> Self {
        Self { ended: body.is_end_stream(), body, held: Held::Nothing, admission: Admission::default() }
    }

    pub(super) fn leased<B: Upload>(body: Incoming, line: Line<B>, admission: Admission) -> Self {
        let mut body = Self::unbound(body);
        if body.ended {
            admission.release();
            line.give_back();
        } else {
            (body.held, body.admission) = (Held::Line(Mutex::new(line)), admission);
        }
        body
    }

    pub(super) fn stream(body: Incoming, stream: Half, is_tunnel: bool, admission: Admission) -> Self {
        let mut body = Self::unbound(body);
        if body.ended {
            admission.release();
        } else {
            body.admission = admission;
        }
        body.held = match (is_tunnel, body.ended) {
            (true, _) => Held::Tunnel(stream),
            (false, true) => Held::Nothing,
            (false, false) => Held::Stream(stream),
        };
        body
    }

    fn give_back(&mut self) {
        self.admission.release();
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Line(line) => line.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).give_back(),
            tunnel @ Held::Tunnel(_) => self.held = tunnel,
            Held::Stream(_) | Held::Nothing => {}
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
        self.ended = match &frame {
            // hyper takes a reset without an error for the end, which only the other side can say.
            None if matches!(self.held, Held::Stream(_)) && !self.body.is_end_stream() => {
                (self.held, self.ended) = (Held::Nothing, true);
                return Poll::Ready(Some(Err(failure::of_cut_body())));
            }
            // Nothing follows trailers, and many readers do not ask.
            Some(Ok(frame)) => frame.is_trailers() || self.body.is_end_stream(),
            Some(Err(_)) => {
                self.held = Held::Nothing;
                true
            }
            None => true,
        };
        if self.ended {
            self.give_back();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(failure::of_exchange)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
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
