//! The same names without the feature `metrics`: nothing is held, nothing is done.

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::flags::ResponseFlags;
use crate::options::Workload;
use crate::upstream::ClusterKey;

/// The metrics of one cluster; nothing without the feature `metrics`.
#[derive(Clone, Debug)]
pub(crate) struct ClusterMetrics {}

impl ClusterMetrics {
    /// The metrics of the cluster `key` of a service that has this name in this namespace, called by a workload that is
    /// not known.
    pub(crate) fn new(_key: &ClusterKey, _name: &str, _namespace: &str) -> Self {
        Self {}
    }

    /// The same, called by `workload`.
    #[must_use]
    pub(crate) fn with_source(self, _workload: &Workload) -> Self {
        self
    }
}

/// The metrics of requests without a cluster; nothing without the feature `metrics`.
#[derive(Clone, Debug)]
pub(crate) struct MeshMetrics {
    pub(crate) pass_through: ClusterMetrics,
    pub(crate) black_hole: ClusterMetrics,
    pub(crate) no_route: ClusterMetrics,
}

impl MeshMetrics {
    /// The metrics of requests of `workload`.
    pub(crate) fn new(_workload: &Workload) -> Self {
        Self { pass_through: ClusterMetrics {}, black_hole: ClusterMetrics {}, no_route: ClusterMetrics {} }
    }

    /// The metrics of requests that `workload` serves.
    pub(crate) fn received(workload: &Workload) -> Self {
        Self::new(workload)
    }

    pub(crate) fn of<'a>(&self, cluster: &'a ClusterMetrics) -> &'a ClusterMetrics {
        cluster
    }
}

/// What will be counted when a request has ended.
#[derive(Debug)]
pub(crate) struct RequestRecord {}

impl RequestRecord {
    pub(crate) fn new(_metrics: &ClusterMetrics, _grpc: bool) -> Self {
        Self {}
    }

    pub(crate) fn started(&self) -> Option<Instant> {
        None
    }

    pub(crate) fn answered(&mut self, _status: StatusCode, _flags: ResponseFlags) {}

    pub(crate) fn failed(&mut self, _status: StatusCode, _flags: ResponseFlags) {}

    pub(crate) fn add_flags(&mut self, _flags: ResponseFlags) {}

    pub(crate) fn trailers(&mut self, _trailers: &HeaderMap) {}
}
