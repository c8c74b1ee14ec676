//! hyper-util's client under the rules, and connections of your own under [`Transport`](crate::Transport).
//!
//! # What to write
//!
//! A `legacy::Client` is a tower service: it stands below the layer as it is, with [`RequestBody`] for its body.
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::client::legacy::Client;
//! use hyper_util::client::legacy::connect::HttpConnector;
//! use hyper_util::rt::TokioExecutor;
//! use mesh_router::service::RequestBody;
//! use mesh_router::{Mesh, MeshRouter};
//! use tower::Layer;
//!
//! let mesh = Mesh::new();
//! let mut connector = HttpConnector::new();
//! connector.set_connect_timeout(Some(Duration::from_secs(10)));
//! let client = Client::builder(TokioExecutor::new()).build::<_, RequestBody<Full<Bytes>>>(connector);
//! let client = MeshRouter::new(&mesh).layer(client);
//! # drop(client);
//! ```
//!
//! # What you get
//!
//! Everything of the rules, over its connections and its pool. Errors of hyper and of HTTP/2 are told apart by their
//! types, so that retries, the status of the answer and outlier detection are Envoy's. So are those of connecting with the
//! feature `hyper-util-client`; without it only the kind of an `io::Error` tells them, which a name without an address and
//! a failed TLS handshake do not have. Then, and for a connector with more to say, there is
//! [`with_classifier`](crate::MeshRouter::with_classifier):
//!
//! ```
//! use hyper_util::client::legacy;
//! use mesh_router::outcome::Failure;
//! use mesh_router::{Mesh, MeshRouter};
//!
//! let router = MeshRouter::new(&Mesh::new()).with_classifier(|error| {
//!     let error = error.downcast_ref::<legacy::Error>()?;
//!     error.is_connect().then_some(Failure::ConnectRefused)
//! });
//! # drop(router);
//! ```
//!
//! # What is not honored, and why
//!
//! The [table](crate::integrate#what-only-our-own-transport-honors) of what needs the connection. Its pool sends a
//! request again if a connection was closed before a byte of it was written, as our own transport does;
//! `retry_canceled_requests(false)` leaves that to the rules. For HTTP/2 endpoints build it with `http2_only(true)`: it
//! does not learn a cluster's protocol. A request goes by the host of its URI: where a rule takes it, a `Host` header
//! that names another is replaced.
//!
//! # Connections of your own
//!
//! [`TransportBuilder::connector`](crate::transport::TransportBuilder::connector) takes a function from an address to
//! anything that reads and writes: a socket file, a proxy, a simulated network. All that [`Transport`](crate::Transport)
//! honors is honored over it; the `connectTimeout` of the cluster covers it.
//!
//! ```
//! use mesh_router::Transport;
//! use mesh_router::upstream::Address;
//! use tokio::net::UnixStream;
//!
//! // Whatever the endpoint, through the socket of a proxy on this machine.
//! let transport = Transport::builder().connector(|_: Address| UnixStream::connect("/run/proxy.sock")).build();
//! # drop(transport);
//! ```
//!
//! [`RequestBody`]: crate::service::RequestBody
