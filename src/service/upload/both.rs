//! Who waits for a body that two readers share: [`Both`].

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The tasks of two readers of one body, which wakes only who asked it last: that is both of them. One alone may be gone
/// by then, or have no use for more.
#[derive(Debug, Default)]
pub(super) struct Both {
    waiting: Mutex<[Option<Waker>; 2]>,
}

/// One of two readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    First,
    Second,
}

impl Both {
    fn lock(&self) -> MutexGuard<'_, [Option<Waker>; 2]> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task of one of them waits.
    pub(super) fn wait(&self, which: Which, waker: &Waker) {
        let [first, second] = &mut *self.lock();
        let waiting = match which {
            Which::First => first,
            Which::Second => second,
        };
        *waiting = Some(waker.clone());
    }
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        let waiting = mem::take(&mut *self.lock());
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}
