//! What has been read of a body and is still to come: [`State`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::both::Both;
use super::{KEPT, Lost, PIECES};
use crate::error::BoxError;
use crate::service::body_error::BodyError;
use crate::service::completion::Unfinished;
use crate::service::mirror_body::Tap;
use crate::service::upload_end::UploadEnd;

/// What has been read of a body, what is still to come, and who waits for it.
pub(super) struct State<B> {
    /// What is still to come; `None` once it is at its end or broken.
    pub(super) source: Option<Pin<Box<B>>>,
    /// How much of the length that it announced.
    pub(super) left: Option<u64>,
    /// Whether it said with its last piece that this was the last. Of one that did not, whoever sends it has to come to the
    /// end, too: what is shorter than was announced breaks off only there.
    pub(super) told: bool,
    /// Which reader may read.
    pub(super) generation: u32,
    /// Who waits with that reader: the source wakes only who asked it last.
    pub(super) reading: Option<Waker>,
    /// Who waits with either, while there are two.
    pub(super) both: Option<Arc<Both>>,
    /// Whether the reader that may read has come to what was still to come.
    pub(super) begun: bool,
    /// When all of it had been read.
    pub(super) read_at: Option<Instant>,
    pub(super) keeping: bool,
    pub(super) failed: bool,
    /// Who is answered already, and told if it fails.
    pub(super) unfinished: Option<Unfinished>,
    /// How, for the reader that comes to it.
    pub(super) error: Option<BodyError>,
    /// How much there is for the reader, or was, before it came to the rest.
    pub(super) ahead: usize,
    pub(super) kept: Vec<Bytes>,
    pub(super) kept_bytes: usize,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) taps: Vec<Tap>,
}

/// How far a reader has come.
#[derive(Default)]
pub(super) struct Reached {
    /// The next of the kept chunks to read.
    pub(super) position: usize,
    pub(super) delivered: u64,
    /// Whether it came to the end by itself, and so to the trailers.
    pub(super) end_read: bool,
    /// Whether that was all.
    pub(super) ended: bool,
}

impl<B> State<B> {
    pub(super) fn lost(&self) -> Option<Lost> {
        match self {
            Self { failed: true, .. } => Some(Lost::Broken),
            Self { keeping: false, .. } => Some(Lost::Outgrown),
            _ => None,
        }
    }

    /// Whether there is as much for the reader as is read ahead of it.
    pub(super) fn is_full(&self) -> bool {
        self.ahead >= KEPT || self.kept.len() >= PIECES
    }

    /// Whoever may read reads no more, and comes to know it.
    pub(super) fn supersede(&mut self) {
        self.generation += 1;
        if let Some(before) = self.reading.take() {
            before.wake();
        }
        if let Some(both) = self.both.take() {
            both.wake();
        }
    }
}

impl<B> State<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// It is known who reads it. What was read ahead counts as read now.
    pub(super) fn begin(&mut self, keeping: bool, taps: Vec<Tap>, end: Option<&UploadEnd>) {
        self.kept_bytes = self.kept.iter().map(Bytes::len).sum();
        self.keeping = keeping && self.kept_bytes <= KEPT;
        self.taps = taps;
        for chunk in &self.kept {
            self.taps.retain(|tap| tap.push(chunk));
        }
        if self.read_at.take().is_some() {
            match self.source {
                Some(_) => self.note_end(end),
                None => self.finish(end),
            }
        }
    }

    /// The next chunk of what is still to come, which is kept and copied as it should; `None` at the end.
    pub(super) fn poll_source(
        &mut self,
        end: Option<&UploadEnd>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(source) = &mut self.source else {
            // One that broke off has no end, whoever reads it.
            let error = self.failed.then(|| self.error.take().unwrap_or_else(BodyError::broken_off));
            return Poll::Ready(error.map(Err));
        };
        let frame = match ready!(source.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.source = None;
                self.failed = true;
                if let Some(unfinished) = &self.unfinished {
                    unfinished.break_off();
                }
                self.taps.clear();
                return Poll::Ready(Some(Err(BodyError::of_request(error))));
            }
            None => {
                self.finish(end);
                return Poll::Ready(None);
            }
        };
        match frame.into_data() {
            Ok(mut data) => {
                let chunk = data.copy_to_bytes(data.remaining());
                self.taps.retain(|tap| tap.push(&chunk));
                self.keep(&chunk);
                // Whoever sends a body of a known length may not ask for more.
                self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
                if self.left == Some(0) {
                    self.note_end(end);
                }
                if self.source.as_ref().is_some_and(|source| source.is_end_stream()) {
                    self.told = true;
                    self.finish(end);
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                self.finish(end);
                Poll::Ready(None)
            }
        }
    }

    fn keep(&mut self, chunk: &Bytes) {
        if !self.keeping || chunk.is_empty() {
            return;
        }
        if self.kept_bytes + chunk.len() > KEPT || self.kept.len() >= PIECES {
            self.keeping = false;
            return;
        }
        self.kept_bytes += chunk.len();
        self.kept.push(chunk.clone());
    }

    fn finish(&mut self, end: Option<&UploadEnd>) {
        self.source = None;
        for tap in self.taps.drain(..) {
            tap.finish(self.trailers.clone(), self.told);
        }
        self.note_end(end);
    }

    /// Nothing more comes, whether or not the source says so.
    fn note_end(&mut self, end: Option<&UploadEnd>) {
        let read_at = *self.read_at.get_or_insert_with(Instant::now);
        if let Some(end) = end {
            end.ended(read_at);
        }
    }

    /// Whether nothing follows what was reached, not even the end by itself.
    pub(super) fn is_read(&self, reached: &Reached) -> bool {
        self.source.is_none() && !self.failed && reached.position >= self.kept.len() && (self.told || reached.end_read)
    }

    /// The next frame for the reader that may read.
    pub(super) fn poll_reader(
        &mut self,
        reached: &mut Reached,
        end: Option<&UploadEnd>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(chunk) = self.kept.get(reached.position) {
            reached.position += 1;
            reached.delivered += chunk.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        self.begun = true;
        match ready!(self.poll_source(end, cx)) {
            Some(Ok(chunk)) => {
                reached.delivered += chunk.len() as u64;
                if !self.keeping && self.both.is_none() {
                    // Everything kept has been read, and nobody will read it again.
                    self.kept = Vec::new();
                }
                reached.position = self.kept.len();
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = self.trailers.clone().filter(|_| !reached.end_read);
                reached.end_read = true;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }
}
