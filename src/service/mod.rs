//! The motion: a request through the rules to an endpoint and back, as a tower Layer.
//!
//! 1. [`MeshService`] forwards readiness. `call` reads one snapshot, once; nothing of it is asked again.
//! 2. The head and the [`Origin`](crate::request::Origin) become a view; host, virtual host and first matching rule
//!    give the action. Redirects and direct responses are answered.
//! 3. The cluster is drawn once. A fault delays, then aborts; preflights are answered; request headers of the rule are
//!    applied, then its rewrites.
//! 4. A try: an endpoint is picked, the limits admit the request, the URI names the endpoint, the `Host` header keeps
//!    the authority, and an [`Aim`] in the [`RequestBody`] says it again for those who read it. The first try calls the
//!    inner service that is ready, in the [`ResponseFuture`], without a box; mirrors leave beside it.
//! 5. What a try came to is told to outlier detection. Where the retry policy asks for another and the limits allow it,
//!    it follows after a pause, with the body that was kept, up to 1 MiB.
//! 6. An answer gets the rule's response headers and a [`RouteInfo`] in its extensions; its [`ResponseBody`] holds the
//!    endpoint's count until it ends. A failure becomes the answer Envoy would give.
//!
//! [`MeshRouter::inbound`] is the same for what an application serves: the rules of a gateway in front of it, without
//! what is for those who call (endpoints, retries), and with the application's own error type. Mirrors leave through a
//! client that it is [given](InboundRouter::with_mirrors).
//!
//! # Errors
//!
//! Verdicts are responses. `Err` comes out where no rule took the request, untouched, from `poll_ready`, which is the
//! inner service's and knows of no request yet, and from bodies, as [`BodyError`]; the error behind a response is its
//! [`RouteInfo::cause`]. By [`ErrorMode::Return`] failures come out as [`MeshError`] instead.
//!
//! # Differences from Envoy
//!
//! A sidecar sees bytes on a connection, this a request in a process; what costs an application more than it tells is
//! left out.
//!
//! - A [`RequestPolicy`] may ask for a second try beside a first that takes long, after a time of its own; Envoy's
//!   `hedge_policy` goes by `perTryTimeout`.
//! - Requests of the application ([`Origin::Mesh`](crate::request::Origin)) get no `x-request-id`,
//!   `x-forwarded-proto`, `x-envoy-attempt-count` and `x-envoy-expected-rq-timeout-ms`, their responses no
//!   `x-envoy-upstream-service-time`, `server` and `date`. At a listener the attempt count, the expected timeout and
//!   the service time are added here. A `grpc-timeout` is rewritten for both, and a request with a [`DeadlineBudget`]
//!   tells the expected timeout wherever it comes from.
//! - `x-envoy-*` headers of a request that steer Envoy change nothing, but those that its rule sets; a [`RequestPolicy`],
//!   which nobody on the wire can send, does.
//! - `https` requests of the application and `CONNECT` are not seen by http rules, as in a sidecar; the first go where
//!   `tls` rules send their server name, over a [`Transport`](crate::Transport). What fails there is an answer too, where
//!   a sidecar would close the connection. See [`MeshRouter::with_https_routed`].
//! - The port that was addressed is that of the URI, 80 or 443 if it names none.
//! - An error of no known type counts as a reset by the upstream, unless
//!   [`with_classifier`](MeshRouter::with_classifier) says otherwise.
//! - A mirror never holds up the request that it copies: one that falls 1 MiB behind is cut off, and what all mirrors
//!   of a layer have under way is [bounded](MeshRouter::with_mirror_limits). Without a runtime there is none.
//! - `perTryTimeout` begins when the try has its connection only over a transport that says so through its
//!   [`Admission`], as [`Transport`](crate::Transport) does; over another client it begins when the try is sent, and
//!   `http2MaxRequests` counts those too that wait for a connection. A timeout is the endpoint's there, whatever it was
//!   spent on, and a run of local failures ends as it was then, once the try shows that it had a connection.
//! - An informational answer (100, 102, 103) is no answer: where Envoy, which hands it to nobody either, neither tries
//!   again nor minds `perTryTimeout` once one came, the try goes on as any other.
//! - A connection that is upgraded counts as active until the head of the answer has been read.
//!
//! Off unless called for: [`RetrySafety::IdempotentOnly`], aborts for [each try](MeshRouter::with_faults_per_try),
//! [sticky weights](MeshRouter::with_sticky_weights), [`Retry-After`](MeshRouter::with_retry_after), http rules for
//! [`https`](MeshRouter::with_https_routed), failures as [errors](MeshRouter::with_error_mode).
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
mod answer;
mod body_error;
mod classify;
mod completion;
mod deadline;
mod deadline_budget;
mod decide;
pub(crate) mod detour;
mod ended;
mod exchange;
mod extras;
mod filters;
mod formats;
mod future;
pub(crate) mod grpc;
mod hedge;
pub(crate) mod hop;
pub(crate) mod https;
mod inbound;
mod layer;
mod local_reply;
mod mesh_error;
mod mirror;
mod mirror_body;
pub(crate) mod names;
#[cfg(feature = "gateway")]
pub(crate) mod refusal;
mod request_body;
mod request_policy;
mod response_body;
mod route_info;
mod router;
mod saved_head;
mod spares;
mod story;
mod unsent;
mod upload;
mod upload_end;

pub use crate::telemetry::ResponseFlags;
pub use admission::Admission;
pub use body_error::BodyError;
pub use deadline_budget::DeadlineBudget;
pub use future::ResponseFuture;
pub use inbound::{InboundFuture, InboundRouter, InboundService};
pub use layer::{MeshRouter, RetrySafety};
pub use mesh_error::{ErrorMode, MeshError};
pub use mirror_body::MirrorBody;
pub use request_body::{Aim, Https, RequestBody};
pub use request_policy::RequestPolicy;
pub use response_body::ResponseBody;
pub use route_info::{Destination, RouteInfo};
pub use router::MeshService;
