//! A request's place among those a cluster admits: [`Admission`].

use std::sync::{Arc, Mutex, PoisonError};

use crate::upstream::{Limits, Permit};

/// A request's place among the requests that a cluster admits at a time (`http2MaxRequests`).
///
/// The router takes the place when it sends a request on. A transport that has to wait for a connection first gives it
/// [back](Self::release) while the request waits, and [takes it again](Self::acquire) once the request has its
/// connection. Clones are the same place. Without a limit there is nothing to hold and nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    slot: Option<Arc<Slot>>,
}

#[derive(Debug)]
struct Slot {
    limits: Arc<Limits>,
    /// Never waited for: the request's own tasks take it for a moment.
    permit: Mutex<Option<Permit>>,
}

impl Admission {
    /// A place in `limits`; `None` if there is none.
    pub(crate) fn of(limits: &Arc<Limits>) -> Option<Self> {
        let settings = limits.settings();
        if settings.requests.is_none() && settings.retry_budget.is_none() {
            return Some(Self::default());
        }
        let permit = limits.request()?;
        Some(Self { slot: Some(Arc::new(Slot { limits: Arc::clone(limits), permit: Mutex::new(Some(permit)) })) })
    }

    /// Gives the place back: the request waits for a connection.
    pub fn release(&self) {
        if let Some(slot) = &self.slot {
            drop(slot.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    /// Takes a place again. `false`: there is none, and the request has to fail as an
    /// [overflow](crate::outcome::Failure::Overflow).
    pub fn acquire(&self) -> bool {
        let Some(slot) = &self.slot else { return true };
        let mut permit = slot.permit.lock().unwrap_or_else(PoisonError::into_inner);
        if permit.is_none() {
            *permit = slot.limits.request();
        }
        permit.is_some()
    }
}
