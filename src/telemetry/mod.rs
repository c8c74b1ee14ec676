//! What was seen: response flags and, with the feature `metrics`, Istio's standard metrics.
//!
//! `istio_requests_total` and `istio_request_duration_milliseconds` are reported as Istio's client proxy does
//! (`reporter="source"`), through the [`metrics`](https://docs.rs/metrics) facade. Handles are made once for a cluster
//! and a common outcome, so that a request costs two additions; install the recorder before the first request: a cluster
//! asks once whether there is one, and without one nothing is measured. A request is counted when its response body has
//! ended, with the flag of what cut it off if that is how it ended. Labels that only a peer's proxy could tell are `unknown`.
//! `destination_service_name` and `destination_service_namespace` are those of a Kubernetes Service; of a ServiceEntry they
//! are its host and its own namespace. Requests without a cluster are for the name `PassthroughCluster`,
//! `BlackHoleCluster` or `unknown`: no label is of what a client says.
//! The gRPC status that nobody said is the one that its code stands for. Copies that a mirror gets are not counted.
//!
//! Without the feature the types stay, hold nothing and do nothing.
//!
//! ```
//! use mesh_router::options::Workload;
//! use mesh_router::telemetry::ClusterMetrics;
//! use mesh_router::upstream::ClusterKey;
//!
//! let key = ClusterKey::new("reviews.default.svc.cluster.local", "v1", 9080);
//! let metrics = ClusterMetrics::new(&key, "reviews", "default").with_source(&Workload::default());
//! # let _ = metrics;
//! ```

mod flags;
#[cfg(feature = "metrics")]
mod grpc;

#[cfg(feature = "metrics")]
#[path = "standard.rs"]
mod kind;
#[cfg(not(feature = "metrics"))]
#[path = "silent.rs"]
mod kind;

pub use flags::ResponseFlags;
pub(crate) use kind::RequestRecord;
pub use kind::{ClusterMetrics, MeshMetrics};
