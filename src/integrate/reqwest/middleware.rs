//! The rules as a middleware: [`MeshMiddleware`].

use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Extensions, Request, Response};
use reqwest::ResponseBuilderExt as _;
use reqwest_middleware::{Error, Middleware, Next};
use tokio::sync::{mpsc, oneshot};
use tower_layer::Layer;
use tower_service::Service;

use super::{Shared, failure, to_reqwest};
use crate::error::BoxError;
use crate::mesh::Mesh;
use crate::outcome::{Failure, FailureError};
use crate::request::Origin;
use crate::service::{DeadlineBudget, MeshError, MeshRouter, RequestBody, RequestPolicy, ResponseBody};

/// Sends the requests of a `reqwest_middleware` client where the rules of a mesh say.
///
/// Its place is the last: middlewares before it see a request once, those after it every try. Verdicts of the rules are
/// responses; errors come out only of requests that no rule took, and are then those of reqwest, untouched. Made of a
/// router with [`ErrorMode::Return`](crate::service::ErrorMode), it gives failures as errors of a middleware, which
/// downcast to [`MeshError`].
///
/// An [`Origin`], [`RequestPolicy`] or [`DeadlineBudget`] given by `RequestBuilder::with_extension` is that of the
/// request. A `RequestBuilder::timeout` bounds all its tries. They are made one after the other, so that
/// [`RequestPolicy::hedge_after`] says nothing here.
#[derive(Clone, Debug)]
pub struct MeshMiddleware {
    router: MeshRouter,
}

impl MeshMiddleware {
    /// The rules for requests of this application.
    pub fn new(mesh: &Mesh) -> Self {
        Self::from(MeshRouter::new(mesh))
    }
}

/// With the choices of a router: its origin, classifier, retry safety and error mode. It sends no mirrors here.
impl From<MeshRouter> for MeshMiddleware {
    fn from(router: MeshRouter) -> Self {
        Self { router: router.with_mirror_limits(0, 0) }
    }
}

#[async_trait::async_trait]
impl Middleware for MeshMiddleware {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<reqwest::Response, Error> {
        let (url, timeout) = (request.url().clone(), request.timeout().copied());
        let mut request = Request::try_from(request)?;
        adopt::<Origin>(extensions, &mut request);
        if let Some(policy) = extensions.get::<RequestPolicy>() {
            request.extensions_mut().insert(policy.clone().without_hedge());
        }
        adopt::<DeadlineBudget>(extensions, &mut request);
        if let Some(timeout) = timeout {
            DeadlineBudget::within(timeout).bound(request.extensions_mut());
        }
        let (tries, mut due) = mpsc::unbounded_channel::<Try>();
        let response = self.router.layer(Relay { tries }).call(request);
        // The chain of middlewares is borrowed, the service below a router is not: tries come back here to be made.
        let make = async {
            while let Some(Try { request, mut answer }) = due.recv().await {
                tokio::select! {
                    biased;
                    // Given up, for example because its time is over.
                    () = answer.closed() => {}
                    response = next.clone().run(request, extensions) => drop(answer.send(response)),
                }
            }
            pending().await
        };
        let response = tokio::select! {
            biased;
            response = response => response,
            never = make => never,
        };
        match response {
            Ok(response) => Ok(to_response(response, url)),
            Err(error) => Err(to_error(error)),
        }
    }
}

/// Passes a value of the request's extensions on, from where `with_extension` puts them.
fn adopt<T: Clone + Send + Sync + 'static>(extensions: &Extensions, request: &mut Request<reqwest::Body>) {
    if let Some(value) = extensions.get::<T>() {
        request.extensions_mut().insert(value.clone());
    }
}

fn to_response(response: Response<ResponseBody<reqwest::Body>>, url: reqwest::Url) -> reqwest::Response {
    let (mut head, body) = response.into_parts();
    if let Ok(named) = Response::builder().url(url).body(()) {
        head.extensions.extend(named.into_parts().0.extensions);
    }
    let body = reqwest::Body::wrap(Shared(std::sync::Mutex::new(Box::pin(body))));
    Response::from_parts(head, body).into()
}

/// A failure as an error; or the error of a request that no rule took, as the chain gave it.
fn to_error(error: BoxError) -> Error {
    let error = match error.downcast::<MeshError>() {
        Ok(error) => return Error::middleware(*error),
        Err(error) => error,
    };
    let error = match error.downcast::<FailureError>() {
        Ok(error) => error.into_source(),
        Err(error) => error,
    };
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::middleware(Boxed(error)),
    }
}

/// A boxed error as an error.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Boxed(BoxError);

/// One try, on its way to the chain.
struct Try {
    request: reqwest::Request,
    answer: oneshot::Sender<Result<reqwest::Response, Error>>,
}

/// The inner service of one request's router.
#[derive(Clone)]
struct Relay {
    tries: mpsc::UnboundedSender<Try>,
}

impl Service<Request<RequestBody<reqwest::Body>>> for Relay {
    type Response = Response<reqwest::Body>;
    type Error = FailureError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FailureError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<reqwest::Body>>) -> Answer {
        let (answer, received) = oneshot::channel();
        match to_reqwest(request) {
            Ok(request) => drop(self.tries.send(Try { request, answer })),
            Err(error) => drop(answer.send(Err(error.into()))),
        }
        Answer { received }
    }
}

/// The answer to a try.
struct Answer {
    received: oneshot::Receiver<Result<reqwest::Response, Error>>,
}

impl Future for Answer {
    type Output = Result<Response<reqwest::Body>, FailureError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.received).poll(cx).map(|received| match received {
            Ok(Ok(response)) => Ok(response.into()),
            Ok(Err(error)) => Err(FailureError::new(failure_of_chain(&error), error)),
            Err(gone) => Err(FailureError::new(Failure::LocalReset, gone)),
        })
    }
}

/// Which failure an error of the chain is; what a middleware made up counts as a reset.
fn failure_of_chain(error: &Error) -> Failure {
    match error {
        Error::Reqwest(error) => failure(error),
        Error::Middleware(error) => {
            let known = |error: &(dyn std::error::Error + 'static)| {
                let own = error.downcast_ref::<FailureError>().map(FailureError::failure);
                own.or_else(|| error.downcast_ref().map(failure))
            };
            error.chain().find_map(known).unwrap_or(Failure::RemoteReset)
        }
    }
}
