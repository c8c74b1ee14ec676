//! Requests that wait for a connection, in the order they came.
//!
//! Who finds an idle connection is never here. The lock is taken by requests that have to wait anyway, and by whoever
//! has a connection to give while some do; it covers moves in a list.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::connect::Target;
use super::failure;
use crate::outcome::FailureError;
use crate::upstream::Permit;

/// To a failure belongs the place among those who wait: until who waited knows of it, a budget of retries counts that.
type Outcome<T> = Result<T, (Arc<FailureError>, Option<Permit>)>;

/// Those who wait for a `T`, and how many connections there are for them.
pub(super) struct Queue<T> {
    /// How many wait, for those who only want to know whether anybody does.
    waiting: Arc<AtomicUsize>,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    /// The numbers grow from front to back.
    waiters: VecDeque<Waiter<T>>,
    next: u64,
    /// Connections that are being opened.
    opening: usize,
    /// Connections from the first attempt to open them to their end.
    places: usize,
}

struct Waiter<T> {
    number: u64,
    target: Target,
    turn: oneshot::Sender<Outcome<T>>,
    pending: Option<Permit>,
}

/// An attempt to open a connection that has been allowed.
pub(super) struct Opening {
    pub(super) target: Target,
    /// Its place among the connections of its cluster, if those are counted.
    pub(super) permit: Option<Permit>,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let inner = Inner { waiters: VecDeque::new(), next: 0, opening: 0, places: 0 };
        Self { waiting: Arc::default(), inner: Mutex::new(inner) }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        // Ordered against what the asker gave back before: either it sees who waits, or who waits sees that.
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// The number of those who wait, as it goes up and down.
    pub(super) fn waiting(&self) -> &Arc<AtomicUsize> {
        &self.waiting
    }

    /// Waits at the end of the queue; it has a place among those who wait in its cluster, if those are counted.
    pub(super) fn join(&self, target: &Target, pending: Option<Permit>) -> Turn<'_, T> {
        let (turn, receiver) = oneshot::channel();
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.waiters.push_back(Waiter { number, target: target.clone(), turn, pending });
        self.count(&inner);
        Turn { queue: self, number, receiver }
    }

    /// Gives `item` to the first who waits; returns it if nobody does.
    pub(super) fn serve(&self, mut item: T) -> Option<T> {
        while !self.is_empty() {
            let Some(Waiter { turn, pending, .. }) = self.pop() else { break };
            // Free for another, whenever its task gets to run.
            drop(pending);
            match turn.send(Ok(item)) {
                Ok(()) => return None,
                // Gave up this moment.
                Err(Ok(returned)) => item = returned,
                Err(Err(_)) => return None,
            }
        }
        Some(item)
    }

    /// Whether one more connection is to be opened, which is then counted: as long as more wait than `each` for every
    /// attempt under way, and the cluster allows it. The only connection of an endpoint is always allowed.
    pub(super) fn open_one_more(&self, each: usize) -> Option<Opening> {
        let mut inner = self.lock();
        if inner.waiters.len() <= inner.opening.saturating_mul(each) {
            return None;
        }
        let target = inner.waiters.front()?.target.clone();
        let permit = match target.limits() {
            Some(limits) => Some(limits.connection(inner.places == 0)?),
            None => None,
        };
        inner.opening += 1;
        inner.places += 1;
        Some(Opening { target, permit })
    }

    /// Begins an attempt that [`open_one_more`](Self::open_one_more) has allowed.
    pub(super) fn attempt(&self) -> Attempt<'_, T> {
        Attempt { queue: Some(self) }
    }

    fn failed(&self, error: FailureError) {
        let mut inner = self.lock();
        inner.opening -= 1;
        let waiters = std::mem::take(&mut inner.waiters);
        self.count(&inner);
        drop(inner);
        let error = Arc::new(error);
        for waiter in waiters {
            let _ = waiter.turn.send(Err((error.clone(), waiter.pending)));
        }
    }

    /// A connection has ended, or was never opened.
    pub(super) fn ended(&self) {
        self.lock().places -= 1;
    }

    fn pop(&self) -> Option<Waiter<T>> {
        let mut inner = self.lock();
        let first = inner.waiters.pop_front();
        self.count(&inner);
        first
    }

    fn leave(&self, number: u64) {
        let mut inner = self.lock();
        if let Ok(place) = inner.waiters.binary_search_by_key(&number, |waiter| waiter.number) {
            inner.waiters.remove(place);
            self.count(&inner);
        }
    }

    fn count(&self, inner: &Inner<T>) {
        self.waiting.store(inner.waiters.len(), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt to open a connection. Dropped before it came to anything, it has failed: it panicked on its way.
pub(super) struct Attempt<'a, T> {
    queue: Option<&'a Queue<T>>,
}

impl<T> Attempt<'_, T> {
    /// It has led to a connection.
    pub(super) fn opened(mut self) {
        if let Some(queue) = self.queue.take() {
            queue.lock().opening -= 1;
        }
    }

    /// It has failed, and with it all who wait: they would only wait for the next failure.
    pub(super) fn failed(mut self, error: FailureError) {
        if let Some(queue) = self.queue.take() {
            queue.failed(error);
        }
    }
}

impl<T> Drop for Attempt<'_, T> {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.failed(failure::of_lost_attempt());
        }
    }
}

/// A place in the queue; dropping it leaves the queue.
pub(super) struct Turn<'a, T> {
    queue: &'a Queue<T>,
    number: u64,
    receiver: oneshot::Receiver<Outcome<T>>,
}

impl<T> Future for Turn<'_, T> {
    type Output = Result<T, FailureError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(|outcome| match outcome {
            Ok(Ok(item)) => Ok(item),
            Ok(Err((error, _))) => Err(failure::shared(error)),
            Err(_) => Err(failure::of_lost_turn()),
        })
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.queue.leave(self.number);
    }
}
