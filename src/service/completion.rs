//! What ends with a request.

use http::HeaderMap;

use super::admission::Admission;
use crate::telemetry::RequestRecord;
use crate::upstream::Picked;

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
    _taken: Option<Taken>,
    record: RequestRecord,
}

impl Completion {
    pub(super) fn new(taken: Option<Taken>, record: RequestRecord) -> Self {
        Self { _taken: taken, record }
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.record.trailers(trailers);
    }
}
