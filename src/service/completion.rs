//! What ends with a request.

use std::sync::Arc;

use http::HeaderMap;

use super::admission::Admission;
use super::body_error::BodyError;
use super::classify;
use crate::outcome::Outcome;
use crate::telemetry::RequestRecord;
use crate::upstream::{Cluster, Picked};

/// What a try holds of its cluster.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) picked: Picked,
    pub(super) admission: Admission,
}

impl Drop for Taken {
    fn drop(&mut self) {
        // A transport may still hold the other end of it.
        self.admission.release();
    }
}

/// Held from the answer until the body has ended; its drop is the end of the request.
#[derive(Debug)]
pub(super) struct Completion {
    taken: Option<Taken>,
    record: Option<RequestRecord>,
    /// Who judges the endpoint by a body that breaks off.
    cluster: Option<Arc<Cluster>>,
}

impl Completion {
    pub(super) fn new(taken: Option<Taken>, record: Option<RequestRecord>) -> Self {
        Self { taken, record, cluster: None }
    }

    /// The same, where outlier detection of `cluster` is told of a body that breaks off.
    pub(super) fn judged_by(self, cluster: Option<Arc<Cluster>>) -> Self {
        Self { cluster, ..self }
    }

    /// The upstream's body failed, after a head that may have been good.
    pub(super) fn broke_off(&self, error: &BodyError) {
        if let Some((cluster, taken)) = self.cluster.as_ref().zip(self.taken.as_ref()) {
            cluster.report(taken.picked.endpoint(), Outcome::Failure(classify::failure(error)));
        }
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(record) = &mut self.record {
            record.trailers(trailers);
        }
    }
}
