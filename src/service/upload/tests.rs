//! Bodies read in pieces, by several readers, and not to their end.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;

use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;

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

fn read_again(upload: &Arc<Upload<Listed>>) -> Result<Reader<Listed>, Lost> {
    upload.begin_again().map(|()| upload.read())
}

#[tokio::test]
async fn every_try_reads_the_whole_body_with_its_trailers() {
    let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]);
    let upload = Upload::new(listed([data(3), data(4), Ok(Frame::trailers(trailers.clone()))]), true, vec![], None);
    let mut first = RequestBody::shared(upload.read());
    assert!(first.frame().await.unwrap().unwrap().is_data());
    for _ in 0..2 {
        assert!(upload.is_whole());
        let whole = RequestBody::shared(read_again(&upload).unwrap()).collect().await.unwrap();
        assert_eq!(whole.trailers(), Some(&trailers));
        assert_eq!(whole.to_bytes().len(), 7);
    }
    let error = first.frame().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("given up"), "{error}");
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
async fn an_end_that_comes_by_itself_is_one_for_every_reader() {
    let load = Arc::new(MirrorLoad::new(1, KEPT));
    let cx = &mut Context::from_waker(Waker::noop());
    for said in [false, true] {
        let body = || match said {
            true => Full::from("four").map_err(|never| match never {}).boxed_unsync(),
            false => listed([data(4)]).boxed_unsync(),
        };
        let (tap, copy) = mirror_body::copy(&load);
        let upload = Upload::new(body(), true, vec![tap], Some(Arc::default()));
        let mut readers = vec![RequestBody::shared(upload.read()), RequestBody::mirror(copy)];
        assert!(upload.read_ahead(cx).is_pending());
        readers.push(RequestBody::shared(upload.read_beside().unwrap()));
        for mut reader in readers {
            assert_eq!(reader.frame().await.unwrap().unwrap().into_data().unwrap().len(), 4);
            assert_eq!(reader.is_end_stream(), said, "{reader:?}");
            assert!(reader.frame().await.is_none() && reader.is_end_stream());
        }
        upload.begin_again().unwrap();
        let mut again = RequestBody::shared(upload.read());
        again.frame().await.unwrap().unwrap();
        assert_eq!(again.is_end_stream(), said);
    }
}

#[tokio::test]
async fn between_tries_the_body_is_read_until_it_outgrows_the_buffer() {
    let upload = Upload::new(listed([data(KEPT), data(1)]), true, vec![], None);
    assert_eq!(std::future::poll_fn(|cx| upload.poll_lost(cx)).await, Lost::Outgrown);
    assert!(!upload.is_whole());
    let small = Upload::new(listed([data(1)]), true, vec![], None);
    assert!(tokio_test::task::spawn(std::future::poll_fn(|cx| small.poll_lost(cx))).poll().is_pending());
    assert_eq!(RequestBody::shared(small.read()).collect().await.unwrap().to_bytes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_is_there_for_all_readers() {
    let end = Arc::new(UploadEnd::default());
    let upload = Upload::new(listed([data(3), data(4)]), true, vec![], Some(end));
    let mut first = RequestBody::shared(upload.read());
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    assert!(upload.poll_end(cx).is_pending());
    assert!(upload.read_ahead(cx).is_pending());
    assert!(upload.poll_end(cx).is_ready());
    assert!(first.frame().await.unwrap().unwrap().is_data());
    let second = RequestBody::shared(upload.read_beside().unwrap()).collect().await.unwrap();
    assert_eq!((second.to_bytes().len(), first.collect().await.unwrap().to_bytes().len()), (7, 4));
    // Of one that is not kept nothing is lost, and what a try has begun to read is its own.
    let large = Upload::new(listed([data(KEPT), data(1), data(1)]), true, vec![], None);
    let mut only = RequestBody::shared(large.read());
    assert!(large.read_ahead(cx).is_pending());
    assert!(large.is_whole() && large.lock().source.is_some(), "a buffer holds no more");
    for _ in 0..3 {
        assert!(only.frame().await.unwrap().unwrap().is_data());
        assert!(large.read_ahead(cx).is_pending());
    }
    assert!(only.frame().await.is_none() && !large.is_whole());
    // How it broke off is told to whoever reads it.
    let broken = Upload::new(listed([data(1), Err(io::ErrorKind::BrokenPipe.into())]), false, vec![], None);
    let reader = RequestBody::shared(broken.read());
    let Poll::Ready(error) = broken.read_ahead(cx) else { panic!("it broke off") };
    assert!(std::error::Error::source(&error).unwrap().is::<io::Error>());
    assert!(reader.collect().await.is_err() && broken.read_ahead(cx).is_pending(), "once");
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_is_so_many_pieces_at_most_and_none_of_nothing() {
    for (size, number, kept, ended) in [(1, PIECES + 1, PIECES, false), (0, 3 * PIECES, 0, true)] {
        let pieces = Listed((0..number).map(|_| data(size)).collect());
        let upload = Upload::new(pieces, false, vec![], Some(Arc::default()));
        let ends = std::future::poll_fn(|cx| {
            assert!(upload.read_ahead(cx).is_pending());
            upload.poll_end(cx)
        });
        let mut ends = tokio_test::task::spawn(ends);
        while ends.poll().is_pending() && ends.is_woken() {}
        assert_eq!((upload.read_at().is_some(), upload.lock().kept.len()), (ended, kept));
        assert_eq!(RequestBody::shared(upload.read()).collect().await.unwrap().to_bytes().len(), size * number);
    }
}

#[tokio::test]
async fn a_body_that_broke_off_is_not_sent_again() {
    let broken = || Upload::new(listed([data(1), Err(io::ErrorKind::BrokenPipe.into())]), true, vec![], None);
    let upload = broken();
    let error = RequestBody::shared(upload.read()).collect().await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().is::<io::Error>());
    assert!(!upload.is_whole());
    assert_eq!(read_again(&upload).err(), Some(Lost::Broken));
    // Nor does it look like one that ended, to whoever has begun to read it before.
    let upload = broken();
    let reader = RequestBody::shared(upload.read());
    assert_eq!(std::future::poll_fn(|cx| upload.poll_lost(cx)).await, Lost::Broken);
    assert!(reader.collect().await.is_err());
}

#[tokio::test]
async fn what_is_read_ahead_of_the_next_try_is_all_there_for_it() {
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let half = KEPT / 2;
    let upload = Upload::new(listed([data(half), data(1), data(KEPT), data(5), data(6)]), true, vec![], None);
    let mut first = RequestBody::shared(upload.read());
    first.frame().await.unwrap().unwrap();
    first.frame().await.unwrap().unwrap();
    upload.give_up();
    upload.begin_again().unwrap();
    assert!(upload.read_ahead(cx).is_pending());
    assert_eq!(upload.lock().kept.len(), 3, "a buffer holds no more");
    assert!(!upload.is_whole() && first.frame().await.unwrap().is_err());
    let mut second = RequestBody::shared(upload.read());
    let mut sizes = Vec::new();
    while let Some(frame) = second.frame().await {
        sizes.push(frame.unwrap().into_data().unwrap().len());
        assert!(upload.read_ahead(cx).is_pending());
    }
    assert_eq!(sizes, [half, 1, KEPT, 5, 6]);
}

/// Of which nothing comes.
struct Never;

impl Body for Never {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn who_waits_with_a_try_that_is_given_up_comes_to_know_it() {
    let upload = Upload::new(Never, true, vec![], None);
    let mut first = RequestBody::shared(upload.read());
    let mut waiting = tokio_test::task::spawn(first.frame());
    assert!(waiting.poll().is_pending());
    upload.give_up();
    assert!(waiting.is_woken());
    assert!(matches!(waiting.poll(), Poll::Ready(Some(Err(_)))));
    // Between the tries.
    let mut lost = tokio_test::task::spawn(std::future::poll_fn(|cx| upload.poll_lost(cx)));
    assert!(lost.poll().is_pending());
}

#[tokio::test]
async fn a_try_that_is_given_up_never_sends_a_body_with_a_hole() {
    let upload = Upload::new(listed([data(KEPT), data(1), data(5)]), true, vec![], None);
    let mut first = RequestBody::shared(upload.read());
    first.frame().await.unwrap().unwrap();
    upload.give_up();
    assert_eq!(std::future::poll_fn(|cx| upload.poll_lost(cx)).await, Lost::Outgrown);
    upload.keep_no_more();
    let error = first.collect().await.unwrap_err();
    assert!(error.to_string().contains("given up"), "{error}");
}

#[tokio::test]
async fn what_was_outgrown_is_read_by_nobody_else() {
    let upload = Upload::new(listed([data(KEPT), data(1), data(5)]), true, vec![], None);
    let mut first = RequestBody::shared(upload.read());
    first.frame().await.unwrap().unwrap();
    first.frame().await.unwrap().unwrap();
    assert_eq!(read_again(&upload).err(), Some(Lost::Outgrown));
    assert_eq!(first.collect().await.unwrap().to_bytes().len(), 5, "it may go on");
}

#[tokio::test]
async fn so_many_pieces_are_kept_and_none_of_nothing() {
    let pieces = |size: usize, number: usize| Listed((0..number).map(|_| data(size)).collect());
    for (size, number, whole) in [(1, PIECES, true), (1, PIECES + 1, false), (0, PIECES + 1, true)] {
        let upload = Upload::new(pieces(size, number), true, vec![], None);
        let first = RequestBody::shared(upload.read()).collect().await.unwrap();
        assert_eq!((first.to_bytes().len(), upload.is_whole()), (size * number, whole));
    }
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

/// A body that tells its length.
struct Announced<B>(B, u64);

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Body for Announced<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.1)
    }
}

/// What is sent, until the sender is gone; only who asked last is woken.
struct Fed(mpsc::UnboundedReceiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

#[tokio::test]
async fn the_end_comes_to_both_readers_whoever_asked_last() {
    for gone in [false, true] {
        let (feed, fed) = mpsc::unbounded_channel();
        feed.send(Bytes::from_static(b"four")).unwrap();
        let upload = Upload::new(Announced(Fed(fed), 4), true, vec![], Some(Arc::default()));
        let mut first = RequestBody::shared(upload.read());
        assert!(first.frame().await.unwrap().unwrap().is_data());
        // So much is told, and a second try begins.
        assert!(upload.poll_end(&mut Context::from_waker(Waker::noop())).is_ready());
        let mut waits = tokio_test::task::spawn(first.frame());
        assert!(waits.poll().is_pending());
        let mut second = RequestBody::shared(upload.read_beside().unwrap());
        assert!(second.frame().await.unwrap().unwrap().is_data());
        let mut asks = tokio_test::task::spawn(second.frame());
        assert!(waits.poll().is_pending() && asks.poll().is_pending());
        drop(feed);
        assert!(waits.is_woken() && asks.is_woken());
        if !gone {
            assert!(matches!(asks.poll(), Poll::Ready(None)));
        }
        assert!(matches!(waits.poll(), Poll::Ready(None)), "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_is_known_with_the_last_byte_of_a_length_that_was_announced() {
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
    // Whoever reads it.
    let (feed, fed) = mpsc::unbounded_channel();
    feed.send(Bytes::from_static(b"four")).unwrap();
    let upload = Upload::new(Announced(Fed(fed), 4), true, vec![], None);
    assert!(upload.read_ahead(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(upload.read_at(), Some(Instant::now()));
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
