//! A request body that may have to be sent again: [`Upload`] keeps what was read of it, up to a bound.
//!
//! The body is read by one [`Reader`] at a time, that of the newest try, or by two where a second try goes beside the
//! first. What is read is kept until a response is taken, at most [`KEPT`] bytes; a body that outgrows that is never sent
//! twice. Copies for mirrors are fed on the way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use self::both::{Both, Which};
use self::state::{Reached, State};
use super::body_error::BodyError;
use super::completion::Unfinished;
use super::mirror_body::{BEHIND, PIECES, Tap};
use super::upload_end::UploadEnd;
use crate::error::BoxError;

mod both;
mod state;

/// How much of a body is kept for further tries (Envoy's `per_connection_buffer_limit_bytes`): 1 MiB.
const KEPT: usize = 1024 * 1024;
/// What is read ahead fits into the copies that are yet to be sent.
const _: () = assert!(KEPT <= BEHIND);

/// The body of a request, shared by its tries.
pub(super) struct Upload<B> {
    state: Mutex<State<B>>,
    /// The length that the body announced.
    length: Option<u64>,
    end: Option<Arc<UploadEnd>>,
}

/// Why a body cannot be read from its beginning again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It is more than is kept.
    Outgrown,
    /// It broke off.
    Broken,
}

/// One try's reading of an [`Upload`].
pub(super) struct Reader<B> {
    upload: Arc<Upload<B>>,
    generation: u32,
    /// Which of two it is.
    which: Which,
    reached: Reached,
}

impl<B> Upload<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Shares `body`. It is kept for further tries if `keeping`, fed to `taps`, and `end` is told of its end.
    pub(super) fn new(body: B, keeping: bool, taps: Vec<Tap>, end: Option<Arc<UploadEnd>>) -> Arc<Self> {
        Self::held(body).share(keeping, taps, end)
    }

    /// A body that is held back before it is known who reads it. It may be read ahead.
    pub(super) fn held(body: B) -> Self {
        let length = body.size_hint().exact();
        let state = State {
            source: Some(Box::pin(body)),
            left: length,
            told: false,
            generation: 0,
            reading: None,
            both: None,
            begun: false,
            read_at: None,
            keeping: false,
            failed: false,
            unfinished: None,
            error: None,
            ahead: 0,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            taps: Vec::new(),
        };
        Self { state: Mutex::new(state), length, end: None }
    }

    /// Shares it now, as [`new`](Self::new) does: also what has been read ahead is kept and copied.
    pub(super) fn share(mut self, keeping: bool, taps: Vec<Tap>, end: Option<Arc<UploadEnd>>) -> Arc<Self> {
        self.end = end;
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.begin(keeping, taps, self.end.as_deref());
        Arc::new(self)
    }

    /// Reads it from the beginning: what is kept of it, and what is still to come.
    pub(super) fn read(self: &Arc<Self>) -> Reader<B> {
        self.reader(&self.lock(), Which::First)
    }

    /// The next reader begins again. Those made before read no more; until it is made there is something to read ahead.
    pub(super) fn begin_again(&self) -> Result<(), Lost> {
        let mut state = self.lock();
        if let Some(lost) = state.lost() {
            return Err(lost);
        }
        state.supersede();
        (state.begun, state.ahead) = (false, state.kept_bytes);
        Ok(())
    }

    /// Reads from the beginning, beside the one reader there is: for a body of which all data has been kept. Its end may
    /// be yet to come, and comes to both.
    pub(super) fn read_beside(self: &Arc<Self>) -> Result<Reader<B>, Lost> {
        let mut state = self.lock();
        if let Some(lost) = state.lost() {
            return Err(lost);
        }
        let both = Both::default();
        if let Some(first) = state.reading.take() {
            both.wait(Which::First, &first);
        }
        state.both = Some(Arc::new(both));
        Ok(self.reader(&state, Which::Second))
    }

    fn reader(self: &Arc<Self>, state: &State<B>, which: Which) -> Reader<B> {
        // One that came to nothing is sent as one of which that was not known, as it was before.
        Reader { upload: Arc::clone(self), generation: state.generation, which, reached: Reached::default() }
    }

    /// When the body had been read to its end, which is told here only of one with an [`UploadEnd`]; otherwise the task
    /// is woken at that moment.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Instant> {
        self.end.as_ref().map_or(Poll::Pending, |end| end.poll(cx))
    }

    /// Reads what there is of a body that no try has begun to read, as far as a buffer goes. It is kept for the try,
    /// whatever it is. Ready with how it broke off.
    pub(super) fn read_ahead(&self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let mut state = self.lock();
        for _ in 0..PIECES {
            let kept = state.kept.len();
            if state.begun || state.failed || state.is_full() {
                return Poll::Pending;
            }
            match state.poll_source(self.end.as_deref(), cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    state.ahead += chunk.len();
                    if state.kept.len() == kept && !chunk.is_empty() {
                        state.kept.push(chunk);
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(error),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
        // Pieces of nothing may go on, and nobody else wakes the task.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Cuts the copies off if no more is read ahead for a try that is yet to be made: it may be waiting for their end.
    pub(super) fn part_with_copies(&self) {
        let mut state = self.lock();
        if state.is_full() {
            state.taps.clear();
        }
    }

    /// No try has come to an answer, and none follows: what there is of the rest is for the copies alone.
    pub(super) fn feed_copies(&self, cx: &mut Context<'_>) {
        let mut state = self.lock();
        state.supersede();
        state.keeping = false;
        for _ in 0..PIECES {
            if state.taps.is_empty() || !matches!(state.poll_source(self.end.as_deref(), cx), Poll::Ready(Some(Ok(_))))
            {
                return;
            }
        }
    }

    /// Reads on for the next try while there is none. Ready once there can be none; the task is woken whenever there may
    /// be something to read.
    pub(super) fn poll_lost(&self, cx: &mut Context<'_>) -> Poll<Lost> {
        let mut state = self.lock();
        loop {
            if let Some(lost) = state.lost() {
                return Poll::Ready(lost);
            }
            match ready!(state.poll_source(self.end.as_deref(), cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => state.error = Some(error),
                None => return Poll::Pending,
            }
        }
    }
}

impl<B> Upload<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can be sent once more, from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        self.lock().lost().is_none()
    }

    /// The length that it announced.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether it broke off.
    pub(super) fn is_broken(&self) -> bool {
        self.lock().failed
    }

    /// When all of it had been read, if it has been.
    pub(super) fn read_at(&self) -> Option<Instant> {
        self.lock().read_at
    }

    /// What its answer has to know of it from now on; `None` if all of it had been read.
    pub(super) fn unfinished(&self) -> Option<Unfinished> {
        let mut state = self.lock();
        if state.read_at.is_none() {
            state.unfinished = Some(Unfinished::new(state.failed));
        }
        state.unfinished.clone()
    }

    /// The try that reads it is over: what comes now is for the next one, and not for whoever still sends that try.
    pub(super) fn give_up(&self) {
        self.lock().supersede();
    }

    /// No try follows: what was kept is forgotten as it is read.
    pub(super) fn keep_no_more(&self) {
        self.lock().keeping = false;
    }
}

impl<B> Reader<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.upload.lock();
        if state.generation != self.generation {
            return Poll::Ready(Some(Err(BodyError::superseded())));
        }
        let end = self.upload.end.as_deref();
        let frame = match state.both.clone() {
            Some(both) => {
                both.wait(self.which, cx.waker());
                let waker = Waker::from(Arc::clone(&both));
                let frame = state.poll_reader(&mut self.reached, end, &mut Context::from_waker(&waker));
                if frame.is_ready() {
                    // The source may have no need to wake anybody for what it gave.
                    both.wake();
                }
                frame
            }
            None => {
                let frame = state.poll_reader(&mut self.reached, end, cx);
                if frame.is_pending() && !state.reading.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    state.reading = Some(cx.waker().clone());
                }
                frame
            }
        };
        self.reached.ended = state.is_read(&self.reached);
        frame
    }

    /// Whether the last frame was all: nothing is asked of what others may be reading.
    pub(super) fn is_end_stream(&self) -> bool {
        self.reached.ended
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.upload.length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.reached.delivered)),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
