//! How steadily a pool is asked for: [`Asked`].

use std::sync::atomic::{AtomicU16, Ordering};

/// Between which of the last sweeps something was asked for, a bit each; the lowest: since the last one.
pub(super) struct Asked(AtomicU16);

impl Asked {
    /// For the first time.
    pub(super) fn now() -> Self {
        Self(AtomicU16::new(1))
    }

    pub(super) fn again(&self) {
        if self.0.load(Ordering::Relaxed) & 1 == 0 {
            self.0.fetch_or(1, Ordering::Relaxed);
        }
    }

    /// There is a sweep.
    pub(super) fn sweep(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |asked| Some(asked << 1));
    }

    /// Whether that was since the last sweep but one.
    pub(super) fn is_lately(&self) -> bool {
        self.0.load(Ordering::Relaxed) & 0b11 != 0
    }

    /// Between how many of the last 16 sweeps it was.
    pub(super) fn times(&self) -> u32 {
        self.0.load(Ordering::Relaxed).count_ones()
    }
}
