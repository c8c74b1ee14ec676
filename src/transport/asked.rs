//! How often and how steadily a pool is asked for: [`Asked`].

use std::sync::atomic::{AtomicU8, Ordering};

/// How often something was asked for, and above all after how many sweeps; worth half as much after each.
pub(super) struct Asked(AtomicU8);

/// Set from the first time after a sweep until the next; the other bits count.
const SINCE_SWEEP: u8 = 0x80;

/// What the very first time is worth, which two sweeps leave nothing of.
const FIRST: u8 = 2;

/// What the first time after each later sweep is worth: who is asked for once after each stands at 15 or more in time,
/// once after every second at 5 or more.
const STEADILY: u8 = 16;

/// What each further time is worth: who is new passes the former with the sixth, the latter with the third.
const AGAIN: u8 = 3;

/// As much as counts: nothing is left of it after six sweeps, however often it was.
const MOST: u8 = 63;

impl Asked {
    /// For the first time.
    pub(super) fn now() -> Self {
        Self(AtomicU8::new(SINCE_SWEEP | FIRST))
    }

    /// A time that another thread counts at once may be lost.
    pub(super) fn again(&self) {
        let asked = self.0.load(Ordering::Relaxed);
        if asked != SINCE_SWEEP | MOST {
            let more = if asked & SINCE_SWEEP == 0 { STEADILY } else { AGAIN };
            self.0.store(SINCE_SWEEP | MOST.min((asked & !SINCE_SWEEP) + more), Ordering::Relaxed);
        }
    }

    /// There is a sweep.
    pub(super) fn sweep(&self) {
        self.0.store(self.often() / 2, Ordering::Relaxed);
    }

    /// The more the more often; 0: not lately.
    pub(super) fn often(&self) -> u8 {
        self.0.load(Ordering::Relaxed) & !SINCE_SWEEP
    }
}
