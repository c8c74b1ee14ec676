//! Ending without breaking anything: [`Drain`] tells connections to finish, and knows when the last one has.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

/// How long what a connection was opened for may be gone before it ends: Istio's `drainDuration`.
const DRAIN_TIME: Duration = Duration::from_secs(45);

/// Why a connection is to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// What it was opened for is gone.
    Gone,
    /// Everything ends.
    End,
}

/// Tells everything that holds a [`Draining`] to finish, and waits for everything that holds an [`Alive`].
#[derive(Debug)]
pub(super) struct Drain {
    signal: watch::Sender<Option<Reason>>,
    alive: mpsc::Sender<()>,
    ends: mpsc::Receiver<()>,
}

/// Something a drain waits for, as long as it is held.
#[derive(Clone, Debug)]
pub(super) struct Alive {
    _held: mpsc::Sender<()>,
}

/// Hears when a drain begins. What is said of it has been heard by its clones, too.
#[derive(Clone, Debug)]
pub(super) struct Draining {
    signal: watch::Receiver<Option<Reason>>,
    leaving: Option<Leaving>,
    /// When its time is over, once it has heard that it is to leave.
    until: Arc<OnceLock<Instant>>,
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
        Self { signal: watch::Sender::new(None), alive, ends }
    }

    pub(super) fn alive(&self) -> Alive {
        Alive { _held: self.alive.clone() }
    }

    pub(super) fn draining(&self) -> Draining {
        Draining { signal: self.signal.subscribe(), leaving: None, until: Arc::default() }
    }

    /// Says that what was connected to is gone.
    pub(super) fn leave(&self) {
        self.signal.send_replace(Some(Reason::Gone));
    }

    /// Says that everything ends.
    pub(super) fn end(&self) {
        self.signal.send_replace(Some(Reason::End));
    }

    /// Whether there is nothing to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.alive.strong_count() == 1
    }

    /// Has everything end and waits until the last [`Alive`] is gone.
    pub(super) async fn finish(mut self) {
        self.end();
        drop(self.alive);
        // Nothing is ever sent: it ends when all senders are gone.
        let _ = self.ends.recv().await;
    }
}

impl Draining {
    /// Begins as well when `is_gone` says so, which is asked with each of `versions`. It has a time of its own.
    pub(super) fn or_when(
        self,
        versions: watch::Receiver<u64>,
        is_gone: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let leaving = Some(Leaving { versions, is_gone: Arc::new(is_gone) });
        Self { signal: self.signal, leaving, until: Arc::default() }
    }

    /// Waits until there is a reason to finish, or until the one who could give it is gone.
    pub(super) async fn begins(&mut self) -> Reason {
        if self.until.get().is_none() && self.reason().await == Reason::End {
            return Reason::End;
        }
        self.until.get_or_init(|| Instant::now() + DRAIN_TIME);
        Reason::Gone
    }

    async fn reason(&mut self) -> Reason {
        let Some(Leaving { versions, is_gone }) = &mut self.leaving else {
            return heard(&mut self.signal, Option::is_some).await;
        };
        loop {
            tokio::select! {
                reason = heard(&mut self.signal, Option::is_some) => return reason,
                changed = versions.changed() => if changed.is_err() {
                    return Reason::End;
                } else if is_gone() {
                    return Reason::Gone;
                },
            }
        }
    }

    /// Waits until a connection is to end: when everything does, or when what it was opened for, of which `leave` hears
    /// at once, has been gone for long enough; the reason is told.
    pub(super) async fn ends(&mut self, leave: impl FnOnce()) -> Reason {
        if self.begins().await == Reason::End {
            return Reason::End;
        }
        leave();
        let until = *self.until.get_or_init(|| Instant::now() + DRAIN_TIME);
        let ends = heard(&mut self.signal, |reason| *reason == Some(Reason::End));
        timeout_at(until, ends).await.unwrap_or(Reason::Gone)
    }

    /// Waits until what a connection was opened for has been gone for long enough. That everything ends is no reason.
    pub(super) async fn expires(&mut self) {
        if self.ends(|| ()).await == Reason::End {
            std::future::pending().await
        }
    }
}

/// Waits for a reason that will do. Whoever cannot be heard any more has everything end.
async fn heard(signal: &mut watch::Receiver<Option<Reason>>, will_do: fn(&Option<Reason>) -> bool) -> Reason {
    signal.wait_for(will_do).await.ok().and_then(|reason| *reason).unwrap_or(Reason::End)
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
            assert_eq!(assert_ready!(begins.poll()), Reason::End);
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
        assert_eq!(assert_ready!(begins.poll()), Reason::Gone);
        assert_pending!(task::spawn(other.clone().begins()).poll());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_to_leave_has_a_time_to_do_so_from_when_it_heard_of_it() {
        let (drain, began) = (Drain::new(), Instant::now());
        let (mut gone, mut ended) = (drain.draining(), drain.draining());
        assert!(drain.is_over());
        let alive = drain.alive();
        assert!(!drain.is_over());
        drain.leave();
        let mut leaving = false;
        // It need not be waited for without a pause.
        let waited = tokio::time::timeout(Duration::from_secs(40), gone.ends(|| leaving = true)).await;
        assert!(waited.is_err() && leaving);
        assert_eq!((gone.ends(|| ()).await, began.elapsed()), (Reason::Gone, DRAIN_TIME));
        let mut ends = task::spawn(ended.ends(|| ()));
        assert_pending!(ends.poll());
        drain.end();
        assert_eq!(assert_ready!(ends.poll()), Reason::End);
        drop(alive);
        assert!(drain.is_over());
    }

    #[tokio::test]
    async fn with_nobody_alive_it_ends_at_once() {
        assert_ready!(task::spawn(Drain::new().finish()).poll());
    }
}
