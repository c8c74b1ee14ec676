//! One HTTP/1.1 connection: hyper's sender with the exchange that is on it.
//!
//! hyper's future of a response has no name, so a future of ours cannot hold it unboxed. Each connection is therefore
//! one allocation with room for the future of its one exchange, which is written anew in place for every request.
//! What the rest of the room holds is a pointer to it, first as [`Exchange`], then, with the type of the request's
//! body forgotten, as [`Lease`] in the body of the response. A reused connection allocates nothing of ours.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Upload;
use super::place::Heard;
use super::pool::Pool;
use super::terms::Terms;
use crate::service::RequestBody;

/// What an exchange came to. The request comes back if no byte of it was written.
pub(super) type Reply<B> = Result<Response<Incoming>, TrySendError<Request<RequestBody<B>>>>;

/// A connection in use or idle.
pub(super) type Line<B> = Pin<Box<dyn Exchange<B>>>;

/// What a connection is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It takes a request.
    Ready,
    /// Its last exchange is not over: the rest of an upload is on its way, or its driver did not get to run yet.
    Busy,
    /// The other side hung up.
    Closed,
}

/// Told to the driver of a connection: it ends by itself. Dropped before that, it ends the driver.
pub(super) type Leave = oneshot::Sender<()>;

/// Drives `connection` until it is closed, or was dropped in the middle of an exchange: hyper would go on with an upload
/// for as long as there is any.
pub(super) async fn drive(connection: impl Future, left: oneshot::Receiver<()>) {
    let dropped = async {
        if left.await.is_ok() {
            std::future::pending().await
        }
    };
    // An exchange that was over without the driver's knowledge ends in order.
    tokio::select! {
        biased;
        _ = connection => {}
        () = dropped => {}
    }
}

/// A connection lent to one exchange. Dropping it closes the connection.
pub(super) trait Lease: Send {
    /// What it is up to.
    fn rest(&self) -> Rest;

    /// The response was read to its end, or has come and is not wanted: back to the pool.
    fn give_back(self: Pin<Box<Self>>);
}

/// A connection that carries requests with a body `B`, one after the other.
pub(super) trait Exchange<B>: Lease {
    /// Sends `request`; afterwards the connection goes back to `home`.
    fn start(self: Pin<&mut Self>, request: Request<RequestBody<B>>, home: Arc<Pool<B>>);

    /// Whether something came since then that was not a whole head, as one that only announces the answer.
    fn has_heard(&self) -> bool;

    /// The answer to it.
    fn poll_reply(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply<B>>;

    /// Leaves the connection to another protocol.
    fn hand_over(self: Pin<&mut Self>);

    /// Takes back the pool that was given with the request.
    fn leave(self: Pin<&mut Self>) -> Option<Arc<Pool<B>>>;

    /// Waits until it takes a request; false if it never will.
    fn poll_rest(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool>;

    /// Whether it is too old or has carried enough requests to carry another.
    fn is_spent(&self, terms: &Terms) -> bool;
}

pin_project! {
    struct Connection<B, S, F> {
        // Dropped before the driver is ended: it may find that it is done.
        sender: SendRequest<RequestBody<B>>,
        leave: Option<Leave>,
        send: S,
        #[pin]
        reply: Option<F>,
        // Only while it is lent: an idle connection must not keep the pool alive that it lies in.
        home: Option<Arc<Pool<B>>>,
        opened: Instant,
        started: u32,
        heard: Heard,
        // How often before the request was sent.
        heard_before: u64,
    }

    impl<B, S, F> PinnedDrop for Connection<B, S, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.sender.is_ready() || this.sender.is_closed() {
                leave(this.leave);
            }
        }
    }
}

fn leave(driver: &mut Option<Leave>) {
    if let Some(driver) = driver.take() {
        // It may have ended before.
        let _ = driver.send(());
    }
}

/// A fresh connection.
pub(super) fn new<B: Upload>(sender: SendRequest<RequestBody<B>>, leave: Leave, heard: Heard) -> Line<B> {
    fn boxed<B, S, F>(sender: SendRequest<RequestBody<B>>, leave: Leave, heard: Heard, send: S) -> Line<B>
    where
        B: Upload,
        S: Fn(&mut SendRequest<RequestBody<B>>, Request<RequestBody<B>>) -> F + Send + 'static,
        F: Future<Output = Reply<B>> + Send + 'static,
    {
        let (opened, started, heard_before) = (Instant::now(), 0, 0);
        let leave = Some(leave);
        Box::pin(Connection { sender, leave, send, reply: None, home: None, opened, started, heard, heard_before })
    }
    boxed(sender, leave, heard, |sender, request| sender.try_send_request(request))
}

impl<B, S, F> Lease for Connection<B, S, F>
where
    B: Upload,
    S: Fn(&mut SendRequest<RequestBody<B>>, Request<RequestBody<B>>) -> F + Send + 'static,
    F: Future<Output = Reply<B>> + Send + 'static,
{
    fn rest(&self) -> Rest {
        if self.sender.is_ready() {
            Rest::Ready
        } else if self.sender.is_closed() {
            Rest::Closed
        } else {
            Rest::Busy
        }
    }

    fn give_back(mut self: Pin<Box<Self>>) {
        if let Some(home) = self.as_mut().project().home.take() {
            home.park(self);
        }
    }
}

impl<B, S, F> Exchange<B> for Connection<B, S, F>
where
    B: Upload,
    S: Fn(&mut SendRequest<RequestBody<B>>, Request<RequestBody<B>>) -> F + Send + 'static,
    F: Future<Output = Reply<B>> + Send + 'static,
{
    fn start(self: Pin<&mut Self>, request: Request<RequestBody<B>>, home: Arc<Pool<B>>) {
        let mut this = self.project();
        *this.home = Some(home);
        *this.started = this.started.saturating_add(1);
        *this.heard_before = this.heard.times();
        let reply = (this.send)(this.sender, request);
        this.reply.set(Some(reply));
    }

    fn has_heard(&self) -> bool {
        self.heard.times() != self.heard_before && !self.heard.ends_head()
    }

    fn poll_reply(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply<B>> {
        let mut this = self.project();
        let Some(reply) = this.reply.as_mut().as_pin_mut() else { return Poll::Pending };
        let reply = ready!(reply.poll(cx));
        this.reply.set(None);
        Poll::Ready(reply)
    }

    fn hand_over(self: Pin<&mut Self>) {
        leave(self.project().leave);
    }

    fn leave(self: Pin<&mut Self>) -> Option<Arc<Pool<B>>> {
        self.project().home.take()
    }

    fn poll_rest(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        self.project().sender.poll_ready(cx).map(|ready| ready.is_ok())
    }

    fn is_spent(&self, terms: &Terms) -> bool {
        terms.most_requests.is_some_and(|most| self.started >= most)
            || terms.most_age.is_some_and(|age| self.opened.elapsed() >= age)
    }
}
