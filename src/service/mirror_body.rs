//! The copy of a request body that a mirror is sent: [`Tap`] is its near end, [`MirrorBody`] its far end.
//!
//! A copy never holds up the request it is made of: what the mirror has not read yet waits in a queue, and a mirror
//! that falls too far behind is given up.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::body_error::BodyError;
use super::upload_end::UploadEnd;

/// How many mirrored requests may be under way unless the application says otherwise.
const REQUESTS: usize = 1024;
/// How many bytes of their bodies may wait to be sent.
const BYTES: usize = 64 * 1024 * 1024;
/// How far one mirror may fall behind, unless that is one piece.
pub(super) const BEHIND: usize = 1024 * 1024;
/// In how many pieces: each costs something beside its bytes.
pub(super) const PIECES: usize = 16 * 1024;

/// What all mirrors of a layer together may have under way.
#[derive(Debug)]
pub(super) struct MirrorLoad {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    limits: (usize, usize),
}

impl MirrorLoad {
    /// At most so many requests, and so many bytes of bodies that wait to be sent.
    pub(super) fn new(requests: usize, bytes: usize) -> Self {
        Self { requests: AtomicUsize::new(0), bytes: AtomicUsize::new(0), limits: (requests, bytes) }
    }

    /// Whether there is never room.
    pub(super) fn is_closed(&self) -> bool {
        self.limits.0 == 0
    }

    /// Room for one more mirrored request, if there is any.
    pub(super) fn enter(self: &Arc<Self>) -> Option<MirrorSlot> {
        add_within(&self.requests, 1, self.limits.0).then(|| MirrorSlot { load: Arc::clone(self) })
    }

    /// Requests and bytes under way.
    #[cfg(test)]
    pub(super) fn now(&self) -> (usize, usize) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Default for MirrorLoad {
    fn default() -> Self {
        Self::new(REQUESTS, BYTES)
    }
}

fn add_within(count: &AtomicUsize, more: usize, limit: usize) -> bool {
    let sum = |now: usize| now.checked_add(more).filter(|sum| *sum <= limit);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
}

/// One mirrored request under way.
#[derive(Debug)]
pub(super) struct MirrorSlot {
    load: Arc<MirrorLoad>,
}

impl MirrorSlot {
    /// What it is part of.
    pub(super) fn load(&self) -> &Arc<MirrorLoad> {
        &self.load
    }
}

impl Drop for MirrorSlot {
    fn drop(&mut self) {
        self.load.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body and the end that feeds it.
pub(super) fn copy(load: &Arc<MirrorLoad>) -> (Tap, MirrorBody) {
    let queue = Arc::new(Queue { load: Arc::clone(load), state: Mutex::default(), ended: UploadEnd::default() });
    (Tap { queue: Arc::clone(&queue), length: None }, MirrorBody { queue })
}

#[derive(Debug)]
struct Queue {
    load: Arc<MirrorLoad>,
    state: Mutex<State>,
    /// Tells when nothing more could come for the mirror.
    ended: UploadEnd,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    waiting: usize,
    /// How many bytes have come since it was sent, and in how many pieces, as far as they may still wait; `None` before.
    behind: Option<(usize, usize)>,
    /// How much of it there was.
    fed: u64,
    end: Option<End>,
    /// Whether it was cut off while it had a reader, and whether that was told.
    cut: bool,
    told: bool,
    reader_gone: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum End {
    Whole {
        trailers: Option<HeaderMap>,
        /// Whether whoever reads the last piece may take it for that; else the end comes by itself, as it did to whoever
        /// sends the request: what is shorter than was announced breaks off only there.
        told: bool,
    },
    /// Cut off: the mirror was too slow, or the body broke off.
    Cut,
}

impl State {
    /// Whether there is room for a chunk of this length, which then has it.
    fn make_room(&mut self, length: usize) -> bool {
        let Some((bytes, pieces)) = &mut self.behind else {
            // Before it is sent it cannot be late: there is room for what is read ahead of the request itself.
            return self.waiting < BEHIND && self.chunks.len() < PIECES;
        };
        // The oldest is read first: no more of what has come since can wait than waits at all.
        (*bytes, *pieces) = ((*bytes).min(self.waiting) + length, (*pieces).min(self.chunks.len()) + 1);
        // Of a body in one large piece it had nothing to read before.
        *pieces == 1 || (*bytes <= BEHIND && *pieces <= PIECES)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: End) {
        let mut state = self.lock();
        if state.end.is_none() {
            if matches!(end, End::Cut) {
                self.forget(&mut state);
                state.cut = !state.reader_gone;
            }
            state.end = Some(end);
            self.ended.ended(Instant::now());
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn forget(&self, state: &mut State) {
        state.chunks.clear();
        self.load.bytes.fetch_sub(std::mem::take(&mut state.waiting), Ordering::Relaxed);
    }
}

/// The end that a copy is fed through. Dropped before [`Tap::finish`], it cuts the copy off, unless that has the length
/// that was announced.
#[derive(Debug)]
pub(super) struct Tap {
    queue: Arc<Queue>,
    length: Option<u64>,
}

impl Tap {
    /// The same for a body that announced its length, if it did: who reads that may not ask for more.
    pub(super) fn announced(mut self, length: Option<u64>) -> Self {
        self.length = length;
        self
    }

    /// Adds a chunk; `false` if the copy is cut off.
    pub(super) fn push(&self, chunk: &Bytes) -> bool {
        let mut state = self.queue.lock();
        if state.end.is_some() {
            return false;
        }
        state.fed += chunk.len() as u64;
        if state.reader_gone || chunk.is_empty() {
            // Its time begins with the end of the request all the same.
            return true;
        }
        let fits =
            state.make_room(chunk.len()) && add_within(&self.queue.load.bytes, chunk.len(), self.queue.load.limits.1);
        if !fits {
            drop(state);
            self.queue.end(End::Cut);
            return false;
        }
        state.waiting += chunk.len();
        state.chunks.push_back(chunk.clone());
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        true
    }

    /// The body is whole, as its last piece `told` or not.
    pub(super) fn finish(self, trailers: Option<HeaderMap>, told: bool) {
        self.queue.end(End::Whole { trailers, told });
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let whole = self.length.is_some_and(|length| self.queue.lock().fed == length);
        self.queue.end(if whole { End::Whole { trailers: None, told: true } } else { End::Cut });
    }
}

/// What is copied of the body of a request, while that is read; it stands in a
/// [`RequestBody`](super::RequestBody).
///
/// It breaks off where the body does, where nobody reads that to its end, and once it falls more than 1 MiB, unless that
/// is one piece, or 16,384 pieces behind what has come since it was sent. So it does where the service keeps a further
/// try waiting, of which no more than that is read ahead.
#[derive(Debug)]
pub struct MirrorBody {
    queue: Arc<Queue>,
}

impl MirrorBody {
    /// The request that it copies is sent, and so is it: it may fall behind from now on.
    pub(super) fn begin(&self) {
        self.queue.lock().behind.get_or_insert_default();
    }

    /// It is sent. What becomes of it, for who sends it.
    pub(super) fn sent(&self) -> CopyFate {
        self.begin();
        CopyFate { queue: Arc::clone(&self.queue) }
    }
}

/// What becomes of a copy while somebody else reads it.
#[derive(Debug)]
pub(super) struct CopyFate {
    queue: Arc<Queue>,
}

impl CopyFate {
    /// When it was whole, or cut off; otherwise the task is woken at that moment.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Instant> {
        self.queue.ended.poll(cx)
    }

    /// Whether it was cut off before its reader had enough of it: the mirror is not the one that is late.
    pub(super) fn is_cut(&self) -> bool {
        self.queue.lock().cut
    }

    /// Whether its reader came to where it was cut off: what happens then is not the mirror's doing.
    pub(super) fn broke_off(&self) -> bool {
        self.queue.lock().told
    }
}

impl Body for MirrorBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.queue.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            state.waiting -= chunk.len();
            self.queue.load.bytes.fetch_sub(chunk.len(), Ordering::Relaxed);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &mut state.end {
            Some(End::Whole { trailers, told }) => {
                *told = true;
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(End::Cut) => {
                state.told = true;
                Poll::Ready(Some(Err(BodyError::lagging())))
            }
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.queue.lock();
        state.chunks.is_empty() && matches!(state.end, Some(End::Whole { trailers: None, told: true }))
    }
}

impl Drop for MirrorBody {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.reader_gone = true;
        self.queue.forget(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn one_piece_may_be_larger_than_what_may_wait() {
        let load = Arc::new(MirrorLoad::new(1, BEHIND * 3));
        let (tap, mut copy) = copy(&load);
        let _fate = copy.sent();
        let large = Bytes::from(vec![7; BEHIND * 2]);
        for _ in 0..2 {
            assert!(tap.push(&large));
            assert_eq!(copy.frame().await.unwrap().unwrap().into_data().unwrap(), large);
        }
        assert!(tap.push(&large));
        assert!(!tap.push(&large.slice(..1)), "what comes behind it has to wait for it");
        assert!(copy.frame().await.unwrap().is_err());
        assert_eq!(load.now(), (0, 0));
    }

    #[tokio::test]
    async fn a_copy_is_not_late_before_it_is_sent() {
        let load = Arc::new(MirrorLoad::new(2, BEHIND * 5));
        let [(unsent, _copy), (tap, mut copy)] = [copy(&load), copy(&load)];
        let large = Bytes::from(vec![7; BEHIND]);
        for tap in [&unsent, &tap] {
            assert!(tap.push(&large.slice(1..)) && tap.push(&large), "so much is read ahead");
        }
        assert!(!unsent.push(&large.slice(..1)), "and no more");
        let _fate = copy.sent();
        assert!(tap.push(&large.slice(1..)), "only what has come since counts");
        for _ in 0..2 {
            assert!(copy.frame().await.unwrap().is_ok());
        }
        assert!(tap.push(&large.slice(..1)), "all that has come since waits");
        assert!(copy.frame().await.unwrap().is_ok());
        assert!(tap.push(&large.slice(1..)) && !tap.push(&large.slice(..1)));
        assert!(copy.frame().await.unwrap().is_err());
        assert_eq!(load.now(), (0, 0));
    }

    #[tokio::test]
    async fn a_copy_of_the_length_that_was_announced_is_whole() {
        let load = Arc::new(MirrorLoad::new(1, BEHIND));
        for (length, whole) in [(Some(4), true), (Some(5), false), (None, false)] {
            let (tap, copy) = copy(&load);
            let tap = tap.announced(length);
            assert!(tap.push(&Bytes::from_static(b"some")));
            drop(tap);
            assert_eq!(copy.collect().await.is_ok(), whole, "{length:?}");
        }
    }

    #[tokio::test]
    async fn small_pieces_are_bounded_and_those_of_nothing_do_not_wait() {
        let load = Arc::new(MirrorLoad::new(1, BEHIND));
        let (tap, mut copy) = copy(&load);
        let _fate = copy.sent();
        for _ in 0..PIECES {
            assert!(tap.push(&Bytes::from_static(b"-")) && tap.push(&Bytes::new()));
        }
        assert_eq!(copy.frame().await.unwrap().unwrap().into_data().unwrap(), "-");
        assert!(tap.push(&Bytes::from_static(b"-")), "there is room for another");
        assert!(tap.push(&Bytes::new()) && !tap.push(&Bytes::from_static(b"-")));
        assert!(copy.frame().await.unwrap().is_err());
    }

    #[test]
    fn all_copies_together_are_bounded_whatever_their_pieces() {
        let load = Arc::new(MirrorLoad::new(1, BEHIND * 3));
        let [(one, _first), (other, _second)] = [copy(&load), copy(&load)];
        let large = Bytes::from(vec![7; BEHIND * 2]);
        assert!(one.push(&large));
        assert!(!other.push(&large));
        assert_eq!(load.now(), (0, BEHIND * 2));
    }
}
