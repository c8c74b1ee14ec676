//! How often a pool is asked for: [`Asked`].

use std::sync::atomic::{AtomicU8, Ordering};

/// How often something was asked for, each time worth half as much after each sweep.
pub(super) struct Asked(AtomicU8);

/// What the first time is worth, which two sweeps leave nothing of.
const FIRST: u8 = 2;

/// What each further time is worth: many hosts are asked for once.
const AGAIN: u8 = 8;

/// As much as counts: nothing is left of it after five sweeps, however often it was.
const MOST: u8 = 31;

impl Asked {
    /// For the first time.
    pub(super) fn now() -> Self {
        Self(AtomicU8::new(FIRST))
    }

    /// A time that another thread counts at once may be lost.
    pub(super) fn again(&self) {
        let asked = self.0.load(Ordering::Relaxed);
        if asked < MOST {
            self.0.store(MOST.min(asked + AGAIN), Ordering::Relaxed);
        }
    }

    /// There is a sweep.
    pub(super) fn sweep(&self) {
        self.0.store(self.often() / 2, Ordering::Relaxed);
    }

    /// The more the more often; 0: not lately.
    pub(super) fn often(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}
