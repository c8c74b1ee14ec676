//! Ending without breaking anything: [`Drain`] tells connections to finish, and knows when the last one has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

/// Tells everything that holds a [`Draining`] to finish, and waits for everything that holds an [`Alive`].
#[derive(Debug)]
pub(super) struct Drain {
    begun: Arc<AtomicBool>,
    signal: watch::Sender<()>,
    alive: mpsc::Sender<()>,
    ends: mpsc::Receiver<()>,
}

/// Something a drain waits for, as long as it is held.
#[derive(Clone, Debug)]
pub(super) struct Alive {
    _held: mpsc::Sender<()>,
}

/// Hears when a drain begins.
#[derive(Clone, Debug)]
pub(super) struct Draining {
    begun: Arc<AtomicBool>,
    signal: watch::Receiver<()>,
}

impl Drain {
    pub(super) fn new() -> Self {
        let (alive, ends) = mpsc::channel(1);
        Self { begun: Arc::default(), signal: watch::Sender::new(()), alive, ends }
    }

    pub(super) fn alive(&self) -> Alive {
        Alive { _held: self.alive.clone() }
    }

    pub(super) fn draining(&self) -> Draining {
        Draining { begun: self.begun.clone(), signal: self.signal.subscribe() }
    }

    /// Begins the drain and waits until the last [`Alive`] is gone.
    pub(super) async fn finish(mut self) {
        self.begun.store(true, Ordering::Release);
        self.signal.send_replace(());
        drop(self.alive);
        // Nothing is ever sent: it ends when all senders are gone.
        let _ = self.ends.recv().await;
    }
}

impl Draining {
    /// Whether it has begun. Costs one atomic read.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits until it begins, or until the one who could begin it is gone.
    pub(super) async fn begins(&mut self) {
        if !self.has_begun() {
            let _ = self.signal.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[tokio::test]
    async fn it_ends_with_the_last_one_alive() {
        let drain = Drain::new();
        let mut draining = drain.draining();
        let (first, second) = (drain.alive(), drain.alive());
        {
            let mut begins = task::spawn(draining.begins());
            assert_pending!(begins.poll());
            let mut finish = task::spawn(drain.finish());
            assert_pending!(finish.poll());
            assert!(begins.is_woken());
            assert_ready!(begins.poll());
            drop(first);
            assert_pending!(finish.poll());
            drop(second);
            assert_ready!(finish.poll());
        }
        assert!(draining.has_begun());
    }

    #[tokio::test]
    async fn with_nobody_alive_it_ends_at_once() {
        assert_ready!(task::spawn(Drain::new().finish()).poll());
    }
}
