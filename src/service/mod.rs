//! The motion: a request through the rules to an endpoint and back, as a tower Layer.
//!
//! 1. [`MeshService`] forwards readiness. `call` reads one snapshot, once; nothing of it is asked again.
//! 2. The head and the [`Origin`](crate::request::Origin) become a view; host, virtual host and first matching rule
//!    give the action.
//! 3. The cluster is drawn once. Request headers of the rule are applied, an endpoint is picked, the URI names it, the
//!    `Host` header keeps the authority, and an [`Aim`] in the [`RequestBody`] says it again for those who read it.
//! 4. The inner service is called in the [`ResponseFuture`] without a box.
//! 5. An answer gets the rule's response headers and a [`RouteInfo`] in its extensions; its [`ResponseBody`] holds the
//!    endpoint's count until it ends. A failure becomes the answer Envoy would give.
//!
//! # Errors
//!
//! Verdicts are responses. `Err` comes out where no rule took the request, untouched, and from bodies; the error
//! behind a response is its [`RouteInfo::cause`].
//!
//! # Differences from Envoy
//!
//! A sidecar sees bytes on a connection, this a request in a process; what costs an application more than it tells is
//! left out.
//!
//! - Requests of the application ([`Origin::Mesh`](crate::request::Origin)) get no `x-request-id`,
//!   `x-forwarded-proto` and `x-envoy-attempt-count`, their responses no `x-envoy-upstream-service-time`, `server` and
//!   `date`. At a listener the attempt count and the service time are added.
//! - `https` requests of the application and `CONNECT` are not seen by http rules, as in a sidecar; the first go where
//!   `tls` rules send their server name, over a [`Transport`](crate::transport::Transport). What fails there is an
//!   answer too, where a sidecar would close the connection. See [`MeshRouter::with_https_routed`].
//! - An error of no known type counts as a reset by the upstream.
//! - A connection that is upgraded counts as active until the head of the answer has been read.
//!
//! ```
//! # use http::{Request, Response};
//! # use http_body_util::Empty;
//! # use mesh_router::service::{MeshRouter, RequestBody};
//! # use tower::{Layer, ServiceExt, service_fn};
//! type Body = Empty<bytes::Bytes>;
//!
//! # tokio_test::block_on(async {
//! let mesh = mesh_router::Mesh::new();
//! let inner = service_fn(async |request: Request<RequestBody<Body>>| {
//!     assert_eq!(request.uri(), "http://example.com/");
//!     Ok::<_, std::io::Error>(Response::new(Body::new()))
//! });
//! let client = MeshRouter::new(&mesh).layer(inner);
//! // No resource names the host: the request goes on as it is.
//! let response = client.oneshot(Request::get("http://example.com/").body(Body::new())?).await?;
//! assert_eq!(response.status(), 200);
//! # Ok::<_, mesh_router::BoxError>(())
//! # }).unwrap();
//! ```

mod admission;
mod body_error;
mod classify;
mod completion;
mod deadline;
mod decide;
mod exchange;
mod formats;
mod future;
mod https;
mod inbound;
mod layer;
mod local_reply;
mod mirror;
mod mirror_body;
mod request_body;
mod response_body;
mod route_info;
mod router;
mod saved_head;
mod story;
mod upload;

pub use crate::telemetry::ResponseFlags;
pub use admission::Admission;
pub use body_error::BodyError;
pub use future::ResponseFuture;
pub use inbound::{InboundFuture, InboundRouter, InboundService};
pub use layer::{MeshRouter, RetrySafety};
pub use request_body::{Aim, Https, RequestBody};
pub use response_body::ResponseBody;
pub use route_info::RouteInfo;
pub use router::MeshService;
