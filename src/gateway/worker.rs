//! One thread with its own runtime: it accepts, and serves what it accepted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tower_service::Service;

use super::body::InboundBody;
use super::connection::Protocols;
use super::drain::{Alive, Drain, Draining};
use super::listener::{Accepted, Acceptor, Address, Bound};
use super::session::Session;
use crate::dice::Dice;
use crate::error::BoxError;
use crate::request::{ListenerOrigin, Origin};

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Accept on a socket that listens at the address.
    Listen(Address, Bound, ListenerOrigin),
    /// Accept no more at the address; what was accepted finishes in its own time. Answered when the socket is closed.
    Close(Address, oneshot::Sender<()>),
    /// Accept no more anywhere, finish, and end: after this long at the latest. Answered by the end of the thread.
    Drain(Duration, oneshot::Sender<()>),
}

/// What a worker needs to serve a connection.
#[derive(Clone, Debug)]
pub(super) struct Serving<M> {
    /// Makes the service of a connection.
    pub(super) make: M,
    pub(super) protocols: Protocols,
    pub(super) dice: Dice,
    /// How many proxies before us are believed of what they say about clients.
    pub(super) trusted: u32,
}

#[derive(Debug)]
struct Open {
    drain: Drain,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<()>,
}

/// Follows commands until one ends it; returns whom to tell that it has.
pub(super) async fn run<M, S, B>(
    serving: Serving<M>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> Option<oneshot::Sender<()>>
where
    M: Fn(Origin) -> S + Send + Sync + 'static,
    S: Service<Request<InboundBody>, Response = Response<B>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let serving = Arc::new(serving);
    let mut open: HashMap<Address, Open> = HashMap::new();
    let mut finishing: Vec<JoinHandle<()>> = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(address, bound, origin) => match Acceptor::new(bound) {
                Ok(acceptor) => {
                    open.insert(address, listen(acceptor, origin, serving.clone()));
                }
                Err(error) => tracing::error!(%error, %address, "a listener could not be taken over by a worker"),
            },
            Command::Close(address, closed) => {
                finishing.retain(|task| !task.is_finished());
                if let Some(open) = open.remove(&address) {
                    finishing.push(close(open).await);
                }
                let _ = closed.send(());
            }
            Command::Drain(within, done) => {
                for (_, open) in open.drain() {
                    finishing.push(close(open).await);
                }
                let finished = async {
                    for task in finishing {
                        let _ = task.await;
                    }
                };
                if tokio::time::timeout(within, finished).await.is_err() {
                    tracing::warn!(?within, "connections that did not finish are cut");
                }
                return Some(done);
            }
        }
    }
    None
}

fn listen<M, S, B>(acceptor: Acceptor, origin: ListenerOrigin, serving: Arc<Serving<M>>) -> Open
where
    M: Fn(Origin) -> S + Send + Sync + 'static,
    S: Service<Request<InboundBody>, Response = Response<B>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let drain = Drain::new();
    let (stop, mut stopped) = oneshot::channel();
    let (alive, draining) = (drain.alive(), drain.draining());
    let accepting = tokio::spawn(async move {
        let begin = |accepted| {
            let serving = serving.clone();
            tokio::spawn(converse(accepted, origin.clone(), serving, alive.clone(), draining.clone()));
        };
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                accepted = acceptor.accept() => begin(accepted),
            }
        }
        // Connections that the kernel has accepted for us would be reset with the socket.
        while let Some(accepted) = now(acceptor.accept()).await {
            begin(accepted);
        }
    });
    Open { drain, stop, accepting }
}

/// What `future` gives without waiting.
async fn now<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = tokio::task::unconstrained(future) => Some(output),
        () = std::future::ready(()) => None,
    }
}

/// Closes the socket; the task that is returned ends with the last connection.
async fn close(open: Open) -> JoinHandle<()> {
    let _ = open.stop.send(());
    let _ = open.accepting.await;
    tokio::spawn(open.drain.finish())
}

async fn converse<M, S, B>(
    accepted: Accepted,
    mut origin: ListenerOrigin,
    serving: Arc<Serving<M>>,
    alive: Alive,
    draining: Draining,
) where
    M: Fn(Origin) -> S,
    S: Service<Request<InboundBody>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if let Accepted::Tcp(stream, peer) = &accepted {
        (origin.peer, origin.local) = (Some(*peer), stream.local_addr().ok());
    }
    let origin = Arc::new(origin);
    let session = Session::new(origin.peer, origin.tls, serving.dice.clone(), Some(alive));
    let session = Arc::new(session.behind(serving.trusted, &origin));
    let service = (serving.make)(Origin::Listener(origin));
    let served = match accepted {
        Accepted::Tcp(stream, _) => serving.protocols.serve(stream, service, session, draining).await,
        Accepted::Unix(stream) => serving.protocols.serve(stream, service, session, draining).await,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended badly");
    }
}
