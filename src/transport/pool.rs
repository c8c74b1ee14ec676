//! The connections of one endpoint that carry one type of request body.

use std::any::Any;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::Upload;
use super::body::TransportBody;
use super::connect::Target;
use super::failure;
use super::line::{self, Line};
use super::multiplex::Multiplex;
use super::settings::Settings;
use super::stack::Stack;
use crate::error::BoxError;
use crate::outcome::FailureError;
use crate::service::RequestBody;

pub(super) struct Pool<B> {
    pub(super) settings: Arc<Settings>,
    stack: Stack<B>,
    pub(super) multiplex: Multiplex<B>,
    /// Since the last sweep.
    used: AtomicBool,
}

impl<B: Upload> Pool<B> {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        let stack = Stack::new(settings.shards);
        Self { settings, stack, multiplex: Multiplex::new(), used: AtomicBool::new(true) }
    }

    /// Marks the pool as one whose endpoint is still asked for.
    pub(super) fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// An idle HTTP/1.1 connection.
    pub(super) fn checkout(&self) -> Option<Line<B>> {
        self.stack.pop(self.settings.idle_timeout)
    }

    /// Keeps an HTTP/1.1 connection for the next request.
    pub(super) fn park(&self, line: Line<B>) {
        if self.settings.is_closed() {
            return;
        }
        self.stack.push(line);
        // The transport was closed in between, and its stacks may have been cleared already.
        if self.settings.is_closed() {
            self.stack.clear();
        }
    }

    /// Sends `request` where no connection was idle.
    ///
    /// One that was given back this moment may only wait for its driver to run, as happens with several threads. It
    /// gets one chance, which is cheaper than a connection more.
    pub(super) async fn send(
        self: Arc<Self>,
        target: Target,
        request: Request<RequestBody<B>>,
    ) -> Result<Response<TransportBody>, BoxError> {
        if !self.stack.is_resting() {
            return self.send_fresh(target, request).await;
        }
        tokio::task::yield_now().await;
        let Some(line) = self.checkout() else { return self.send_fresh(target, request).await };
        match exchange(line, request, self.clone()).await {
            Ok(response) => Ok(response),
            Err(mut error) => match error.take_message() {
                Some(unsent) => self.send_fresh(target, unsent).await,
                None => Err(failure::of_exchange(error.into_error()).into()),
            },
        }
    }

    /// Sends `request` on a fresh HTTP/1.1 connection.
    pub(super) async fn send_fresh(
        self: Arc<Self>,
        target: Target,
        request: Request<RequestBody<B>>,
    ) -> Result<Response<TransportBody>, BoxError> {
        let line = self.open(&target).await?;
        exchange(line, request, self).await.map_err(|error| failure::of_exchange(error.into_error()).into())
    }

    async fn open(&self, target: &Target) -> Result<Line<B>, FailureError> {
        let handshake = |wire| async {
            let (sender, connection) =
                self.settings.http1.handshake(TokioIo::new(wire)).await.map_err(failure::of_exchange)?;
            // Drives the connection until it is closed or its sender is dropped and the last exchange is over.
            tokio::spawn(connection.with_upgrades());
            Ok(line::new(sender))
        };
        target.open(&self.settings, handshake).await
    }
}

async fn exchange<B: Upload>(
    mut line: Line<B>,
    request: Request<RequestBody<B>>,
    home: Arc<Pool<B>>,
) -> Result<Response<TransportBody>, TrySendError<Request<RequestBody<B>>>> {
    let tunnel = request.method() == Method::CONNECT;
    line.as_mut().start(request, home);
    let response = poll_fn(|cx| line.as_mut().poll_reply(cx)).await?;
    Ok(answered(line, response, tunnel))
}

/// The response to a request on `line`, with the connection in its body. A connection that was taken over by another
/// protocol lives on in the upgrade, and without a sender.
pub(super) fn answered<B: Upload>(
    line: Line<B>,
    response: Response<Incoming>,
    tunnel: bool,
) -> Response<TransportBody> {
    let status = response.status();
    let taken_over = status == StatusCode::SWITCHING_PROTOCOLS || tunnel && status.is_success();
    response.map(|body| if taken_over { TransportBody::unbound(body) } else { TransportBody::leased(body, line) })
}

/// A [`Pool`] whose type of body is forgotten.
pub(super) trait Kept: Any + Send + Sync {
    /// Drops what is closed or too long idle; whether the pool was used since the last sweep.
    fn sweep(&self, now: Instant) -> bool;

    /// Closes what is idle.
    fn clear(&self);

    /// Whether it holds no connection, lent ones included.
    fn is_unused(&self) -> bool;
}

impl<B: Upload> Kept for Arc<Pool<B>> {
    fn sweep(&self, now: Instant) -> bool {
        self.stack.sweep(self.settings.idle_timeout, now);
        self.multiplex.sweep(&self.settings, now);
        self.used.swap(false, Ordering::Relaxed)
    }

    fn clear(&self) {
        self.stack.clear();
        self.multiplex.clear();
    }

    fn is_unused(&self) -> bool {
        Arc::strong_count(self) == 1 && self.stack.is_empty() && self.multiplex.is_empty()
    }
}
