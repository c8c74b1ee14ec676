//! A request's place among those a cluster admits: [`Admission`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use crate::upstream::{Limits, Permit};

/// A request's place among the requests that a cluster admits at a time (`http2MaxRequests`).
///
/// The router takes the place when it sends a request on. A transport that has to wait for a connection first gives it
/// [back](Self::release) while the request waits, and [takes it again](Self::acquire) once the request has its
/// connection; `perTryTimeout` runs from then on, as in Envoy. Over a client that does neither it runs from the start.
/// Clones are the same place. Without a limit and without such a timeout there is nothing to hold and nothing is
/// allocated.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    slot: Option<Arc<Slot>>,
}

#[derive(Debug)]
struct Slot {
    limits: Arc<Limits>,
    /// Never waited for: the request's own tasks take it for a moment.
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Place {
    permit: Option<Permit>,
    /// When the request got its connection, as far as is known; `None` while it waits for one.
    connected: Option<Instant>,
    waker: Option<Waker>,
}

impl Admission {
    /// A place in `limits`; `None` if there is none. `timed`: somebody asks when the request gets its connection.
    pub(crate) fn of(limits: &Arc<Limits>, timed: bool) -> Option<Self> {
        let settings = limits.settings();
        if settings.requests.is_none() && settings.retry_budget.is_none() && !timed {
            return Some(Self::default());
        }
        let place = Place { permit: Some(limits.request()?), connected: timed.then(Instant::now), waker: None };
        Some(Self { slot: Some(Arc::new(Slot { limits: Arc::clone(limits), place: Mutex::new(place) })) })
    }

    /// Gives the place back: the request waits for a connection.
    pub fn release(&self) {
        if let Some(slot) = &self.slot {
            let mut place = slot.lock();
            place.connected = None;
            drop(place.permit.take());
        }
    }

    /// Takes a place again: the request has its connection. `false`: there is none, and the request has to fail as an
    /// [overflow](crate::outcome::Failure::Overflow).
    pub fn acquire(&self) -> bool {
        let Some(slot) = &self.slot else { return true };
        let mut place = slot.lock();
        if place.permit.is_none() {
            place.permit = slot.limits.request();
        }
        if place.connected.is_none() {
            place.connected = Some(Instant::now());
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
        place.permit.is_some()
    }

    /// When the request got its connection; otherwise the task is woken when it does.
    pub(super) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<Instant> {
        let Some(slot) = &self.slot else { return Poll::Pending };
        let mut place = slot.lock();
        match place.connected {
            Some(connected) => Poll::Ready(connected),
            None => {
                place.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
