//! reqwest 0.13 under the rules, and the rules inside reqwest-middleware 0.5.
//!
//! # What to write
//!
//! [`MeshMiddleware`] keeps the program as it is, `RequestBuilder` and all:
//!
//! ```
//! use mesh_router::Mesh;
//! use mesh_router::integrate::reqwest::{MeshMiddleware, client_builder};
//! use reqwest_middleware::ClientBuilder;
//!
//! # fn main() -> Result<(), mesh_router::BoxError> {
//! let mesh = Mesh::new();
//! let client = ClientBuilder::new(client_builder().build()?).with(MeshMiddleware::new(&mesh)).build();
//! let request = client.get("http://reviews/7").header("accept", "text/plain");
//! # drop(request);
//! # Ok(())
//! # }
//! ```
//!
//! [`ReqwestService`] is the same client as a tower service, for those who have a stack of layers:
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use mesh_router::integrate::reqwest::{ReqwestService, client_builder};
//! use mesh_router::{Mesh, MeshRouter};
//! use tower::{Layer, Service};
//!
//! # async fn get() -> Result<(), mesh_router::BoxError> {
//! let mesh = Mesh::new();
//! let mut client = MeshRouter::new(&mesh).layer(ReqwestService::new(client_builder().build()?));
//! let response = client.call(Request::get("http://reviews/7").body(Full::<Bytes>::default())?).await?;
//! # drop(response);
//! # Ok(())
//! # }
//! ```
//!
//! # What you get
//!
//! Everything of the rules: matches, splits, header rules, rewrites, redirects and direct responses as responses,
//! faults, timeouts, retries on other endpoints, balancing, outlier detection, limits. Bodies stream both ways; one
//! that may be sent again is kept as it streams, up to 1 MiB. What the rules made of a request is a
//! [`RouteInfo`](crate::service::RouteInfo) in the extensions of the response. `Response::url` is what was asked for;
//! of a host that no rule takes, where reqwest was sent on.
//!
//! # What reqwest must leave alone
//!
//! [`client_builder`] sets this; a client that was built otherwise works with these differences:
//!
//! - **Retries.** reqwest sends again what an HTTP/2 server refused unprocessed. It cannot here, whatever its
//!   settings: it is given bodies that it can only read once. Tries do not multiply. Its pool replaces a connection
//!   that was closed before a byte was written, as our own transport does.
//! - **Redirects.** reqwest follows a `location` by itself, past the rules and relative to the address of an endpoint.
//!   Use `redirect::Policy::none()`, and a layer above [`MeshRouter`](crate::MeshRouter) that follows them. A client that
//!   follows them does not send a body again, also to a host that no rule takes: a 307 for one comes back as it is.
//! - **Paths.** reqwest resolves `.` and `..` in them, `%2e` too, and takes `\` for `/`. A rule that matched such a path,
//!   as with `pathNormalization: NONE`, or rewrote one to it, matched another than would be sent: the request fails as a
//!   local reset (`LR`).
//! - **Proxies.** The system's proxy would be asked for the address of an endpoint. Use `no_proxy()`.
//! - **Its timeouts** bound one try each. A `RequestBuilder::timeout` bounds all tries of a middleware's request too.
//! - **Cookies.** Leave `cookie_store` off. It would keep them by the address of the endpoint, which is all that reqwest
//!   knows: those of one host go to every other host there, and not to further endpoints of their own. A middleware
//!   before [`MeshMiddleware`] can keep them by host.
//! - **Default headers** are set below the rules, which do not see them.
//!
//! # What is not honored, and why
//!
//! The [table](crate::integrate#what-only-our-own-transport-honors) of what needs the connection; and in the
//! middleware mirrors, because the chain that it runs in ends with its request. Requests to `https` URIs pass through,
//! as in a sidecar. A request goes by the host of its URL: where a rule takes it, a `host` header that names another is
//! replaced.

mod middleware;
mod path;

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use foldhash::HashMap;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use pin_project_lite::pin_project;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};
use tower_service::Service;

pub use middleware::MeshMiddleware;
use path::check_path;

use crate::error::BoxError;
use crate::outcome::{Failure, FailureError, is_local, of_hyper, of_unanswered};
use crate::service::RequestBody;

/// A builder of clients that make one try of one request and leave all else to the rules: no retries, no redirects, no
/// proxies. Everything may still be set.
pub fn client_builder() -> ClientBuilder {
    Client::builder().retry(reqwest::retry::never()).redirect(Policy::none()).no_proxy()
}

/// A [`reqwest::Client`] as the inner service of a [`MeshRouter`](crate::MeshRouter).
///
/// Clones share the client and its pool. Its errors say which of Envoy's failures they are; their source is the
/// [`reqwest::Error`].
#[derive(Clone, Debug)]
pub struct ReqwestService {
    client: Client,
}

impl ReqwestService {
    /// Sends requests with `client`, best one of [`client_builder`].
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client.
    pub fn get_ref(&self) -> &Client {
        &self.client
    }
}

impl<B> Service<Request<RequestBody<B>>> for ReqwestService
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<reqwest::Body>;
    type Error = FailureError;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FailureError>> {
        self.client.poll_ready(cx).map_err(failed)
    }

    fn call(&mut self, request: Request<RequestBody<B>>) -> ReqwestFuture {
        let state = match check_path(&request).and_then(|()| to_reqwest(request).map_err(failed)) {
            Ok(request) => State::Sending { call: self.client.call(request) },
            Err(error) => State::Refused { error: Some(error) },
        };
        ReqwestFuture { state }
    }
}

pin_project! {
    /// Response future of [`ReqwestService`].
    pub struct ReqwestFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProject]
    enum State {
        Sending { #[pin] call: <Client as Service<reqwest::Request>>::Future },
        Refused { error: Option<FailureError> },
    }
}

impl Future for ReqwestFuture {
    type Output = Result<Response<reqwest::Body>, FailureError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Sending { call } => Poll::Ready(ready!(call.poll(cx)).map(Into::into).map_err(failed)),
            StateProject::Refused { error } => error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}

/// The request as reqwest has it. Its body is read as it is sent, and never by reqwest a second time.
fn to_reqwest<B>(request: Request<RequestBody<B>>) -> Result<reqwest::Request, reqwest::Error>
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut request = request.map(|body| match body.is_end_stream() {
        // Wrapped as well: what reqwest can clone it may send again.
        true => reqwest::Body::wrap(Empty::<Bytes>::new()),
        false => reqwest::Body::wrap(Shared(Mutex::new(Box::pin(body)))),
    });
    // Which protocol it goes out in is the client's to choose.
    *request.version_mut() = Version::HTTP_11;
    // What is in the extensions only reqwest itself can take over.
    let plain = request.extensions().is_empty();
    let Some(url) = plain.then(|| url_of(request.uri())).flatten() else { return request.try_into() };
    let (head, body) = request.into_parts();
    let mut request = reqwest::Request::new(head.method, url);
    *request.headers_mut() = head.headers;
    *request.body_mut() = Some(body);
    Ok(request)
}

/// The URL of a request in plain text, by that of its host, of which each thread keeps some: to parse a whole one is a
/// tenth of what a request costs. `None`: an unusual one.
fn url_of(uri: &Uri) -> Option<Url> {
    const MOST: usize = 1024;
    thread_local! {
        // By its text: an `Authority` is hashed letter by letter.
        static HOSTS: RefCell<HashMap<Box<str>, Url>> = RefCell::default();
    }
    let plain = uri.scheme() == Some(&Scheme::HTTP);
    let authority = uri.authority().map(Authority::as_str).filter(|authority| plain && !authority.contains('@'))?;
    let kept = |hosts: &RefCell<HashMap<Box<str>, Url>>| {
        let mut hosts = hosts.borrow_mut();
        if let Some(url) = hosts.get(authority) {
            return Some(url.clone());
        }
        let url = Url::parse(&format!("http://{authority}")).ok()?;
        if hosts.len() >= MOST {
            hosts.clear();
        }
        hosts.insert(authority.into(), url.clone());
        Some(url)
    };
    let mut url = HOSTS.try_with(kept).ok().flatten()?;
    url.set_path(uri.path());
    url.set_query(uri.query());
    Some(url)
}

fn failed(error: reqwest::Error) -> FailureError {
    FailureError::new(failure(&error), error)
}

/// Which failure an error of reqwest is: by its kind, then by the first error in its sources that is known.
fn failure(error: &reqwest::Error) -> Failure {
    if error.is_builder() || error.is_redirect() {
        return Failure::LocalReset;
    }
    if error.is_connect() {
        return if error.is_timeout() {
            Failure::ConnectTimeout
        } else if sources(error).filter_map(|error| error.downcast_ref()).any(is_local) {
            Failure::ConnectLocal
        } else {
            Failure::ConnectRefused
        };
    }
    match sources(error).find_map(|error| error.downcast_ref()) {
        Some(cause) if error.is_request() => of_unanswered(cause),
        Some(cause) => of_hyper(cause),
        // Its own timeout is that of one try.
        None if error.is_timeout() => Failure::PerTryTimeout,
        None => Failure::RemoteReset,
    }
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// A body that may be shared because reqwest wants it so. The lock is free whenever it is taken: a body has one reader.
struct Shared<B>(Mutex<Pin<Box<B>>>);

impl<B> Shared<B> {
    fn look<T>(&self, look: impl FnOnce(&B) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<B: Body<Data = Bytes>> Body for Shared<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.look(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.look(Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways to a URL lead to the same one.
    #[test]
    fn a_url_by_its_host_is_the_one_that_is_parsed() {
        for address in [
            "10.1.2.3:9080",
            "10.1.2.3",
            "127.0.0.1:80",
            "[2001:db8::7]:8080",
            "[::1]",
            "Name.test",
            "name.TEST:81",
            "münchen.test",
        ] {
            for path in [
                "",
                "/",
                "/a/b",
                "/a/../b",
                "/a//%2e%2e/c",
                "/a%20b;c=d",
                "/ü",
                "/a\\b",
                "/?",
                "/a?b=c&d='e'",
                "//other.test/x",
                "/.//x",
                "?x",
            ] {
                let Ok(uri) = format!("http://{address}{path}").parse::<Uri>() else { continue };
                let parsed = Url::parse(&uri.to_string()).ok();
                assert!(parsed.is_some());
                assert_eq!(url_of(&uri), parsed, "{uri}");
            }
        }
    }

    #[test]
    fn other_uris_are_for_reqwest() {
        for uri in ["https://name.test/", "http://who@name.test/", "/path", "name.test:80"] {
            assert_eq!(url_of(&uri.parse().unwrap_or_default()), None, "{uri}");
        }
    }
}
