//! Connections that nobody uses: [`Activity`] knows since when, [`Busy`] says that one is used, [`IdleWatch`] tells when
//! it has been too long.
//!
//! A request costs a look at the clock when it ends. The timer of a connection is touched when it fires, and not by its
//! requests: only then it is asked when the last one ended.

use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::session::Session;

/// The requests of a connection, from their head to the end of both bodies.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    active: AtomicUsize,
    /// When the last one ended, in nanoseconds after it was opened.
    rested: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), active: AtomicUsize::new(0), rested: AtomicU64::new(0) }
    }

    /// Whether there is no request.
    pub(super) fn is_idle(&self) -> bool {
        self.active.load(Ordering::Acquire) == 0
    }

    /// Since when there has been no request; `None` while there is one.
    fn idle_since(&self) -> Option<Instant> {
        self.is_idle().then(|| self.opened + Duration::from_nanos(self.rested.load(Ordering::Relaxed)))
    }
}

/// A part of a request that is not over; the session of its connection.
#[derive(Debug)]
pub(super) struct Busy(Arc<Session>);

impl Busy {
    pub(super) fn new(session: &Arc<Session>) -> Self {
        session.activity.active.fetch_add(1, Ordering::Relaxed);
        Self(session.clone())
    }
}

impl Clone for Busy {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Deref for Busy {
    type Target = Arc<Session>;

    fn deref(&self) -> &Arc<Session> {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Activity { opened, active, rested } = &self.0.activity;
        if active.load(Ordering::Relaxed) == 1 {
            rested.store(u64::try_from(opened.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        active.fetch_sub(1, Ordering::Release);
    }
}

/// Waits until a connection has been idle for long enough.
pub(super) struct IdleWatch {
    session: Arc<Session>,
    longest: Duration,
    /// Before then it counts as used.
    from: Instant,
    timer: Pin<Box<Sleep>>,
    is_set: bool,
}

impl IdleWatch {
    pub(super) fn new(session: &Arc<Session>, longest: Duration) -> Self {
        let (session, from) = (session.clone(), session.activity.opened);
        Self { session, longest, from, timer: Box::pin(sleep_until(from + longest)), is_set: false }
    }

    /// From now on it may be idle for so long, whatever was before.
    pub(super) fn give(&mut self, longest: Duration) {
        (self.from, self.longest, self.is_set) = (Instant::now(), longest, false);
        self.timer.as_mut().reset(self.from + longest);
    }

    /// Whether the time is over. The waker of the first call is woken then.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_set && !self.timer.is_elapsed() {
            return false;
        }
        // It has to know whom to wake, however much the task has done already.
        while let Poll::Ready(()) = pin!(unconstrained(self.timer.as_mut())).poll(cx) {
            let now = Instant::now();
            let ends = self.session.activity.idle_since().unwrap_or(now).max(self.from) + self.longest;
            if ends <= now {
                return true;
            }
            self.timer.as_mut().reset(ends);
        }
        self.is_set = true;
        false
    }
}
