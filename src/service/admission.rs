//! A request's place among those a cluster admits: [`Admission`].

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use crate::upstream::{Endpoint, Permit};

/// A request's place among the requests that a cluster admits at a time (`http2MaxRequests`).
///
/// The router takes the place when it sends a request on. A transport that [looks after it](Self::claim) gives it
/// [back](Self::release) while the request waits for a connection, and [takes it again](Self::acquire) once the request
/// has one; `perTryTimeout` runs from then on, as in Envoy. To such a transport requests are also sent on when every
/// place is taken: where no connection is idle they wait for both. Over a client that does nothing of this a request
/// without a place is refused, and the timeout runs from the start.
///
/// Which of the two a client is shows when it is called, be it with a request without a place: if it does not look
/// after that, its future is dropped without being polled, and the request is refused. Once that is known, it is not
/// called with such requests. One that sends when it is called, not when its future is polled, may have sent the first.
///
/// Clones are the same place. Without a limit, and as long as nothing asks when a request has its connection, there is
/// nothing to hold and nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    slot: Option<Arc<Slot>>,
}

#[derive(Debug)]
struct Slot {
    endpoint: Arc<Endpoint>,
    /// Never waited for: the request's own tasks take it for a moment.
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Place {
    permit: Option<Permit>,
    /// Whether the request has been counted as one that began.
    begun: bool,
    /// Whether a transport looks after it.
    claimed: bool,
    /// When the request got its connection, as far as is known; `None` while it waits for one.
    connected: Option<Instant>,
    /// How many local failures its endpoint had had then, or when it was sent.
    before: u32,
    waker: Option<Waker>,
}

impl Admission {
    /// A place in the limits of `endpoint`. `None` if there is none, but where the request `waits` for one. `timed`:
    /// somebody asks when it gets its connection.
    pub(crate) fn of(endpoint: &Arc<Endpoint>, timed: bool, waits: bool) -> Option<Self> {
        let limits = endpoint.limits();
        let settings = limits.settings();
        if settings.requests.is_none() && settings.retry_budget.is_none() && !timed {
            return Some(Self::default());
        }
        let permit = limits.request();
        if permit.is_none() && !waits {
            return None;
        }
        let (begun, claimed, connected) = (permit.is_some(), false, Some(Instant::now()));
        let place = Place { permit, begun, claimed, connected, before: endpoint.local_failures(), waker: None };
        Some(Self { slot: Some(Arc::new(Slot { endpoint: Arc::clone(endpoint), place: Mutex::new(place) })) })
    }

    /// Says that whoever has it [acquires](Self::acquire) it before the request is on a connection. A transport does so
    /// as soon as it is called.
    pub fn claim(&self) {
        if let Some(slot) = &self.slot {
            slot.lock().claimed = true;
        }
    }

    /// Whether there was no place and nobody who looks after that.
    pub(crate) fn is_refused(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| {
            let place = slot.lock();
            place.permit.is_none() && !place.claimed
        })
    }

    /// Whether it holds a place, if those are counted.
    pub(super) fn is_held(&self) -> bool {
        self.slot.as_ref().is_none_or(|slot| slot.lock().permit.is_some())
    }

    /// Whether the request has its connection, as far as is known.
    pub(crate) fn is_connected(&self) -> bool {
        self.slot.as_ref().is_none_or(|slot| slot.lock().connected.is_some())
    }

    /// Gives the place back: the request waits for a connection.
    pub fn release(&self) {
        if let Some(slot) = &self.slot {
            let mut place = slot.lock();
            place.connected = None;
            drop(place.permit.take());
        }
    }

    /// Takes a place if it has none: the request has its connection, which ends a run of local failures of its endpoint.
    /// `false`: there is none, and the request has to fail as an [overflow](crate::outcome::Failure::Overflow).
    pub fn acquire(&self) -> bool {
        let Some(slot) = &self.slot else { return true };
        let mut place = slot.lock();
        if place.permit.is_none() {
            let limits = slot.endpoint.limits();
            place.permit = if place.begun { limits.request_again() } else { limits.request() };
            place.begun |= place.permit.is_some();
        }
        if place.permit.is_some() {
            place.before = slot.endpoint.connected();
        }
        if place.connected.is_none() {
            place.connected = Some(Instant::now());
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
        place.permit.is_some()
    }

    /// How many [local failures](Endpoint::local_failures) there were when the request got its connection, if somebody
    /// asked. Over a client that does not look after it: when it was sent, for whether it got one shows at its end.
    pub(super) fn before(&self) -> Option<u32> {
        self.slot.as_ref().map(|slot| slot.lock().before)
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

/// Whether a service looks after the [`Admission`] of requests, as far as they have shown: it does once one was seen to.
#[derive(Debug, Default)]
pub(super) struct Waits(AtomicU8);

impl Waits {
    const NO: u8 = 1;
    const YES: u8 = 2;

    /// Whether it may: who is not known is asked.
    pub(super) fn may(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Self::NO
    }

    /// The same once it was called with this one; where there is nothing to hold nobody can tell.
    pub(super) fn shown_by(&self, admission: &Admission) -> bool {
        let known = self.0.load(Ordering::Relaxed);
        if known != Self::YES
            && let Some(slot) = &admission.slot
        {
            let shown = if slot.lock().claimed { Self::YES } else { Self::NO };
            if shown > known {
                self.0.fetch_max(shown, Ordering::Relaxed);
            }
        }
        self.may()
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
