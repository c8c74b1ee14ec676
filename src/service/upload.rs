//! A request body that may have to be sent again: [`Upload`] keeps what was read of it, up to a bound.
//!
//! The body is read by one [`Reader`] at a time, that of the newest try. What it reads is kept until a response is
//! taken, at most [`KEPT`] bytes; a body that outgrows that is never sent twice. Copies for mirrors are fed on the way.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::body_error::BodyError;
use super::mirror_body::Tap;
use super::upload_end::UploadEnd;
use crate::error::BoxError;

/// How much of a body is kept for further tries (Envoy's `per_connection_buffer_limit_bytes`): 1 MiB.
const KEPT: usize = 1024 * 1024;

/// The body of a request, shared by its tries.
pub(super) struct Upload<B> {
    state: Mutex<State<B>>,
    /// The length that the body announced.
    length: Option<u64>,
    end: Option<Arc<UploadEnd>>,
}

struct State<B> {
    /// What is still to come; `None` once it is at its end or broken.
    source: Option<Pin<Box<B>>>,
    /// Which reader may read.
    generation: u32,
    /// Whether a reader has come to what was still to come.
    begun: bool,
    /// When all of it had been read.
    read_at: Option<Instant>,
    keeping: bool,
    outgrown: bool,
    failed: bool,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    taps: Vec<Tap>,
}

/// One try's reading of an [`Upload`].
pub(super) struct Reader<B> {
    upload: Arc<Upload<B>>,
    generation: u32,
    reached: Reached,
}

/// How far a reader has come.
#[derive(Default)]
struct Reached {
    /// The next of the kept chunks to read.
    position: usize,
    delivered: u64,
    trailers_read: bool,
    /// Whether that was all.
    ended: bool,
}

impl<B> Upload<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Shares `body`. It is kept for further tries if `keeping`, fed to `taps`, and `end` is told of its end.
    pub(super) fn new(body: B, keeping: bool, taps: Vec<Tap>, end: Option<Arc<UploadEnd>>) -> Arc<Self> {
        let length = body.size_hint().exact();
        let state = State {
            source: Some(Box::pin(body)),
            generation: 0,
            begun: false,
            read_at: None,
            keeping,
            outgrown: false,
            failed: false,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            taps,
        };
        Arc::new(Self { state: Mutex::new(state), length, end })
    }

    /// Reads from the beginning. Readers made before read no more.
    pub(super) fn read(self: &Arc<Self>) -> Reader<B> {
        let mut state = self.lock();
        state.generation += 1;
        self.reader(&state)
    }

    /// Reads from the beginning, beside the reader there is: for a body that has been kept to its end.
    pub(super) fn read_beside(self: &Arc<Self>) -> Reader<B> {
        self.reader(&self.lock())
    }

    fn reader(self: &Arc<Self>, state: &State<B>) -> Reader<B> {
        // One that came to nothing is sent as one of which that was not known, as it was before.
        Reader { upload: Arc::clone(self), generation: state.generation, reached: Reached::default() }
    }

    /// When the body had been read to its end, which is told here only of one with an [`UploadEnd`]; otherwise the task
    /// is woken at that moment.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Instant> {
        self.end.as_ref().map_or(Poll::Pending, |end| end.poll(cx))
    }

    /// Reads what there is of a body that no try has begun to read. It is kept for the try, whatever it is.
    pub(super) fn read_ahead(&self, cx: &mut Context<'_>) {
        let mut state = self.lock();
        while !state.begun && !state.outgrown {
            let Poll::Ready(Some(Ok(chunk))) = state.poll_source(self.end.as_deref(), cx) else { return };
            if state.outgrown {
                state.kept.push(chunk);
            }
        }
    }

    /// Reads on for the next try while there is none. Ready once the body is more than is kept; the task is woken
    /// whenever there may be something to read.
    pub(super) fn poll_outgrown(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        loop {
            if state.outgrown {
                return Poll::Ready(());
            }
            match ready!(state.poll_source(self.end.as_deref(), cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Pending,
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
        let state = self.lock();
        state.keeping && !state.failed
    }

    /// When all of it had been read, if it has been.
    pub(super) fn read_at(&self) -> Option<Instant> {
        self.lock().read_at
    }

    /// No try follows: what was kept is forgotten as it is read.
    pub(super) fn keep_no_more(&self) {
        self.lock().keeping = false;
    }
}

impl<B> State<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// The next chunk of what is still to come, which is kept and copied as it should; `None` at the end.
    fn poll_source(&mut self, end: Option<&UploadEnd>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let frame = match ready!(source.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.source = None;
                self.failed = true;
                self.taps.clear();
                return Poll::Ready(Some(Err(BodyError::new(error))));
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
                if self.source.as_ref().is_some_and(|source| source.is_end_stream()) {
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
        if !self.keeping {
            return;
        }
        if self.kept_bytes + chunk.len() > KEPT {
            (self.keeping, self.outgrown) = (false, true);
            return;
        }
        self.kept_bytes += chunk.len();
        self.kept.push(chunk.clone());
    }

    fn finish(&mut self, end: Option<&UploadEnd>) {
        self.source = None;
        for tap in self.taps.drain(..) {
            tap.finish(self.trailers.clone());
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

    /// Whether nothing follows what was reached.
    fn is_read(&self, reached: &Reached) -> bool {
        self.source.is_none()
            && !self.failed
            && reached.position >= self.kept.len()
            && (self.trailers.is_none() || reached.trailers_read)
    }

    /// The next frame for the reader that may read.
    fn poll_reader(
        &mut self,
        reached: &mut Reached,
        length: Option<u64>,
        end: Option<&UploadEnd>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(chunk) = self.kept.get(reached.position) {
            reached.position += 1;
            reached.delivered += chunk.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        let kept = self.kept.len();
        self.begun = true;
        match ready!(self.poll_source(end, cx)) {
            Some(Ok(chunk)) => {
                reached.delivered += chunk.len() as u64;
                // Whoever sends a body of a known length may not ask for more.
                if length == Some(reached.delivered) {
                    self.note_end(end);
                }
                if self.keeping {
                    reached.position = kept + 1;
                } else {
                    // Everything kept has been read, and nobody will read it again.
                    self.kept = Vec::new();
                    reached.position = 0;
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = self.trailers.clone().filter(|_| !reached.trailers_read);
                reached.trailers_read = true;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
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
        let frame = state.poll_reader(&mut self.reached, self.upload.length, self.upload.end.as_deref(), cx);
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
mod tests {
    use std::collections::VecDeque;
    use std::io;

    use http::HeaderValue;
    use http_body_util::BodyExt;

    use super::super::mirror_body::{self, MirrorLoad};
    use super::super::request_body::RequestBody;
    use super::*;

    /// Frames as listed, one a poll; an error breaks off.
    struct Listed(VecDeque<Result<Frame<Bytes>, io::Error>>);

    impl Body for Listed {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn data(size: usize) -> Result<Frame<Bytes>, io::Error> {
        Ok(Frame::data(Bytes::from(vec![7; size])))
    }

    fn listed<const N: usize>(frames: [Result<Frame<Bytes>, io::Error>; N]) -> Listed {
        Listed(frames.into_iter().collect())
    }

    #[tokio::test]
    async fn every_try_reads_the_whole_body_with_its_trailers() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]);
        let upload = Upload::new(listed([data(3), data(4), Ok(Frame::trailers(trailers.clone()))]), true, vec![], None);
        let mut first = RequestBody::shared(upload.read());
        assert!(first.frame().await.unwrap().unwrap().is_data());
        for _ in 0..2 {
            assert!(upload.is_whole());
            let whole = RequestBody::shared(upload.read()).collect().await.unwrap();
            assert_eq!(whole.trailers(), Some(&trailers));
            assert_eq!(whole.to_bytes().len(), 7);
        }
        let error = first.frame().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("later try"), "{error}");
    }

    #[tokio::test]
    async fn a_body_that_outgrows_the_buffer_is_sent_once_and_whole() {
        let upload = Upload::new(listed([data(KEPT), data(1), data(5)]), true, vec![], None);
        let mut body = RequestBody::shared(upload.read());
        body.frame().await.unwrap().unwrap();
        assert!(upload.is_whole());
        body.frame().await.unwrap().unwrap();
        assert!(!upload.is_whole());
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 5);
        assert_eq!(upload.lock().kept.len(), 0);
    }

    #[tokio::test]
    async fn between_tries_the_body_is_read_until_it_outgrows_the_buffer() {
        let upload = Upload::new(listed([data(KEPT), data(1)]), true, vec![], None);
        std::future::poll_fn(|cx| upload.poll_outgrown(cx)).await;
        assert!(!upload.is_whole());
        let small = Upload::new(listed([data(1)]), true, vec![], None);
        assert!(tokio_test::task::spawn(std::future::poll_fn(|cx| small.poll_outgrown(cx))).poll().is_pending());
        assert_eq!(RequestBody::shared(small.read()).collect().await.unwrap().to_bytes().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_ahead_is_there_for_all_readers() {
        let end = Arc::new(UploadEnd::default());
        let upload = Upload::new(listed([data(3), data(4)]), true, vec![], Some(end));
        let mut first = RequestBody::shared(upload.read());
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(upload.poll_end(cx).is_pending());
        upload.read_ahead(cx);
        assert!(upload.poll_end(cx).is_ready());
        assert!(first.frame().await.unwrap().unwrap().is_data());
        let second = RequestBody::shared(upload.read_beside()).collect().await.unwrap();
        assert_eq!((second.to_bytes().len(), first.collect().await.unwrap().to_bytes().len()), (7, 4));
        // Of one that is not kept nothing is lost, and what a try has begun to read is its own.
        let large = Upload::new(listed([data(KEPT), data(1), data(1)]), true, vec![], None);
        let mut only = RequestBody::shared(large.read());
        large.read_ahead(cx);
        assert!(!large.is_whole() && large.lock().source.is_some());
        for _ in 0..3 {
            assert!(only.frame().await.unwrap().unwrap().is_data());
            large.read_ahead(cx);
        }
        assert!(only.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_body_that_broke_off_is_not_sent_again() {
        let upload = Upload::new(listed([data(1), Err(io::ErrorKind::BrokenPipe.into())]), true, vec![], None);
        let error = RequestBody::shared(upload.read()).collect().await.unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().is::<io::Error>());
        assert!(!upload.is_whole());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_told_once_and_to_those_who_wait() {
        let end = Arc::new(UploadEnd::default());
        let upload = Upload::new(listed([data(1)]), false, vec![], Some(end.clone()));
        let mut waiting = tokio_test::task::spawn(std::future::poll_fn(|cx| end.poll(cx)));
        assert!(waiting.poll().is_pending());
        let read = RequestBody::shared(upload.read()).collect().await.unwrap();
        assert_eq!(read.to_bytes().len(), 1);
        assert!(waiting.is_woken());
        assert_eq!(waiting.poll(), Poll::Ready(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_known_with_the_last_byte_of_a_length_that_was_announced() {
        struct Announced(Listed, u64);
        impl Body for Announced {
            type Data = Bytes;
            type Error = io::Error;

            fn poll_frame(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
                Pin::new(&mut self.0).poll_frame(cx)
            }

            fn size_hint(&self) -> SizeHint {
                SizeHint::with_exact(self.1)
            }
        }
        let end = Arc::new(UploadEnd::default());
        let upload = Upload::new(Announced(listed([data(3), data(4)]), 7), true, vec![], Some(end.clone()));
        let mut body = RequestBody::shared(upload.read());
        body.frame().await.unwrap().unwrap();
        assert_eq!(upload.read_at(), None);
        body.frame().await.unwrap().unwrap();
        let read_at = upload.read_at();
        assert_eq!(read_at, Some(Instant::now()));
        assert!(end.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert!(body.frame().await.is_none());
        assert_eq!(upload.read_at(), read_at, "once");
    }

    #[tokio::test]
    async fn a_copy_has_what_the_request_has_and_does_not_hold_it_up() {
        let load = Arc::new(MirrorLoad::new(1, KEPT * 2));
        let (tap, copy) = mirror_body::copy(&load);
        let (lagging, slow) = mirror_body::copy(&load);
        let upload = Upload::new(listed([data(KEPT), data(KEPT)]), false, vec![tap, lagging], None);
        let mut body = RequestBody::shared(upload.read());
        let mut copy = RequestBody::<Listed>::mirror(copy);
        for _ in 0..2 {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), KEPT);
            assert_eq!(copy.frame().await.unwrap().unwrap().into_data().unwrap().len(), KEPT);
        }
        assert!(body.frame().await.is_none());
        assert!(copy.frame().await.is_none());
        let error = RequestBody::<Listed>::mirror(slow).collect().await.unwrap_err();
        assert!(error.to_string().contains("keep up"), "{error}");
        assert_eq!(load.now(), (0, 0));
    }
}
