//! The body of a response, and the connection that it arrives on.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Upload;
use super::failure;
use super::line::{Lease, Line, Rest};
use super::streams::Half;
use crate::outcome::FailureError;
use crate::service::Admission;

/// The body of a response that [`Transport`](super::Transport) received.
///
/// It holds its connection, and gives it back when the body is at its end: at once if there is none, else with the
/// last frame, as far as that is known to be the last, or with the `None` after it. Dropped earlier, or after an
/// error, it closes the connection (HTTP/1.1), unless the exchange on that is over, or resets the stream (HTTP/2), unless
/// all of that but its end has come: for the end it is read on for up to five seconds.
///
/// The body of an answer over HTTP/2 that opened a tunnel is empty. Its stream counts as one that is taken until the body
/// is dropped, so it should be kept as long as the tunnel.
///
/// Its errors say which [`Failure`](crate::outcome::Failure) they are, with hyper's as their source.
pub struct TransportBody {
    /// `None` once it is read on by itself.
    body: Option<Incoming>,
    /// Whether nothing of it is to come but its end, whatever its head says of its length.
    bare: bool,
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
        let (ended, admission) = (body.is_end_stream(), Admission::default());
        Self { body: Some(body), bare: false, ended, held: Held::Nothing, admission }
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

    /// The same, where only its end is to come, if `bare`.
    pub(super) fn with_nothing_in_it(mut self, bare: bool) -> Self {
        self.bare = bare;
        self
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
        // Unread, but all of it has come and the request is sent: it takes another one.
        if let Held::Line(line) = &mut self.held
            && line.get_mut().is_ok_and(|line| line.rest() == Rest::Ready)
        {
            self.give_back();
        }
        if !self.ended
            && let Held::Stream(_) = self.held
            && let Some(body) = self.body.take_if(|body| self.bare || body.size_hint().exact() == Some(0))
        {
            await_end(body, std::mem::replace(&mut self.held, Held::Nothing));
        }
    }
}

/// How long the end of a stream is waited for of which nobody wants anything else.
const LINGERS: Duration = Duration::from_secs(5);

/// Waits for the end of a body whose reader has all of it: an endpoint that sends its end apart would see a reset.
fn await_end(mut body: Incoming, stream: Held) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        let end = poll_fn(|cx| {
            loop {
                match ready!(Pin::new(&mut body).poll_frame(cx)) {
                    Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                    _ => return Poll::Ready(()),
                }
            }
        });
        // Whether or not it came: there is nothing more to be done.
        let _ = timeout(LINGERS, end).await;
        drop((body, stream));
    });
}

impl Body for TransportBody {
    type Data = Bytes;
    type Error = FailureError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FailureError>>> {
        let Self { body: Some(body), held, .. } = &mut *self else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        let of_line = matches!(held, Held::Line(_));
        self.ended = match &frame {
            // hyper takes a reset without an error for the end, which only the other side can say.
            None if matches!(held, Held::Stream(_)) && !body.is_end_stream() => {
                (self.held, self.ended) = (Held::Nothing, true);
                return Poll::Ready(Some(Err(failure::of_cut_body())));
            }
            // Nothing follows trailers, and many readers do not ask.
            Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
            Some(Err(_)) => {
                self.held = Held::Nothing;
                true
            }
            None => true,
        };
        if self.ended {
            self.give_back();
        }
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| if of_line { failure::of_answer(error, true) } else { failure::of_exchange(error) })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl fmt::Debug for TransportBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}
