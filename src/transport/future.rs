//! The future of a response.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};

use super::Upload;
use super::body::TransportBody;
use super::connect::Target;
use super::failure;
use super::head::Wish;
use super::line::Line;
use super::pool::answered;
use crate::error::BoxError;
use crate::outcome::FailureError;
use crate::service::{Admission, RequestBody};

type Story = Pin<Box<dyn Future<Output = Result<Response<TransportBody>, BoxError>> + Send>>;

/// The response that [`Transport`](super::Transport) waits for. Dropped before it is there, it takes the request back:
/// it closes its connection (HTTP/1.1) or resets its stream (HTTP/2).
#[must_use = "futures do nothing unless polled"]
pub struct TransportFuture<B> {
    state: State<B>,
}

enum State<B> {
    /// On an idle connection: nothing is allocated for it.
    Sending(Line<B>, Target, Wish, Admission),
    /// Everything with a connection to open, and HTTP/2.
    Story(Story),
    Failed(FailureError),
    Over,
}

impl<B: Upload> TransportFuture<B> {
    pub(super) fn sending(line: Line<B>, target: Target, wish: Wish, admission: Admission) -> Self {
        Self { state: State::Sending(line, target, wish, admission) }
    }

    pub(super) fn story(
        story: impl Future<Output = Result<Response<TransportBody>, BoxError>> + Send + 'static,
    ) -> Self {
        Self { state: State::Story(Box::pin(story)) }
    }

    pub(super) fn failed(error: FailureError) -> Self {
        Self { state: State::Failed(error) }
    }
}

impl<B: Upload> Future for TransportFuture<B> {
    type Output = Result<Response<TransportBody>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = match &mut self.state {
            State::Sending(line, ..) => ready!(line.as_mut().poll_reply(cx)),
            State::Story(story) => return story.as_mut().poll(cx),
            State::Failed(_) | State::Over => {
                return match std::mem::replace(&mut self.state, State::Over) {
                    State::Failed(error) => Poll::Ready(Err(error.into())),
                    _ => Poll::Pending,
                };
            }
        };
        let State::Sending(line, target, wish, admission) = std::mem::replace(&mut self.state, State::Over) else {
            return Poll::Pending;
        };
        match reply {
            Ok(response) => Poll::Ready(answered(line, response, wish, admission).map_err(Into::into)),
            Err(mut error) => match error.take_message() {
                Some(unsent) => self.again(line, target, unsent, admission, cx),
                None => Poll::Ready(Err(failure::of_answer(error.into_error(), line.has_heard()).into())),
            },
        }
    }
}

impl<B: Upload> TransportFuture<B> {
    /// The idle connection had been closed, and no byte of the request was written to it. That is no failure of this
    /// request but an end of that connection that was noticed late, so whatever its method, it goes to another one. Not
    /// to an idle one again, which may be as dead.
    #[cold]
    fn again(
        &mut self,
        mut line: Line<B>,
        target: Target,
        unsent: Request<RequestBody<B>>,
        admission: Admission,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<TransportBody>, BoxError>> {
        let Some(pool) = line.as_mut().leave() else { return Poll::Pending };
        drop(line);
        let mut story: Story = Box::pin(pool.send(target, unsent, admission, true));
        let polled = story.as_mut().poll(cx);
        if polled.is_pending() {
            self.state = State::Story(story);
        }
        polled
    }
}

impl<B> fmt::Debug for TransportFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Sending(..) => "on an idle connection",
            State::Story(_) => "on a connection to be opened or shared",
            State::Failed(_) => "failed",
            State::Over => "over",
        };
        f.debug_tuple("TransportFuture").field(&state).finish()
    }
}
