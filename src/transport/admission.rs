//! The limits of a cluster that a request passes on its way to a connection.

use super::connect::Target;
use super::failure;
use crate::outcome::FailureError;
use crate::service::Admission;
use crate::upstream::Permit;

/// One request at the gate to the connections: it counts among those on a connection (`http2MaxRequests`), and not while
/// it waits for one (`http1MaxPendingRequests`).
pub(super) struct Gate(pub(super) Admission);

impl Gate {
    /// Leaves those on a connection for those who wait for one, until what is returned is dropped.
    pub(super) fn wait(&self, target: &Target) -> Result<Option<Permit>, FailureError> {
        self.0.release();
        match target.limits() {
            Some(limits) => limits.pending().map(Some).ok_or_else(|| failure::of_overflow("too many requests wait")),
            None => Ok(None),
        }
    }

    /// Joins those on a connection.
    pub(super) fn enter(&self) -> Result<(), FailureError> {
        if self.0.acquire() { Ok(()) } else { Err(failure::of_full_cluster()) }
    }
}
