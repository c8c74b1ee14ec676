//! tonic 0.14: generated clients without a channel, and servers behind the rules of a gateway.
//!
//! # What to write
//!
//! A generated client takes any service that speaks HTTP. No `Channel`: connections, balancing and retries are those of
//! the mesh.
//!
//! ```
//! use bytes::Bytes;
//! use mesh_router::{Mesh, MeshRouter, Transport};
//! use tonic::client::{Grpc, GrpcService};
//! use tonic::codegen::{Body, StdError};
//! use tower::Layer;
//!
//! // What tonic generates looks like this.
//! struct GreeterClient<T>(Grpc<T>);
//!
//! impl<T> GreeterClient<T>
//! where
//!     T: GrpcService<tonic::body::Body>,
//!     T::Error: Into<StdError>,
//!     T::ResponseBody: Body<Data = Bytes> + Send + 'static,
//!     <T::ResponseBody as Body>::Error: Into<StdError> + Send,
//! {
//!     fn with_origin(service: T, origin: http::Uri) -> Self {
//!         Self(Grpc::with_origin(service, origin))
//!     }
//! }
//!
//! # fn main() -> Result<(), mesh_router::BoxError> {
//! let mesh = Mesh::new();
//! let service = MeshRouter::new(&mesh).layer(Transport::new());
//! let client = GreeterClient::with_origin(service, "http://greeter".parse()?);
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! The origin is the host that the rules know, with `http`: TLS towards endpoints is the DestinationRule's. The port of
//! the service has to be one for HTTP/2, by its protocol (`GRPC`, `HTTP2`), its name (`grpc-...`) or `h2UpgradePolicy`.
//!
//! # What you get
//!
//! - **All four kinds of calls.** Streams flow both ways while the call lasts.
//! - **Retries by grpc-status**: `retryOn: unavailable,resource-exhausted,cancelled,deadline-exceeded,internal`, if the
//!   status is in the headers of the answer, as when the server fails a call before it answers. A client stream is sent
//!   again as long as what was read of it is no more than 1 MiB. A channel balances connections; this balances calls.
//! - **Deadlines.** `Request::set_timeout` bounds all tries, within the rule's `timeout`; what is left goes with each
//!   try as `grpc-timeout`. A call that is still being sent has no deadline yet, as in Envoy; one to a host that no rule
//!   takes has none here, its server alone is told.
//! - **Outlier detection by grpc-status**, as HTTP statuses that they stand for.
//! - **Answers of the rules as statuses**: no endpoint, a timeout or a failed connection is `Unavailable`, with Envoy's
//!   words as the message; a fault has the status that it names. `Response::extensions` has the
//!   [`RouteInfo`](crate::service::RouteInfo) of a call that succeeded.
//!
//! Two errors are `Unknown`, because tonic knows only its own types: a timeout that passes within a stream, with a
//! [`BodyError`](crate::service::BodyError) among the sources of the status whose `is_timeout()` is true; and, to a host
//! that no rule took, a connection that is refused.
//!
//! A match is by path: `/package.Service/Method`.
//!
//! # Servers
//!
//! A generated server, or all of them as `tonic::service::Routes`, is an application like any other:
//! `MeshRouter::inbound(&mesh, "ns/gateway").layer(routes)`, served by hyper-util's HTTP/2 or by axum
//! ([how](super::axum)).
//!
//! # What is not honored, and why
//!
//! - `Endpoint` and `Channel` settings (`concurrency_limit`, `tcp_keepalive`, `tls_config`...): there is none. A
//!   DestinationRule's `connectionPool` and `tls` stand for them, or the builder of the transport.
//! - A status in trailers, after messages, is not tried again and does not count for outlier detection, as in Envoy.
//! - A message that was given to the application is never taken back: there are no retries within a stream.
