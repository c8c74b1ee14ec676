//! The limits of a cluster that a request passes on its way to a connection.

use std::sync::Arc;

use super::connect::Target;
use super::failure;
use crate::outcome::FailureError;
use crate::upstream::{Limits, Permit};

/// The permit of one request, which counts among those on a connection (`http2MaxRequests`), and not while it waits for
/// one (`http1MaxPendingRequests`).
pub(super) struct Admission {
    /// `None` where nothing is counted.
    limits: Option<Arc<Limits>>,
    permit: Option<Permit>,
    /// Whether requests are counted at all: whoever sent this one had it admitted.
    counted: bool,
}

impl Admission {
    /// That of a request for `target`, which came with `permit`.
    pub(super) fn new(target: &Target, permit: Option<Permit>) -> Self {
        let counted = permit.is_some();
        Self { limits: target.limits().cloned(), permit, counted }
    }

    /// Leaves those on a connection for those who wait for one, until what is returned is dropped.
    pub(super) fn wait(&mut self) -> Result<Option<Permit>, FailureError> {
        let pending = match &self.limits {
            Some(limits) => Some(limits.pending().ok_or_else(|| failure::of_overflow("too many requests wait"))?),
            None => None,
        };
        self.permit = None;
        Ok(pending)
    }

    /// Joins those on a connection.
    pub(super) fn enter(&mut self) -> Result<(), FailureError> {
        if let Some(limits) = self.limits.as_ref().filter(|_| self.counted) {
            let permit = limits.request().ok_or_else(|| failure::of_overflow("too many requests are under way"))?;
            self.permit = Some(permit);
        }
        Ok(())
    }

    /// The permit, for as long as the response lasts.
    pub(super) fn take(&mut self) -> Option<Permit> {
        self.permit.take()
    }
}
