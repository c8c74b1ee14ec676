//! The end of a request's body, which others wait for: [`UploadEnd`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

/// Tells when a body has ended: the timeouts of a request begin then.
#[derive(Debug, Default)]
pub(super) struct UploadEnd {
    state: Mutex<(Option<Instant>, Option<Waker>)>,
}

impl UploadEnd {
    fn lock(&self) -> MutexGuard<'_, (Option<Instant>, Option<Waker>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body has been read to its end.
    pub(super) fn ended(&self) {
        let (end, waker) = &mut *self.lock();
        end.get_or_insert_with(Instant::now);
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }

    /// When the body had been read to its end; otherwise the task is woken at that moment.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Instant> {
        let (end, waker) = &mut *self.lock();
        match end {
            Some(end) => Poll::Ready(*end),
            None => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}
