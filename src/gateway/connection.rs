//! One connection of a client, from its first byte to its last.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::drain::{Draining, Reason};
use super::exchange::{Exchange, Serve};
use super::idle::IdleWatch;
use super::session::Session;
use super::wire::{Protocol, Wire};
use crate::error::BoxError;
use crate::transport::bounds;
use crate::transport::executor::Executor;
use crate::upstream::LONGEST;

/// How many requests of one HTTP/2 connection are served at once, as by Envoy.
const MAX_STREAMS: u32 = 1024;

/// Up to this size a head of HTTP/1.1 comes to the door, which says of one that is too large what Envoy says. hyper
/// takes no larger target, of which it would say something else than of a head.
const HEAD_FOR_DOOR: usize = u16::MAX as usize;

/// How long a connection that was told to finish may have no request and not end: a client that stopped in the middle of
/// its first head, or does not answer in HTTP/2. It is Envoy's `drain_timeout`.
const FAREWELL: Duration = Duration::from_secs(5);

/// How connections are served; made once a worker.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Executor>,
    idle: Duration,
}

impl Protocols {
    /// `idle` is how long a connection may be without a request, and a head may take, 0 for ever; `buffer` bounds hyper's own.
    pub(super) fn new(idle: Duration, buffer: Option<usize>) -> Self {
        let mut http1 = http1::Builder::new();
        // What it would do for a timeout of heads, a timer for each request among it, the idle watch does as well.
        http1.header_read_timeout(None).max_header_size(HEAD_FOR_DOOR);
        let mut http2 = http2::Builder::new(Executor);
        http2.timer(TokioTimer::new()).enable_connect_protocol();
        http2.max_concurrent_streams(MAX_STREAMS);
        bounds::towards_clients(&mut http2);
        if let Some(buffer) = buffer {
            let buffer = buffer.clamp(bounds::MIN_BUFFER, u32::MAX as usize);
            http1.max_buf_size(buffer);
            http2.max_send_buf_size(buffer);
        }
        let idle = if idle.is_zero() { LONGEST } else { idle.min(LONGEST) };
        Self { http1, http2, idle }
    }

    /// Serves `io` until the client leaves, something breaks, or a drain has let its last request finish.
    pub(super) async fn serve<IO, S>(
        &self,
        io: IO,
        service: S,
        session: Arc<Session>,
        mut draining: Draining,
    ) -> Result<(), BoxError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Serve,
    {
        let Some((protocol, wire)) = self.open(io, &session, &mut draining).await? else { return Ok(()) };
        let idle = IdleWatch::new(&session, self.idle);
        let exchange = Exchange::new(service, Arc::clone(&session));
        match protocol {
            Protocol::Http1 => {
                let connection = self.http1.serve_connection(TokioIo::new(wire), exchange).with_upgrades();
                let finish = http1::UpgradeableConnection::graceful_shutdown;
                until_drained(pin!(connection), finish, (protocol, &session), draining, idle).await?;
            }
            Protocol::Http2 => {
                let connection = self.http2.serve_connection(TokioIo::new(wire), exchange);
                let finish = http2::Connection::graceful_shutdown;
                until_drained(pin!(connection), finish, (protocol, &session), draining, idle).await?;
            }
        }
        Ok(())
    }

    /// Waits for the first bytes; the end of a drain or too long a silence ends a connection that has not said anything.
    async fn open<IO>(
        &self,
        io: IO,
        session: &Arc<Session>,
        draining: &mut Draining,
    ) -> std::io::Result<Option<(Protocol, Wire<IO>)>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        tokio::select! {
            biased;
            opened = tokio::time::timeout(self.idle, Wire::open(io, session)) => opened.unwrap_or(Ok(None)),
            _ = draining.ends(|| session.leave()) => Ok(None),
        }
    }
}

/// Drives a connection, and asks it to finish when everything ends, when it was idle for too long, or when its listener
/// is gone. Then one of HTTP/1.1 has only its next answer to say so in, and whatever is there after the time of the
/// drain is cut. One that does not finish, has no request and may be left is left after a while.
///
/// The task of a connection is polled often and its waker stays the same, so the signal is asked at first, and then only
/// when it was the one that woke the task.
async fn until_drained<C, E>(
    mut connection: Pin<&mut C>,
    finish: fn(Pin<&mut C>),
    (protocol, session): (Protocol, &Session),
    mut draining: Draining,
    mut idle: IdleWatch,
) -> Result<(), E>
where
    C: Future<Output = Result<(), E>>,
{
    let http2 = protocol == Protocol::Http2;
    // Between two requests of HTTP/1.1 hyper ends it, once all is written.
    let may_be_left = || http2 || session.requests() == 0;
    let mut ends = pin!(draining.ends(|| session.leave()));
    let (mut bell, mut told, mut ended) = (None, false, None);
    std::future::poll_fn(move |cx: &mut Context<'_>| -> Poll<Result<(), E>> {
        let bell = bell.get_or_insert_with(|| Bell::new(cx.waker()));
        let mut has_begun = false;
        if ended.is_none() && bell.has_rung() {
            ended = match ends.as_mut().poll(&mut Context::from_waker(&Waker::from(bell.clone()))) {
                Poll::Ready(reason) => Some(reason),
                Poll::Pending => None,
            };
            has_begun = ended.is_some() || (http2 && session.is_leaving());
        }
        if !told && (has_begun || idle.poll_expired(cx)) {
            told = true;
            finish(connection.as_mut());
            idle.give(FAREWELL);
        }
        if told && idle.poll_expired(cx) && may_be_left() {
            return Poll::Ready(Ok(()));
        }
        let polled = connection.as_mut().poll(cx);
        let is_late = polled.is_pending() && ended == Some(Reason::Gone);
        if is_late { Poll::Ready(Ok(())) } else { polled }
    })
    .await
}

/// Wakes a task, and remembers that it was this that did.
struct Bell {
    task: Waker,
    rung: AtomicBool,
}

impl Bell {
    /// One that rings from the start.
    fn new(task: &Waker) -> Arc<Self> {
        Arc::new(Self { task: task.clone(), rung: AtomicBool::new(true) })
    }

    fn has_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire) && self.rung.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}
