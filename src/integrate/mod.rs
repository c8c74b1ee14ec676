//! At home in other people's programs: one guide for each library, and an adaptor where it needs one.
//!
//! | library | what to write | guide |
//! |---|---|---|
//! | hyper-util's client | `MeshRouter::new(&mesh).layer(client)` | [`hyper`], and the feature `hyper-util-client` |
//! | reqwest | `MeshRouter::new(&mesh).layer(ReqwestService::new(client))` | `reqwest`, with the feature of that name |
//! | reqwest-middleware | `ClientBuilder::new(client).with(MeshMiddleware::new(&mesh))` | `reqwest` |
//! | tonic | `GreeterClient::with_origin(MeshRouter::new(&mesh).layer(Transport::new()), origin)` | [`tonic`] |
//! | `tower::discover` | `mesh.endpoints_handle(host, port).follow(changes)` | `EndpointsHandle::follow`, with the feature `discover` |
//! | axum, any tower server | `MeshRouter::inbound(&mesh, "ns/gateway").layer(app)` | [`axum`] |
//!
//! All clients of a process that are made of one [`Mesh`](crate::Mesh) share the health, the budgets and the limits of
//! its endpoints, whatever libraries they are.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::client::legacy::Client;
//! use hyper_util::rt::TokioExecutor;
//! use mesh_router::service::RequestBody;
//! use mesh_router::{Mesh, MeshRouter};
//! use tower::Layer;
//!
//! let mesh = Mesh::new();
//! let client = Client::builder(TokioExecutor::new()).build_http::<RequestBody<Full<Bytes>>>();
//! let client = MeshRouter::new(&mesh).layer(client);
//! # drop(client);
//! ```
//!
//! # What only our own transport honors
//!
//! A foreign client follows the URI, which names the endpoint, and the `Host` header, which names the authority. What
//! needs the connection itself is not honored over it, whatever the configuration says. With
//! [`MeshOptions::foreign_client`](crate::options::MeshOptions::foreign_client) every load names the fields it meets:
//!
//! | field | what happens instead |
//! |---|---|
//! | `tls` | plain HTTP towards the endpoint |
//! | `connectionPool.tcp`: `connectTimeout`, `tcpKeepalive`, `maxConnections`, `maxConnectionDuration`, `idleTimeout` | the client's own settings |
//! | `connectionPool.http`: `maxRequestsPerConnection`, `idleTimeout`, `h2UpgradePolicy`, `useClientProtocol`, `maxConcurrentStreams`, `http2KeepAlive`, `http1MaxPendingRequests` | the client's own settings |
//! | `proxyProtocol` | none is sent |
//! | `address: unix://...` of an endpoint | the URI names a host that there is not: the request fails |
//! | `retries.perTryTimeout` | it begins when the try is sent, not when that has its connection |
//!
//! No load names these:
//!
//! | what | what happens instead |
//! |---|---|
//! | `tls` rules of a VirtualService, for `https` requests | they go to the host of their URI; failures count against the rule's endpoint |
//! | `https` requests with http rules (`with_https_routed`) | `https` to the endpoint's address, whose certificate has to say that |
//! | HTTP/2: `:authority` | names the endpoint's address; `host` names the authority |
//!
//! `http2MaxRequests`, `maxRetries`, outlier detection and all else of http rules are honored over all of them.
//!
//! # Errors that cross `tokio::spawn`
//!
//! A body whose `Error` is [`BoxError`](crate::BoxError) compiles under the layer, but its request cannot be awaited in
//! a spawned task: rustc says that the implementation of `From` is not general enough. Bodies with an error type of
//! their own (`Full`, `Incoming`, `reqwest::Body`, tonic's and axum's `Body`) can.
//!
//! So it is with services for which `BoxError` is written out: a `service_fn` or a `BoxCloneService` that fails with it,
//! a closure of `map_err` or `and_then` that takes it. [`Transport`](crate::Transport) and tower's layers around it can.
//! Give such a service an error type of its own, or box what stands above the layer, outside of the task:
//! `BoxCloneService::new(MeshRouter::new(&mesh).layer(service))`.

pub mod axum;
#[cfg(feature = "client")]
pub mod hyper;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "client")]
pub mod tonic;
