//! What ends with a request.

use http::HeaderMap;

use crate::telemetry::RequestRecord;
use crate::upstream::Picked;

/// Held from the answer until the body has ended; its drop is the end of the request.
#[derive(Debug)]
pub(super) struct Completion {
    _picked: Option<Picked>,
    record: RequestRecord,
}

impl Completion {
    pub(super) fn new(picked: Option<Picked>, record: RequestRecord) -> Self {
        Self { _picked: picked, record }
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.record.trailers(trailers);
    }
}
