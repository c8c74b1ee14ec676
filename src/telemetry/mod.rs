//! What was seen: response flags and, with the feature `metrics`, Istio's standard metrics.
//!
//! They are reported as Istio's client proxy does (`reporter="source"`), and what is served behind
//! [`MeshRouter::inbound`](crate::service::MeshRouter::inbound) as its server proxy does (`reporter="destination"`), through
//! the [`metrics`](https://docs.rs/metrics) facade:
//!
//! | Metric | Kind | What it counts |
//! |---|---|---|
//! | `istio_requests_total` | counter | requests |
//! | `istio_request_duration_milliseconds` | histogram, ms | from the beginning of a request to the end of its answer |
//! | `istio_tcp_connections_opened_total` | counter | connections that a gateway passes on (`tcp` and `tls` rules) |
//! | `istio_tcp_connections_closed_total` | counter | those of them that have ended |
//! | `istio_tcp_received_bytes_total` | counter, bytes | what clients sent on them |
//! | `istio_tcp_sent_bytes_total` | counter, bytes | what clients were sent |
//!
//! Handles are made once for a cluster and a common outcome, so that a request costs two additions; install the recorder
//! before the first request: a cluster asks once whether there is one, and without one nothing is measured.
//!
//! A request is counted when its response body has ended, with the flag of what cut it off if that is how it ended. The
//! gRPC status that nobody said is the one that its code stands for. Copies that a mirror gets are not counted.
//!
//! A connection is counted as opened when its upstream stands, with the flag `-` however it ends, and its bytes as they
//! move; where TLS ends at the gateway they are those inside of it. One that comes to nothing is opened and closed at
//! once, with Envoy's flags: `UH` without a healthy endpoint, `UO` over `maxConnections`, `URX` over
//! `http1MaxPendingRequests`, `UF,URX` where the endpoint cannot be reached, `NC` where the destination is not known, `DT`
//! as old as it may become, `-` too long silent or its listener or rule gone for too long before its upstream stands.
//! Those that no rule takes are not counted, as in Istio, nor those whose TLS handshake with the gateway fails.
//!
//! Labels of the workload at the other end, of principals and of how the connection was secured are `unknown`, its revision
//! is `latest`: what is counted is kept by cluster, and no proxy tells who calls. `destination_service_name` and `destination_service_namespace` are those
//! of a Kubernetes Service; of a ServiceEntry they are its host and its own namespace. What has no cluster is for the name
//! `PassthroughCluster` (`InboundPassthroughCluster`), `BlackHoleCluster` or `unknown`: no label is of what a client says.
//!
//! Without the feature nothing is counted.

mod flags;
#[cfg(feature = "metrics")]
mod grpc;
#[cfg(feature = "metrics")]
mod labels;

#[cfg(feature = "metrics")]
#[path = "standard.rs"]
mod kind;
#[cfg(not(feature = "metrics"))]
#[path = "silent.rs"]
mod kind;

#[cfg(feature = "gateway")]
mod streams;

pub use flags::ResponseFlags;
pub(crate) use kind::{ClusterMetrics, MeshMetrics, RequestRecord};
#[cfg(feature = "gateway")]
pub(crate) use streams::StreamRecord;
