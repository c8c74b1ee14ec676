//! The response future of [`MeshService`](super::MeshService).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::classify;
use super::completion::Completion;
use super::decide::{Attempt, Refusal};
use super::local_reply::{LocalReply, failure_reply};
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::route_info::RouteInfo;
use crate::error::BoxError;
use crate::telemetry::{RequestRecord, ResponseFlags};

pin_project! {
    /// Response future of [`MeshService`](super::MeshService).
    ///
    /// The first try runs in it without a box. Dropping it before it is done ends the try, and the endpoint is no
    /// longer counted as busy with it.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        #[pin]
        state: State<S::Future>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F> {
        // Answered here. In all states `None` is what is left once the future is done.
        Reply { reply: Option<Refusal> },
        // No rule took it: what the inner service says is said.
        PassThrough { #[pin] call: F, record: Option<RequestRecord> },
        // The first try.
        Try { #[pin] call: F, attempt: Option<Attempt>, sent: Option<Instant> },
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

    pub(super) fn first_try(call: S::Future, attempt: Attempt) -> Self {
        let sent = attempt.at_listener.then(Instant::now);
        Self { state: State::Try { call, attempt: Some(attempt), sent } }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: Body,
{
    type Output = Result<Response<ResponseBody<R>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Reply { reply } => match reply.take() {
                Some(Refusal { reply, asked, record }) => Poll::Ready(Ok(reply.into_response(asked, record))),
                None => Poll::Pending,
            },
            StateProject::PassThrough { call, record } => {
                let result = ready!(call.poll(cx));
                match record.take() {
                    Some(record) => Poll::Ready(pass_on(result.map_err(Into::into), record)),
                    None => Poll::Pending,
                }
            }
            StateProject::Try { call, attempt, sent } => {
                let result = ready!(call.poll(cx));
                match attempt.take() {
                    Some(attempt) => Poll::Ready(Ok(conclude(result.map_err(Into::into), attempt, *sent))),
                    None => Poll::Pending,
                }
            }
        }
    }
}

/// The answer to a request that no rule took, as it is.
fn pass_on<R: Body>(
    result: Result<Response<R>, BoxError>,
    mut record: RequestRecord,
) -> Result<Response<ResponseBody<R>>, BoxError> {
    match result {
        Ok(response) => {
            record.answered(response.status(), ResponseFlags::NONE);
            record.trailers(response.headers());
            Ok(response.map(|body| ResponseBody::upstream(body, Completion::new(None, record))))
        }
        Err(error) => {
            let (status, flags, _) = failure_reply(classify::failure(&*error));
            record.answered(status, flags);
            Err(error)
        }
    }
}

/// The answer to a request whose last try is over.
fn conclude<R: Body>(
    result: Result<Response<R>, BoxError>,
    attempt: Attempt,
    sent: Option<Instant>,
) -> Response<ResponseBody<R>> {
    let Attempt { rule, cluster, picked, asked, mut record, .. } = attempt;
    let endpoint = Some(picked.endpoint().clone());
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            // The try is over, although its answer is yet to be read.
            drop(picked);
            let reply = LocalReply::failure(classify::failure(&*error), error);
            return reply.of_rule(rule, Some(cluster)).after_tries(1, endpoint).into_response(asked, record);
        }
    };
    let (mut head, body) = response.into_parts();
    record.answered(head.status, ResponseFlags::NONE);
    record.trailers(&head.headers);
    if let Some(sent) = sent {
        let milliseconds = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
        head.headers.insert(HeaderName::from_static("x-envoy-upstream-service-time"), HeaderValue::from(milliseconds));
    }
    rule.apply_response_headers(&mut head.headers);
    head.extensions.insert(RouteInfo {
        route: Some(rule.route),
        cluster: Some(cluster),
        endpoint,
        attempts: 1,
        ..RouteInfo::new(ResponseFlags::NONE, "via_upstream")
    });
    Response::from_parts(head, ResponseBody::upstream(body, Completion::new(Some(picked), record)))
}
