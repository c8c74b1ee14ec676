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
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use tokio::time::Instant;

use super::line::{Line, Rest};

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
    fn is_over(&self, age: Option<Duration>, now: Instant) -> bool {
        age.is_some_and(|age| now.saturating_duration_since(self.since) >= age)
    }
}

impl<B> Stack<B> {
    /// A stack of `shards` shards, a power of two.
    pub(super) fn new(shards: usize) -> Self {
        let shelf = || Mutex::new(Shelf { idle: Vec::new(), resting: Vec::new() });
        Self { shards: (0..shards.max(1)).map(|_| shelf()).collect() }
    }

    /// The connection used last, if it is idle for less than `age`.
    pub(super) fn pop(&self, age: Option<Duration>) -> Option<Line<B>> {
        self.each().find_map(|mut shelf| shelf.pop(age))
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

    /// Closes the connections that are idle for `age`, and drops the closed ones.
    pub(super) fn sweep(&self, age: Option<Duration>, now: Instant) {
        for mut shelf in self.each() {
            let gone = |idle: &Idle<B>| idle.is_over(age, now) || idle.line.rest() == Rest::Closed;
            shelf.idle.retain(|idle| !gone(idle));
            shelf.resting.retain(|idle| !gone(idle));
        }
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            // Not on the way of a request, and none may be left.
            let mut shelf = shard.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            shelf.idle.clear();
            shelf.resting.clear();
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

impl<B> Shelf<B> {
    fn pop(&mut self, age: Option<Duration>) -> Option<Line<B>> {
        loop {
            while let Some(idle) = self.idle.pop() {
                if idle.line.rest() != Rest::Ready {
                    continue;
                }
                if age.is_some() && idle.is_over(age, Instant::now()) {
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

fn try_lock<T>(shard: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match shard.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// A number of this thread; neighbours get different shards.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed)));
    OWN.try_with(Cell::get).unwrap_or(0)
}
