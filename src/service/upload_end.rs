//! The end of a request's body, which others wait for: [`UploadEnd`].

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

/// Tells when a body has ended: the timeouts of a request begin then.
#[derive(Debug, Default)]
pub(super) struct UploadEnd {
    end: OnceLock<Instant>,
    /// Who waits for it; looked at only while there is none.
    waker: Mutex<Option<Waker>>,
}

impl UploadEnd {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body had been read to its end at `end`; only the first end counts.
    pub(super) fn ended(&self, end: Instant) {
        if self.end.set(end).is_ok()
            && let Some(waker) = self.waker().take()
        {
            waker.wake();
        }
    }

    /// When the body had been read to its end; otherwise the task is woken at that moment.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Instant> {
        if self.end.get().is_none() {
            match &mut *self.waker() {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
        }
        // It may have come before the waker stood there.
        self.end.get().map_or(Poll::Pending, |end| Poll::Ready(*end))
    }
}
