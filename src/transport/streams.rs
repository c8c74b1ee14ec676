//! The streams of an HTTP/2 connection: how many are taken, and how many there may be.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::place::Vacancy;
use super::terms::Terms;

/// What is counted of one connection.
pub(super) struct Streams {
    active: AtomicUsize,
    limit: AtomicUsize,
    /// So many at a time, whatever the other side allows.
    most_at_once: usize,
    started: AtomicU32,
    /// Of all its life.
    most: Option<u32>,
    most_age: Option<Duration>,
    opened: Instant,
    /// Notified when the first answer is there, and so the settings of the other side.
    pub(super) heard: Notify,
    was_heard: AtomicBool,
    /// When the last stream ended, in milliseconds after it was opened.
    idle_since: AtomicU64,
    /// How many wait for a stream of any connection of the pool.
    waiting: Arc<AtomicUsize>,
    pool: Weak<dyn Vacancy>,
}

impl Streams {
    pub(super) fn new(terms: &Terms, waiting: Arc<AtomicUsize>, pool: Weak<dyn Vacancy>) -> Arc<Self> {
        Arc::new(Self {
            active: AtomicUsize::new(0),
            limit: AtomicUsize::new(terms.streams),
            most_at_once: terms.streams,
            started: AtomicU32::new(0),
            most: terms.most_requests,
            most_age: terms.most_age,
            opened: Instant::now(),
            heard: Notify::new(),
            was_heard: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            waiting,
            pool,
        })
    }

    /// So many there may be at a time from now on, as the other side has it.
    pub(super) fn allow(&self, limit: usize) {
        let limit = limit.min(self.most_at_once);
        // Said after each look at the connection; it hardly ever changes.
        if self.limit.load(Ordering::Relaxed) != limit && self.limit.swap(limit, Ordering::SeqCst) < limit {
            self.wake();
        }
    }

    pub(super) fn hear(&self) {
        if !self.was_heard.load(Ordering::Relaxed) && !self.was_heard.swap(true, Ordering::Relaxed) {
            self.heard.notify_one();
        }
    }

    /// Whether it has a stream.
    pub(super) fn is_taken(&self) -> bool {
        self.active.load(Ordering::Acquire) > 0
    }

    /// Whether it has been without a stream for too long.
    pub(super) fn is_idle(&self, terms: &Terms, now: Instant) -> bool {
        let since = self.opened + Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
        !self.is_taken() && terms.idle.is_some_and(|idle| now.saturating_duration_since(since) >= idle)
    }

    /// Whether it is too old or has had enough streams to begin another.
    pub(super) fn is_spent(&self) -> bool {
        self.most.is_some_and(|most| self.started.load(Ordering::Relaxed) >= most)
            || self.most_age.is_some_and(|age| self.opened.elapsed() >= age)
    }

    /// Lets those who wait look again.
    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0
            && let Some(pool) = self.pool.upgrade()
        {
            pool.freed();
        }
    }
}

/// One stream that is taken, until this is dropped.
pub(super) struct Stream {
    streams: Arc<Streams>,
}

impl Stream {
    pub(super) fn claim(streams: &Arc<Streams>) -> Option<Self> {
        let limit = streams.limit.load(Ordering::SeqCst);
        let below = |most: usize| move |count: usize| (count < most).then_some(count + 1);
        streams.active.fetch_update(Ordering::SeqCst, Ordering::SeqCst, below(limit)).ok()?;
        let stream = Self { streams: streams.clone() };
        if let Some(most) = streams.most {
            let started = |count: u32| (count < most).then_some(count + 1);
            streams.started.fetch_update(Ordering::Relaxed, Ordering::Relaxed, started).ok()?;
        }
        Some(stream)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.streams;
        if streams.active.load(Ordering::Relaxed) == 1 {
            let since = streams.opened.elapsed().as_millis();
            streams.idle_since.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        // Ordered against the look of who begins to wait: one of both sees the other.
        let last = streams.active.fetch_sub(1, Ordering::SeqCst) == 1;
        streams.wake();
        if last
            && streams.is_spent()
            && let Some(pool) = streams.pool.upgrade()
        {
            pool.spent();
        }
    }
}

/// A stream that an upload and its answer share.
pub(super) struct Shared {
    stream: Stream,
    /// Whether anybody asked for the upload.
    begun: AtomicBool,
}

impl Shared {
    pub(super) fn new(stream: Stream) -> Arc<Self> {
        Arc::new(Self { stream, begun: AtomicBool::new(false) })
    }

    pub(super) fn begin(&self) {
        if !self.begun.load(Ordering::Relaxed) {
            self.begun.store(true, Ordering::Relaxed);
        }
    }
}

/// What an answer holds of its stream: all of it, or what it shares with an upload. The other side counts the stream
/// until both are over.
pub(super) enum Half {
    Whole(Stream),
    Shared(Arc<Shared>),
}

impl Half {
    pub(super) fn streams(&self) -> &Arc<Streams> {
        match self {
            Half::Whole(stream) => &stream.streams,
            Half::Shared(shared) => &shared.stream.streams,
        }
    }

    /// Whether the upload has begun, which it does behind its head.
    pub(super) fn is_begun(&self) -> bool {
        match self {
            Half::Whole(_) => false,
            Half::Shared(shared) => shared.begun.load(Ordering::Relaxed),
        }
    }

    /// Whether it is of one of these.
    pub(super) fn is_of(&self, streams: &Arc<Streams>) -> bool {
        Arc::ptr_eq(self.streams(), streams)
    }
}
