//! Idle HTTP/1.1 connections of one endpoint, the last used first.
//!
//! Last in, first out keeps few connections warm and lets the others grow old and be closed. Nobody waits here: the
//! stack is a few shards, each under a lock that is only tried, and a thread begins with its own. A thread holds one
//! lock at a time and for some moves of a pointer, so among at least as many shards as threads one is free. Where one
//! thread has the transport for itself, as a worker of the gateway does, every try succeeds at once and the order is
//! exact; otherwise it is exact for each thread. Safe lock-free stacks that do not allocate for each push do not exist
//! without `unsafe`.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use tokio::time::Instant;

use super::line::{Line, Rest};
use super::terms::Terms;

pub(super) struct Stack<B> {
    shards: Box<[Mutex<Shelf<B>>]>,
}

struct Shelf<B> {
    /// Ready when they were put here.
    idle: Vec<Idle<B>>,
    /// Given back while their upload or their driver was not through yet; looked at again when they are needed.
    resting: Vec<Idle<B>>,
}

struct Idle<B> {
    line: Line<B>,
    since: Instant,
}

impl<B> Idle<B> {
    fn is_over(&self, terms: &Terms, now: Instant) -> bool {
        terms.idle.is_some_and(|idle| now.saturating_duration_since(self.since) >= idle)
    }
}

impl<B> Stack<B> {
    /// A stack of `shards` shards, a power of two.
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: (0..shards.max(1)).map(|_| Mutex::default()).collect() }
    }

    /// The connection used last, if it is not idle for too long.
    pub(super) fn pop(&self, terms: &Terms) -> Option<Line<B>> {
        self.each().find_map(|mut shelf| shelf.pop(terms))
    }

    /// An idle connection for requests that wait: none is overlooked.
    pub(super) fn take(&self, terms: &Terms) -> Option<Line<B>> {
        self.shards.iter().find_map(|shard| lock(shard).pop(terms))
    }

    /// One that is not ready yet.
    pub(super) fn take_resting(&self) -> Option<Line<B>> {
        self.shards.iter().find_map(|shard| lock(shard).resting.pop()).map(|resting| resting.line)
    }

    /// Puts a connection back. If every shard is taken, twice in a row, it is closed.
    pub(super) fn push(&self, line: Line<B>) {
        let Some(mut shelf) = self.each().next().or_else(|| self.each().next()) else { return };
        match line.rest() {
            Rest::Ready => shelf.idle.push(Idle { line, since: Instant::now() }),
            Rest::Busy => shelf.resting.push(Idle { line, since: Instant::now() }),
            Rest::Closed => {}
        }
    }

    /// Closes the connections that are idle for too long or too old, and drops the closed ones.
    pub(super) fn sweep(&self, terms: &Terms, now: Instant) {
        // Closed after the lock: who is told of it may look here again.
        let mut gone = Vec::new();
        for mut shelf in self.each() {
            let over = |idle: &mut Idle<B>| {
                idle.is_over(terms, now) || idle.line.is_spent(terms) || idle.line.rest() == Rest::Closed
            };
            let Shelf { idle, resting } = &mut *shelf;
            gone.extend(idle.extract_if(.., over));
            gone.extend(resting.extract_if(.., over));
        }
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            // Not on the way of a request, and none may be left.
            let Shelf { idle, resting } = std::mem::take(&mut *lock(shard));
            drop((idle, resting));
        }
    }

    /// Whether some were given back that are not ready yet.
    pub(super) fn is_resting(&self) -> bool {
        self.each().any(|shelf| !shelf.resting.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| match try_lock(shard) {
            Some(shelf) => shelf.idle.is_empty() && shelf.resting.is_empty(),
            None => false,
        })
    }

    /// The shards that are free, this thread's own first.
    fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shelf<B>>> {
        let own = own_shard();
        let mask = self.shards.len() - 1;
        (0..self.shards.len()).filter_map(move |step| try_lock(&self.shards[(own + step) & mask]))
    }
}

impl<B> Default for Shelf<B> {
    fn default() -> Self {
        Self { idle: Vec::new(), resting: Vec::new() }
    }
}

impl<B> Shelf<B> {
    fn pop(&mut self, terms: &Terms) -> Option<Line<B>> {
        loop {
            while let Some(idle) = self.idle.pop() {
                if idle.line.rest() != Rest::Ready || idle.line.is_spent(terms) {
                    continue;
                }
                if terms.idle.is_some() && idle.is_over(terms, Instant::now()) {
                    // Those below lie longer.
                    self.idle.clear();
                    break;
                }
                return Some(idle.line);
            }
            if !self.wake() {
                return None;
            }
        }
    }

    /// Moves those that came to rest to the idle ones; whether there were any.
    fn wake(&mut self) -> bool {
        let Shelf { idle, resting } = self;
        idle.extend(resting.extract_if(.., |resting| resting.line.rest() != Rest::Busy));
        !idle.is_empty()
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(shard: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match shard.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// A number of this thread; neighbors get different shards.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed)));
    OWN.try_with(Cell::get).unwrap_or(0)
}
