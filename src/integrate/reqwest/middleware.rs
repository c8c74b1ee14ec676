//! The rules as a middleware: [`MeshMiddleware`].

use std::convert::Infallible;
use std::future::{Future, poll_fn, ready};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use reqwest::{ResponseBuilderExt as _, Url};
use reqwest_middleware::{Error, Middleware, Next};
use tower_layer::Layer;
use tower_service::Service;

use super::path::check_path;
use super::{failure, to_reqwest};
use crate::error::BoxError;
use crate::mesh::Mesh;
use crate::outcome::{Failure, FailureError};
use crate::request::Origin;
use crate::service::{DeadlineBudget, MeshError, MeshRouter, RequestBody, RequestPolicy, ResponseBody, ResponseFuture};

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

/// With all choices of a router, but that it sends no mirrors here.
impl From<MeshRouter> for MeshMiddleware {
    fn from(router: MeshRouter) -> Self {
        Self { router: router.with_mirror_limits(0, 0) }
    }
}

impl Middleware for MeshMiddleware {
    // What `async_trait` makes of an `async fn`. By hand, what the request comes in as has no place in the box.
    fn handle<'s, 'e, 'n, 'f>(
        &'s self,
        request: reqwest::Request,
        extensions: &'e mut Extensions,
        next: Next<'n>,
    ) -> Pin<Box<dyn Future<Output = Result<reqwest::Response, Error>> + Send + 'f>>
    where
        Self: 'f,
        's: 'f,
        'e: 'f,
        'n: 'f,
    {
        let (url, timeout) = (request.url().clone(), request.timeout().copied());
        let mut request = match Request::try_from(request) {
            Ok(request) => request,
            Err(error) => return Box::pin(ready(Err(error.into()))),
        };
        adopt::<Origin>(extensions, &mut request);
        adopt::<RequestPolicy>(extensions, &mut request);
        // It may also be one that the request was made with.
        if let Some(policy) = request.extensions_mut().get_mut::<RequestPolicy>() {
            policy.never_hedge();
        }
        adopt::<DeadlineBudget>(extensions, &mut request);
        if let Some(timeout) = timeout {
            DeadlineBudget::within(timeout).bound(request.extensions_mut());
        }
        let desk = Arc::<Desk>::default();
        let response = self.router.layer(Relay { desk: desk.clone() }).call(request);
        Box::pin(Handling { response, tries: make(desk.clone(), next, extensions), desk, url: Some(url) })
    }
}

pin_project! {
    /// One request: the router's answer to it, and the tries that it leaves on the desk, which are made beside it.
    struct Handling<T> {
        #[pin]
        response: ResponseFuture<Relay, reqwest::Body>,
        #[pin]
        tries: T,
        desk: Arc<Desk>,
        url: Option<Url>,
    }
}

impl<T: Future<Output = Infallible>> Future for Handling<T> {
    type Output = Result<reqwest::Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Poll::Ready(response) = this.response.as_mut().poll(cx) {
                let url = this.desk.lock().url.take().or_else(|| this.url.take());
                return Poll::Ready(response.map(|response| to_response(response, url)).map_err(to_error));
            }
            let Poll::<Infallible>::Pending = this.tries.as_mut().poll(cx);
            if !this.desk.has_news() {
                return Poll::Pending;
            }
        }
    }
}

/// Makes the tries: the chain of middlewares is borrowed, the service below a router is not, so they come back here.
async fn make(desk: Arc<Desk>, next: Next<'_>, extensions: &mut Extensions) -> Infallible {
    loop {
        let (number, request) = poll_fn(|_| desk.next()).await;
        let mut run = next.clone().run(request, extensions);
        let made = poll_fn(|cx| match desk.is_waited_for(number) {
            true => run.as_mut().poll(cx).map(Some),
            // Given up, for example because its time is over.
            false => Poll::Ready(None),
        });
        if let Some(response) = made.await {
            desk.answer(number, response);
        }
    }
}

/// Passes a value of the request's extensions on, from where `with_extension` puts them.
fn adopt<T: Clone + Send + Sync + 'static>(extensions: &Extensions, request: &mut Request<reqwest::Body>) {
    if let Some(value) = extensions.get::<T>() {
        request.extensions_mut().insert(value.clone());
    }
}

fn to_response(response: Response<ResponseBody<reqwest::Body>>, url: Option<Url>) -> reqwest::Response {
    let (mut head, body) = response.into_parts();
    let mut named = Response::builder();
    if let Some(extensions) = named.extensions_mut() {
        *extensions = mem::take(&mut head.extensions);
    }
    if let Some(url) = url {
        named = named.url(url);
    }
    if let Ok(named) = named.body(()) {
        head.extensions = named.into_parts().0.extensions;
    }
    Response::from_parts(head, reqwest::Body::wrap(body)).into()
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

/// Where the router leaves its tries, one after the other, and finds their answers. Both sides are polled by one task,
/// in turns until neither goes on: nobody has to be woken, and the lock is free whenever it is taken.
#[derive(Default)]
struct Desk(Mutex<Last>);

/// The last try.
#[derive(Default)]
struct Last {
    number: u64,
    state: Try,
    /// Whether it was answered since that was asked.
    is_news: bool,
    /// Where its answer came from, if no rule took the request and reqwest was sent on.
    url: Option<Url>,
}

/// What has become of a try.
#[derive(Default)]
enum Try {
    #[default]
    GivenUp,
    Due(reqwest::Request),
    /// The chain has it.
    Sent,
    Answered(Result<reqwest::Response, Error>),
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a try here, and returns its number.
    fn leave(&self, state: Try) -> u64 {
        let mut last = self.lock();
        *last = Last { number: last.number + 1, state, is_news: false, url: None };
        last.number
    }

    /// The request that is due to be sent.
    fn next(&self) -> Poll<(u64, reqwest::Request)> {
        let mut last = self.lock();
        if matches!(last.state, Try::Due(_))
            && let Try::Due(request) = mem::replace(&mut last.state, Try::Sent)
        {
            return Poll::Ready((last.number, request));
        }
        Poll::Pending
    }

    fn is_waited_for(&self, number: u64) -> bool {
        let last = self.lock();
        last.number == number && matches!(last.state, Try::Sent)
    }

    fn answer(&self, number: u64, response: Result<reqwest::Response, Error>) {
        let mut last = self.lock();
        if last.number == number {
            last.state = Try::Answered(response);
            last.is_news = true;
        }
    }

    /// Whether the router has an answer to look at.
    fn has_news(&self) -> bool {
        mem::take(&mut self.lock().is_news)
    }
}

/// The inner service of one request's router.
#[derive(Clone)]
struct Relay {
    desk: Arc<Desk>,
}

impl Service<Request<RequestBody<reqwest::Body>>> for Relay {
    type Response = Response<reqwest::Body>;
    type Error = FailureError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FailureError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<reqwest::Body>>) -> Answer {
        let passes = request.body().aim().is_none();
        let checked = check_path(&request).map_err(Error::middleware);
        let request = checked.and_then(|()| Ok(to_reqwest(request)?));
        let asked = request.as_ref().ok().filter(|_| passes).map(|request| request.url().clone());
        let number = self.desk.leave(match request {
            Ok(request) => Try::Due(request),
            Err(error) => Try::Answered(Err(error)),
        });
        Answer { desk: self.desk.clone(), number, asked }
    }
}

/// The answer to a try, which is given up when this is dropped.
struct Answer {
    desk: Arc<Desk>,
    number: u64,
    /// What reqwest was asked for, if no rule took the request.
    asked: Option<Url>,
}

/// What an answer names that was not reqwest's.
static UNNAMED: LazyLock<Url> = LazyLock::new(|| reqwest::Response::from(Response::new("")).url().clone());

impl Future for Answer {
    type Output = Result<Response<reqwest::Body>, FailureError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut last = self.desk.lock();
        if last.number == self.number
            && matches!(last.state, Try::Answered(_))
            && let Try::Answered(answer) = mem::take(&mut last.state)
        {
            if let (Some(asked), Ok(response)) = (&self.asked, &answer) {
                last.url = Some(response.url()).filter(|url| ![asked, &*UNNAMED].contains(url)).cloned();
            }
            let failed = |error| FailureError::new(failure_of_chain(&error), error);
            return Poll::Ready(answer.map(Into::into).map_err(failed));
        }
        Poll::Pending
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut last = self.desk.lock();
        if last.number == self.number {
            last.state = Try::GivenUp;
        }
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
