//! Ending without breaking anything: [`Drain`] tells connections to finish, and knows when the last one has.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

/// Tells everything that holds a [`Draining`] to finish, and waits for everything that holds an [`Alive`].
#[derive(Debug)]
pub(super) struct Drain {
    /// Whether it has begun.
    signal: watch::Sender<bool>,
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
    signal: watch::Receiver<bool>,
    leaving: Option<Leaving>,
}

/// Another reason to finish: what a connection was opened for is not there any more.
#[derive(Clone)]
struct Leaving {
    versions: watch::Receiver<u64>,
    is_gone: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Drain {
    pub(super) fn new() -> Self {
        let (alive, ends) = mpsc::channel(1);
        Self { signal: watch::Sender::new(false), alive, ends }
    }

    pub(super) fn alive(&self) -> Alive {
        Alive { _held: self.alive.clone() }
    }

    pub(super) fn draining(&self) -> Draining {
        Draining { signal: self.signal.subscribe(), leaving: None }
    }

    /// Begins the drain and waits until the last [`Alive`] is gone.
    pub(super) async fn finish(mut self) {
        self.signal.send_replace(true);
        drop(self.alive);
        // Nothing is ever sent: it ends when all senders are gone.
        let _ = self.ends.recv().await;
    }
}

impl Draining {
    /// Begins as well when `is_gone` says so, which is asked with each of `versions`.
    pub(super) fn or_when(
        self,
        versions: watch::Receiver<u64>,
        is_gone: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { leaving: Some(Leaving { versions, is_gone: Arc::new(is_gone) }), ..self }
    }

    /// Waits until it begins, or until the one who could begin it is gone.
    pub(super) async fn begins(&mut self) {
        let begun = |begun: &bool| *begun;
        let Some(Leaving { versions, is_gone }) = &mut self.leaving else {
            let _ = self.signal.wait_for(begun).await;
            return;
        };
        loop {
            tokio::select! {
                _ = self.signal.wait_for(begun) => return,
                changed = versions.changed() => if changed.is_err() || is_gone() {
                    return;
                },
            }
        }
    }
}

impl std::fmt::Debug for Leaving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaving").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

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
        assert_ready!(task::spawn(draining.begins()).poll());
    }

    #[tokio::test]
    async fn it_begins_for_one_whose_reason_is_gone() {
        let (drain, gone, versions) = (Drain::new(), Arc::new(AtomicBool::new(false)), watch::Sender::new(1));
        let is_gone = {
            let gone = gone.clone();
            move || gone.load(Ordering::Relaxed)
        };
        let (mut leaving, other) = (drain.draining().or_when(versions.subscribe(), is_gone), drain.draining());
        let mut begins = task::spawn(leaving.begins());
        assert_pending!(begins.poll());
        versions.send_replace(2);
        assert!(begins.is_woken());
        assert_pending!(begins.poll());
        gone.store(true, Ordering::Relaxed);
        versions.send_replace(3);
        assert_ready!(begins.poll());
        assert_pending!(task::spawn(other.clone().begins()).poll());
    }

    #[tokio::test]
    async fn with_nobody_alive_it_ends_at_once() {
        assert_ready!(task::spawn(Drain::new().finish()).poll());
    }
}
