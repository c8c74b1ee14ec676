#![cfg_attr(docsrs, feature(doc_cfg))]
//! Istio's traffic rules, in process.
//!
//! A team's VirtualService, DestinationRule, Gateway and ServiceEntry YAML gets its Istio meaning inside a Rust client
//! or server: a tower [`Layer`](tower_layer::Layer) that matches, splits and balances, without a sidecar. The same code
//! is a gateway when it stands alone (`examples/gateway`).
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
//! mesh.apply(Config::from_yaml(
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
//! # The one way a request flows
//!
//! 1. `poll_ready` forwards to the inner service. `call` takes the ready inner out, takes one
//!    [`Snapshot`](snapshot::Snapshot) and never loads again for this request.
//! 2. A [`RequestView`](request::RequestView) is prepared from the head and from its [`Origin`](request::Origin).
//! 3. [`resolve`](route::RouteTable::resolve): host, port, first matching rule. One evaluator, generic over a trace:
//!    with the no-op trace it allocates nothing, with a recording one it is
//!    [`explain`](snapshot::Snapshot::explain).
//! 4. The weighted destination is drawn once and kept; header operations run.
//! 5. An endpoint is picked, and counted until the response body has ended, in whichever way.
//! 6. The inner service sends the request: the chosen endpoint goes to it as a typed value in the
//!    [body](service::RequestBody), and as the authority of the URI for services that know nothing of that.
//! 7. Every failure on a matched route is Envoy's response (status, body, flag) with a [`RouteInfo`](service::RouteInfo)
//!    in its extensions that says why. `Err` comes out only where no rule matched.
//!
//! # The rooms
//!
//! | room | what it holds | may use |
//! |---|---|---|
//! | [`config`] | the words: resources as written, with the place of every field | `error` |
//! | `compile` | the grammar: words to a snapshot, or every mistake with its place | `config` `snapshot` `route` `upstream` `options` `telemetry` |
//! | [`route`] | the meaning: immutable, pure, synchronous | `error` `request` `outcome` `dice` `options` |
//! | [`upstream`] | the living part: clusters, endpoints, balancers; atomics, no tasks | `error` `request` `outcome` `dice` |
//! | [`snapshot`] | routes and clusters, published together | `route` `upstream` `telemetry` |
//! | [`mesh`] | the shared handle | `compile` `snapshot` `options` |
//! | [`service`] | the motion: layer, service, future, bodies, local replies | `mesh` `snapshot` `route` `upstream` `telemetry` |
//! | [`telemetry`] | what was seen: Istio's standard metrics | `upstream` `options` |
//! | [`transport`] | connections: an inner service over hyper | `upstream` `outcome` `service`'s seam |
//! | [`gateway`] | listeners | `service` `transport` `source` `mesh` |
//! | [`integrate`] | where requests come from: guides and adaptors for other libraries | `service` `mesh` `outcome` `request` |
//! | [`source`] | where words and addresses come from | `mesh` `config` |
//!
//! Nothing points up and there is no circle; a test reads the imports. `route` and `upstream` do not know each other: a
//! route holds a [`ClusterIndex`](route::ClusterIndex) into the same snapshot. Words change rarely (one swap of the
//! snapshot), endpoints often (one swap of a cluster's endpoint set, read once per try).
//!
//! # Features
//!
//! They add and never alter.
//!
//! | feature | what it adds |
//! |---|---|
//! | `client` (default) | [`transport`]: our own inner service over hyper |
//! | `file` (default) | [`source`]: a folder of YAML, watched; `Mesh::open` |
//! | `dns` | names looked up with the TTL of their answers: `TtlResolver` |
//! | `metrics` | Istio's standard metrics through the `metrics` facade |
//! | `gateway` | [`gateway`]: listeners; switches `client`, `file` and `metrics` on |
//! | `reqwest` | reqwest under the rules, and the rules as a middleware of `reqwest-middleware` |
//! | `full` | all of them but `dns`, whose resolver is large |

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

#[cfg(feature = "gateway")]
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
