//! Things of which a thread keeps a few for the next use, so that a request need not allocate them: [`Spares`].

use std::cell::RefCell;
use std::thread::LocalKey;

/// How many of a kind a thread keeps.
const MOST: usize = 64;

/// Those that a thread keeps.
pub(super) struct Spares<T>(RefCell<Vec<T>>);

impl<T> Spares<T> {
    pub(super) const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// One of them, if there is any.
    pub(super) fn take(of: &'static LocalKey<Self>) -> Option<T> {
        of.with(|spares| spares.0.try_borrow_mut().ok()?.pop())
    }

    /// Keeps `spare`, unless there are enough.
    pub(super) fn keep(of: &'static LocalKey<Self>, spare: T) {
        // A thread that is ending has no more use for it.
        let _ = of.try_with(|spares| {
            if let Ok(mut spares) = spares.0.try_borrow_mut()
                && spares.len() < MOST
            {
                spares.push(spare);
            }
        });
    }
}
