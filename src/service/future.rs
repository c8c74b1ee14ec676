//! The response future of [`MeshService`](super::MeshService).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::answer::is_bodiless;
use super::classify;
use super::completion::Completion;
use super::deadline::{Deadline, Expired};
use super::decide::Refusal;
use super::ended::Ended;
use super::hedge::Hedge;
use super::local_reply::{LocalReply, failure_reply};
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::story::{Phase, Story};
use crate::error::BoxError;
use crate::outcome::Failure;
use crate::telemetry::{RequestRecord, ResponseFlags};

pin_project! {
    /// Response future of [`MeshService`](super::MeshService).
    ///
    /// All tries run in it without a box, but for the second of a request that is
    /// [hedged](super::RequestPolicy::hedge_after); a timer is made when a try has to be waited for and the rule bounds
    /// it.
    /// Dropping it before it is done ends the try, and the endpoint is no longer counted as busy with it.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<S, B, F> {
        // Answered here. In all states `None` is what is left once the future is done.
        Reply { reply: Option<Refusal> },
        // No rule took it: what the inner service says is said.
        PassThrough { #[pin] call: F, record: Option<RequestRecord> },
        // A rule forwards it.
        Forward {
            #[pin] call: Option<F>,
            #[pin] timer: Option<Sleep>,
            story: Option<Story<S, B>>,
            hedge: Option<Box<Hedge<F>>>,
        },
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<RequestBody<B>>>,
{
    pub(super) fn reply(reply: Refusal) -> Self {
        Self { state: State::Reply { reply: Some(reply) } }
    }

    pub(super) fn pass_through(call: S::Future, record: RequestRecord) -> Self {
        Self { state: State::PassThrough { call, record: Some(record) } }
    }

    pub(super) fn forward(call: Option<S::Future>, story: Story<S, B>) -> Self {
        let hedge = call.as_ref().and_then(|_| Hedge::of(&story.exchange));
        Self { state: State::Forward { call, timer: None, story: Some(story), hedge } }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<RequestBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Reply { .. } => "answered here",
            State::PassThrough { .. } => "passed through",
            State::Forward { .. } => "forwarded",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body + Send + 'static,
{
    type Output = Result<Response<ResponseBody<R>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Reply { reply } => match reply.take() {
                Some(refusal) => Poll::Ready(refusal.reply.into_result(refusal.exchange)),
                None => Poll::Pending,
            },
            StateProject::PassThrough { call, record } => {
                let result = ready!(call.poll(cx));
                match record.take() {
                    Some(record) => Poll::Ready(pass_on(result.map_err(Into::into), record)),
                    None => Poll::Pending,
                }
            }
            StateProject::Forward { mut call, mut timer, story: slot, hedge } => {
                let Some(story) = slot else { return Poll::Pending };
                let ended = ready!(poll_story(story, &mut call, &mut timer, hedge, cx));
                call.set(None);
                timer.set(None);
                let Some(story) = slot.take() else { return Poll::Pending };
                let unanswered = story.upload().filter(|_| !matches!(ended, Ended::Answer(_))).cloned();
                let concluded = story.conclude(ended);
                // What that comes to now is no matter.
                if let Some(upload) = unanswered {
                    upload.feed_copies(cx);
                }
                Poll::Ready(concluded)
            }
        }
    }
}

/// Goes from phase to phase until no try follows.
fn poll_story<S, B, R>(
    story: &mut Story<S, B>,
    call: &mut Pin<&mut Option<S::Future>>,
    timer: &mut Pin<&mut Option<Sleep>>,
    hedge: &mut Option<Box<Hedge<S::Future>>>,
    cx: &mut Context<'_>,
) -> Poll<Ended<R>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body + Send + 'static,
{
    loop {
        let ended = match story.phase {
            Phase::Delay(until) => match poll_until(timer, until, cx) {
                Poll::Ready(()) => match story.undelay() {
                    Ok(()) => continue,
                    Err(reply) => Ended::Refused(reply),
                },
                Poll::Pending => Ended::Refused(ready!(story.read_ahead(cx))),
            },
            Phase::BackOff(until) => {
                if let Some(upload) = story.upload()
                    && let Poll::Ready(lost) = upload.poll_lost(cx)
                {
                    return Poll::Ready(Ended::Refused(LocalReply::lost(lost, story.exchange.attempts > 1)));
                }
                match ready!(poll_pause(story, timer, until, cx)) {
                    None => match story.try_again() {
                        Ok(()) => continue,
                        Err(reply) => Ended::Refused(reply),
                    },
                    Some(expired) => Ended::Expired(expired),
                }
            }
            Phase::Waiting => match poll_service(story, call, cx) {
                Poll::Ready(Ok(())) => {
                    *hedge = Hedge::of(&story.exchange);
                    continue;
                }
                Poll::Ready(Err(ended)) => ended,
                Poll::Pending => ready!(poll_expiry(story, timer, false, cx)),
            },
            Phase::Trying => ready!(poll_try(story, call, timer, hedge, cx)),
        };
        // Whatever is left of a try that is over is given up, and the one beside it.
        call.set(None);
        *hedge = None;
        if !story.goes_on(&ended) {
            return Poll::Ready(ended);
        }
    }
}

/// Waits for what comes of a try, or for the end of its time. As in Envoy, what meets a limit at once is not copied.
fn poll_try<S, B, R>(
    story: &mut Story<S, B>,
    call: &mut Pin<&mut Option<S::Future>>,
    timer: &mut Pin<&mut Option<Sleep>>,
    hedge: &mut Option<Box<Hedge<S::Future>>>,
    cx: &mut Context<'_>,
) -> Poll<Ended<R>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body + Send + 'static,
{
    let tried = match hedge {
        Some(hedge) => hedge.poll(story, call, timer, cx),
        None => match poll_call(story, call, cx) {
            Poll::Pending => poll_expiry(story, timer, true, cx),
            ended => ended,
        },
    };
    if !matches!(tried, Poll::Ready(Ended::Error(_, Failure::Overflow))) {
        story.send_mirrors();
    }
    tried
}

/// Waits for the end of the time of a request, or of its try, which may begin with what there is of its body.
fn poll_expiry<S, B, R>(
    story: &mut Story<S, B>,
    timer: &mut Pin<&mut Option<Sleep>>,
    trying: bool,
    cx: &mut Context<'_>,
) -> Poll<Ended<R>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    if let Poll::Ready(reply) = story.read_ahead(cx) {
        return Poll::Ready(Ended::Refused(reply));
    }
    poll_deadline(&mut story.exchange.deadline, timer, trying, cx).map(Ended::Expired)
}

/// Waits for what comes of a try.
pub(super) fn poll_call<S, B, F, R, E>(
    story: &Story<S, B>,
    call: &mut Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Poll<Ended<R>>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    let Some(call) = call.as_mut().as_pin_mut() else { return Poll::Pending };
    call.poll(cx).map(|result| story.ended(result))
}

/// Asks the service whether it is ready and makes the try.
fn poll_service<S, B, R>(
    story: &mut Story<S, B>,
    call: &mut Pin<&mut Option<S::Future>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Ended<R>>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body + Send + 'static,
{
    let Some(service) = story.again.as_mut() else {
        return Poll::Ready(Err(Ended::Refused(LocalReply::no_cluster())));
    };
    if let Err(error) = ready!(service.poll_ready(cx)) {
        return Poll::Ready(Err(story.ended(Err(error))));
    }
    let request = match story.request() {
        Ok(request) => request,
        Err(reply) => {
            // One that is ready and not called would keep what it was promised.
            story.again = story.again.clone();
            return Poll::Ready(Err(Ended::Refused(reply)));
        }
    };
    if let Some(service) = story.again.as_mut() {
        call.set(Some(service.call(request)));
    }
    let waits = story.waits.take();
    if let Some(reply) = story.refused(waits.as_deref()) {
        call.set(None);
        return Poll::Ready(Err(Ended::Refused(reply)));
    }
    story.phase = Phase::Trying;
    Poll::Ready(Ok(()))
}

/// Waits for a moment.
pub(super) fn poll_until(timer: &mut Pin<&mut Option<Sleep>>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
    match timer.as_mut().as_pin_mut() {
        Some(sleep) if sleep.deadline() == until => {}
        Some(sleep) => sleep.reset(until),
        None => timer.set(Some(sleep_until(until))),
    }
    timer.as_mut().as_pin_mut().map_or(Poll::Ready(()), |sleep| sleep.poll(cx))
}

/// Waits for the next timeout of a request, if there is one.
pub(super) fn poll_deadline(
    deadline: &mut Deadline,
    timer: &mut Pin<&mut Option<Sleep>>,
    trying: bool,
    cx: &mut Context<'_>,
) -> Poll<Expired> {
    if deadline.is_none() {
        return Poll::Pending;
    }
    match deadline.poll_next(trying, cx) {
        Some((at, expired)) => poll_until(timer, at, cx).map(|()| expired),
        None => Poll::Pending,
    }
}

/// Waits for the end of a pause; the timeout of the request may come first.
fn poll_pause<S, B>(
    story: &mut Story<S, B>,
    timer: &mut Pin<&mut Option<Sleep>>,
    until: Instant,
    cx: &mut Context<'_>,
) -> Poll<Option<Expired>> {
    match story.exchange.deadline.poll_next(false, cx) {
        Some((at, expired)) if at <= until => poll_until(timer, at, cx).map(|()| Some(expired)),
        _ => poll_until(timer, until, cx).map(|()| None),
    }
}

/// What answered a request that no rule took, which is counted and otherwise left alone; `awaited` says whether a client
/// on a connection of its own waits for it.
pub(super) fn passed<R: Body>(
    response: Response<R>,
    mut record: RequestRecord,
    awaited: bool,
) -> Response<ResponseBody<R>> {
    record.answered(response.status(), ResponseFlags::NONE);
    record.trailers(response.headers());
    let awaited = awaited && !is_bodiless(response.status());
    let (head, body) = response.into_parts();
    let completion = Completion::new(None, Some(record));
    let body = ResponseBody::upstream(body, completion, None, awaited.then_some(&head.headers));
    Response::from_parts(head, body)
}

/// The outcome of a request that no rule took, as it is.
fn pass_on<R: Body>(
    result: Result<Response<R>, BoxError>,
    mut record: RequestRecord,
) -> Result<Response<ResponseBody<R>>, BoxError> {
    match result {
        Ok(response) => Ok(passed(response, record, false)),
        Err(error) => {
            let (status, flags, _) = failure_reply(classify::failure(&*error));
            record.failed(status, flags);
            Err(error)
        }
    }
}
