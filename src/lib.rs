#![cfg_attr(docsrs, feature(doc_cfg))]
//! Istio's traffic rules, in process.
//!
//! A team's VirtualService, DestinationRule, Gateway and ServiceEntry YAML gets its Istio meaning inside a Rust client
//! or server: a tower [`Layer`](tower_layer::Layer) that matches, rewrites, splits, balances and tries again, without a
//! sidecar. The same code is a gateway when it stands alone (`examples/gateway`).
//!
//! ```
//! use http::Request;
//! use http_body_util::Empty;
//! use mesh_router::config::Config;
//! use mesh_router::{Mesh, MeshRouter};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), mesh_router::BoxError> {
//! let mesh = Mesh::new();
//! let report = mesh.apply(Config::from_yaml(
//!     "
//! apiVersion: networking.istio.io/v1
//! kind: ServiceEntry
//! metadata: {name: ratings}
//! spec:
//!   hosts: [ratings.test]
//!   resolution: STATIC
//!   ports: [{number: 80, name: http, protocol: HTTP}]
//!   endpoints: [{address: 10.0.0.7, ports: {http: 9080}}]
//! ",
//!     "ratings.yaml",
//! )?)?;
//! assert_eq!(report.errors().next(), None);
//! // Any tower service that sends requests may stand below; this one answers with the address it was aimed at.
//! let send = service_fn(|request: Request<_>| async move {
//!     Ok::<_, std::io::Error>(http::Response::new(http_body_util::Full::new(bytes::Bytes::from(
//!         request.uri().to_string(),
//!     ))))
//! });
//! let client = ServiceBuilder::new().layer(MeshRouter::new(&mesh)).service(send);
//! let response = client.oneshot(Request::get("http://ratings.test/7").body(Empty::<bytes::Bytes>::new())?).await?;
//! let body = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
//! assert_eq!(body, "http://10.0.0.7:9080/7");
//! # Ok(())
//! # }
//! ```
//!
//! # The paved path
//!
//! | what for | what to begin with |
//! |---|---|
//! | the rules | [`Mesh`]: `Mesh::open` follows a folder, [`Mesh::apply`] takes a [`Config`](config::Config); [`Mesh::builder`] says who this process is ([`Workload`](options::Workload)) and what is true of the mesh ([`MeshOptions`](options::MeshOptions)) |
//! | a client | [`MeshRouter::new`] over [`Transport`] or any other client; [`integrate`] has a guide for each library |
//! | a server | [`MeshRouter::inbound`] around the application |
//! | a gateway | [`gateway::Server`], as `examples/gateway` shows it |
//! | why a request went there | [`RouteInfo`](service::RouteInfo) in the response; [`Snapshot::explain`](snapshot::Snapshot::explain) before it is sent |
//! | how the endpoints are | [`Mesh::endpoints`]; [`Mesh::set_endpoints`] for a discovery of your own |
//! | one request that is special | [`RequestPolicy`](service::RequestPolicy) and [`DeadlineBudget`](service::DeadlineBudget) in its extensions |
//!
//! Choices that Istio has no field for are methods of [`MeshRouter`], off unless called, but for the limits of mirrors:
//! [`with_retry_safety`](MeshRouter::with_retry_safety), [`with_classifier`](MeshRouter::with_classifier),
//! [`with_faults_per_try`](MeshRouter::with_faults_per_try), [`with_sticky_weights`](MeshRouter::with_sticky_weights),
//! [`with_retry_after`](MeshRouter::with_retry_after), [`with_https_routed`](MeshRouter::with_https_routed),
//! [`with_mirror_limits`](MeshRouter::with_mirror_limits), [`with_error_mode`](MeshRouter::with_error_mode).
//!
//! # The one way a request flows
//!
//! 1. `poll_ready` forwards to the inner service. `call` takes the ready inner out, takes one
//!    [`Snapshot`](snapshot::Snapshot) and never loads again for this request.
//! 2. A [`RequestView`](request::RequestView) is prepared from the head, with its path normalized, and from its
//!    [`Origin`](request::Origin).
//! 3. [`resolve`](route::RouteTable::resolve): host, port, first matching rule. One evaluator, generic over a trace:
//!    with the no-op trace it allocates nothing, with a recording one it is
//!    [`explain`](snapshot::Snapshot::explain).
//! 4. Redirects and direct responses end here. The weighted destination is drawn once and kept for all that follows.
//! 5. A fault is drawn: first the delay, then the abort. CORS answers preflights. Header operations run, then rewrites.
//! 6. Tries, under one deadline: an endpoint is picked (priority, place, balancer, not one already tried), the limits
//!    of its cluster admit the request, the inner service sends it, outlier detection is told what it came to. The
//!    chosen endpoint goes down as a typed value in the [body](service::RequestBody), and as the authority of the URI
//!    for services that know nothing of that. Mirrors leave with the first try. If the retry policy and its budget
//!    allow, it goes round again after a pause, with the body that was kept.
//! 7. Response headers. Every failure on a matched route is Envoy's response (status, body, flag) with a
//!    [`RouteInfo`](service::RouteInfo) in its extensions that says why. `Err` comes out only where no rule matched,
//!    from `poll_ready`, and where an application asks for it ([`ErrorMode`](service::ErrorMode)).
//!    The request counts on its endpoint until its response body has ended, in whichever way.
//!
//! The first try runs in the response future without a box; only what waits (a further try, a pause, a copied body)
//! costs more.
//!
//! # The rooms
//!
//! | room | what it holds | may use |
//! |---|---|---|
//! | [`error`] [`dice`] [`request`] | words that all rooms share | |
//! | [`outcome`] | what one try came to | `error` |
//! | [`options`] | what is true of the whole mesh and of this process | `config` |
//! | [`config`] | the words: resources as written, with the place of every field | `error` |
//! | `compile` | the grammar: words to a snapshot, or every mistake with its place | `config` `snapshot` `route` `upstream` `options` `telemetry` `tls` |
//! | [`route`] | the meaning: immutable, pure, synchronous | `options` |
//! | [`upstream`] | the living part: clusters, endpoints, balancers, health, limits; atomics, no tasks | |
//! | [`telemetry`] | what was seen: Istio's standard metrics | `upstream` `options` |
//! | [`snapshot`] | routes, clusters and listeners, published together | `route` `upstream` `telemetry` `options` |
//! | [`mesh`] | the shared handle | `config` `compile` `snapshot` `upstream` `options` |
//! | [`service`] | the motion: layers, services, the response future, bodies, mirrors, local replies | `mesh` `snapshot` `route` `upstream` `telemetry` |
//! | `tls` | certificates and keys: words to configurations of rustls, kept fresh | `upstream` `snapshot` |
//! | [`transport`] | connections: an inner service over hyper | `upstream` `tls` `service`'s seam |
//! | [`integrate`] | where requests come from: guides and adaptors for other libraries | `service` `mesh` |
//! | [`source`] | where words and addresses come from | `mesh` `config` `options` |
//! | [`gateway`] | listeners: HTTP, TLS and bytes, with Envoy's treatment of heads | `service` `transport` `tls` `source` `mesh` `snapshot` `route` `upstream` `telemetry` |
//!
//! Every room but [`config`] and `tls` may use those of the first two lines as it needs them. Nothing points up and
//! there is no circle; a test compares this table with the imports. `route` and `upstream` do not know each other: a
//! route holds a [`ClusterIndex`](route::ClusterIndex) into the same snapshot. Words change rarely (one swap of the
//! snapshot), endpoints often (one swap of a cluster's endpoint set, read once per try).
//!
//! # Features
//!
//! They add and never alter, but for what the errors of an inner service are taken for: those of hyper are known with
//! `client` or `reqwest`, those of rustls with `tls`, those of hyper-util's client with `hyper-util-client`.
//!
//! | feature | what it adds |
//! |---|---|
//! | `client` (default) | [`transport`]: our own inner service over hyper |
//! | `file` (default) | [`source`]: a folder of YAML, watched; `Mesh::open` |
//! | `tls` | TLS of the transport, and of listeners where there are some: rustls with ring; switches `client` on |
//! | `dns` | names looked up with the TTL of their answers: `TtlResolver` |
//! | `metrics` | Istio's standard metrics through the `metrics` facade, those that [`telemetry`] names |
//! | `discover` | [`mesh`]: endpoints from a `tower::discover::Discover`; `EndpointsHandle::follow` |
//! | `gateway` | [`gateway`]: listeners, on Unix; switches `client`, `file`, `metrics` and `tls` on |
//! | `reqwest` | reqwest under the rules, and the rules as a middleware of `reqwest-middleware` |
//! | `hyper-util-client` | the errors of hyper-util's client say whether it came to a connection; switches `client` on |
//! | `full` | all of them but `dns`, whose resolver is large; on Unix |
//!
#![cfg_attr(not(feature = "gateway"), doc = " [`gateway`]: https://docs.rs/mesh-router/latest/mesh_router/gateway/")]
#![cfg_attr(
    not(feature = "gateway"),
    doc = " [`gateway::Server`]: https://docs.rs/mesh-router/latest/mesh_router/gateway/"
)]

mod compile;
pub mod config;
pub mod dice;
pub mod error;
pub mod mesh;
pub mod options;
pub mod outcome;
pub mod request;
pub mod route;
pub mod service;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;

#[cfg(all(feature = "gateway", not(unix)))]
compile_error!("the features `gateway` and `full` need Unix: listeners share ports and may be socket files");
#[cfg(all(feature = "gateway", unix))]
pub mod gateway;
pub mod integrate;
#[cfg(any(feature = "client", feature = "dns", feature = "file"))]
pub mod source;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "client")]
pub mod transport;

/// Pages for those who come from somewhere else.
#[cfg(any(doc, doctest))]
pub mod guide {
    #[doc = include_str!("guide/coming_from_a_sidecar.md")]
    pub mod coming_from_a_sidecar {}

    #[doc = include_str!("guide/coming_from_retry_middleware.md")]
    pub mod coming_from_retry_middleware {}
}

/// The examples of the README are compiled.
#[cfg(all(doctest, feature = "client", feature = "file"))]
#[doc = include_str!("../README.md")]
struct Readme;

pub use error::{BoxError, Error};
pub use mesh::Mesh;
pub use service::MeshRouter;
#[cfg(feature = "client")]
pub use transport::Transport;
