//! One thread with its own runtime: it accepts, and serves what it accepted.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::admin::{Readiness, Vital};
use super::certificate;
use super::connection::Protocols;
use super::drain::{Alive, Drain, Draining};
use super::entrance::{Entrance, bind_now};
use super::exchange::Serve;
use super::hello::Hello;
use super::listener::{Accepted, Acceptor, Address, BACKLOG, Bound};
use super::secured::{Configs, Ended};
use super::session::Session;
use super::stream::Stream;
use crate::dice::Dice;
use crate::mesh::Mesh;
use crate::request::{DownstreamTls, ListenerOrigin, Origin};
use crate::snapshot::{Bind, Listener, ListenerProtocol, Snapshot};
use crate::telemetry::MeshMetrics;
use crate::transport::{Cut, Transport};

/// How long a TLS handshake may take (Envoy's `listener_filters_timeout`).
const HANDSHAKE: Duration = Duration::from_secs(15);

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Accept on a socket that listens at the address, for the listeners of the snapshot that are bound there.
    Listen(Address, Bound, Bind),
    /// Accept no more at the address; what was accepted leaves in its own time. Answered when the socket is closed.
    Close(Address, oneshot::Sender<()>),
    /// Accept no more anywhere, finish, and end: after this long at the latest. Answered by the end of the thread.
    Drain(Duration, oneshot::Sender<()>),
}

/// What a worker needs to serve a connection.
#[derive(Clone, Debug)]
pub(super) struct Serving<M> {
    /// Makes the service of a connection, whose listener may go before it does.
    pub(super) make: M,
    pub(super) protocols: Protocols,
    pub(super) dice: Dice,
    /// How many proxies before us are believed of what they say about clients.
    pub(super) trusted: u32,
    pub(super) mesh: Mesh,
    /// For connections whose bytes are passed on.
    pub(super) transport: Transport,
    pub(super) configs: Arc<Configs>,
    pub(super) metrics: MeshMetrics,
    pub(super) readiness: Arc<Readiness>,
}

#[derive(Debug)]
struct Open {
    drain: Drain,
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<()>,
}

/// Follows commands until one ends it; returns whom to tell that it has.
pub(super) async fn run<M, S>(
    serving: Serving<M>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> Option<oneshot::Sender<()>>
where
    M: Fn(Origin, Arc<Entrance>) -> S + Send + Sync + 'static,
    S: Serve + Send + 'static,
{
    let serving = Arc::new(serving);
    let mut open: HashMap<Address, Open> = HashMap::new();
    let mut leaving: Vec<Drain> = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(address, bound, bind) => match Acceptor::new(bound) {
                Ok(acceptor) => {
                    open.insert(address, listen(acceptor, bind, serving.clone()));
                }
                Err(error) => tracing::error!(%error, %address, "a listener could not be taken over by a worker"),
            },
            Command::Close(address, closed) => {
                leaving.retain(|drain| !drain.is_over());
                if let Some(open) = open.remove(&address) {
                    // Whoever finds the socket closed may rely on it that the others know.
                    open.drain.leave();
                    leaving.push(close(open).await);
                }
                let _ = closed.send(());
            }
            Command::Drain(within, done) => {
                leaving.iter().for_each(Drain::end);
                let finished = async {
                    for (_, open) in open {
                        let drain = close(open).await;
                        drain.end();
                        leaving.push(drain);
                    }
                    for drain in leaving {
                        drain.finish().await;
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

fn listen<M, S>(acceptor: Acceptor, bind: Bind, serving: Arc<Serving<M>>) -> Open
where
    M: Fn(Origin, Arc<Entrance>) -> S + Send + Sync + 'static,
    S: Serve + Send + 'static,
{
    let drain = Drain::new();
    let (stop, mut stopped) = oneshot::channel();
    let (alive, draining) = (drain.alive(), drain.draining());
    let vital = Vital(serving.readiness.clone());
    let accepting = tokio::spawn(async move {
        let _vital = vital;
        let begin = |accepted| {
            let serving = serving.clone();
            let guards = (alive.clone(), draining.clone());
            match accepted {
                Accepted::Tcp(stream, peer) => {
                    let client = stream.local_addr().ok().map(|local| (peer, local));
                    tokio::spawn(converse(stream, client, bind.clone(), serving, guards));
                }
                Accepted::Unix(stream) => {
                    tokio::spawn(converse(stream, None, bind.clone(), serving, guards));
                }
            }
        };
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                accepted = acceptor.accept() => begin(accepted),
            }
        }
        // Connections that the kernel has accepted for us would be reset with the socket.
        take_waiting(|| acceptor.accept(), begin).await;
    });
    Open { drain, stop, accepting }
}

/// Takes what waits to be accepted: no more than may wait at a time, since clients may connect as fast as that goes.
async fn take_waiting<F: Future>(accept: impl Fn() -> F, begin: impl Fn(F::Output)) {
    for _ in 0..=BACKLOG {
        let Some(accepted) = now(accept()).await else { break };
        begin(accepted);
    }
}

/// What `future` gives without waiting.
async fn now<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = tokio::task::unconstrained(future) => Some(output),
        () = std::future::ready(()) => None,
    }
}

/// Closes the socket; what is returned knows of its connections.
async fn close(open: Open) -> Drain {
    let _ = open.stop.send(());
    let _ = open.accepting.await;
    open.drain
}

/// Serves one connection as the snapshot of the moment says.
async fn converse<IO, M, S>(
    io: IO,
    client: Option<(SocketAddr, SocketAddr)>,
    bind: Bind,
    serving: Arc<Serving<M>>,
    guards: (Alive, Draining),
) where
    IO: AsyncRead + AsyncWrite + Cut + Unpin + Send + 'static,
    M: Fn(Origin, Arc<Entrance>) -> S,
    S: Serve,
{
    let mut caller = Caller { serving: &serving, client, guards };
    match caller.enter(&bind, None) {
        Some(entered) => caller.serve(io, entered, None).await,
        None => {
            if let Err(error) = caller.serve_secured(io, &bind).await {
                tracing::debug!(%error, ?bind, "a TLS handshake failed");
            }
        }
    }
}

/// Where a connection leads.
enum Door {
    /// Of HTTP, and whether gRPC-Web is made gRPC.
    Http(ListenerOrigin, bool),
    Stream(Stream),
    Closed,
}

/// A connection at its listener.
struct Entered {
    door: Door,
    /// How TLS is ended there.
    ended: Option<Ended>,
    entrance: Arc<Entrance>,
}

/// Who opened a connection, and what it is served with.
struct Caller<'a, M> {
    serving: &'a Serving<M>,
    /// The client and the address that it dialed.
    client: Option<(SocketAddr, SocketAddr)>,
    guards: (Alive, Draining),
}

impl<M> Caller<'_, M> {
    /// Comes to the listener behind a socket by the snapshot of the moment, which is not held for as long as a connection
    /// lasts. From now on it is heard if that goes.
    fn enter(&mut self, bind: &Bind, hello: Option<&Hello>) -> Option<Entered> {
        let Serving { mesh, configs, .. } = self.serving;
        // Before it is looked: what is published meanwhile is a change.
        let versions = mesh.subscribe();
        let snapshot = mesh.load();
        let dialed = self.client.map(|(_, local)| local.ip());
        let bind = bind_now(bind, dialed, &snapshot);
        let listener = match hello {
            Some(hello) => snapshot.secured_listener(&bind, hello.server_name.as_deref())?,
            None => snapshot.plain_listener(&bind)?,
        };
        let entrance = Arc::new(Entrance::new(&snapshot, listener, dialed, hello));
        let (behind, mesh) = (entrance.clone(), mesh.clone());
        self.guards.1 = self.guards.1.clone().or_when(versions, move || behind.is_gone(&mesh.load()));
        Some(Entered { door: self.door(&snapshot, listener, hello), ended: configs.of(listener), entrance })
    }

    fn door(&self, snapshot: &Snapshot, listener: &Listener, hello: Option<&Hello>) -> Door {
        if listener.protocol == ListenerProtocol::Http {
            let mut origin = ListenerOrigin::new(listener.name.clone(), listener.port);
            origin.tls = listener.tls.is_some();
            (origin.peer, origin.local) = self.client.unzip();
            origin.open = Some(Arc::default());
            return Door::Http(origin, listener.grpc_web);
        }
        let Serving { dice, metrics, .. } = self.serving;
        let stream = Stream::new(snapshot, listener, hello, self.client, dice.draws(), &metrics.no_route);
        stream.map_or(Door::Closed, Door::Stream)
    }

    /// Ends TLS, or passes it on, by the server name that the client asks for.
    async fn serve_secured<IO, S>(mut self, io: IO, bind: &Bind) -> io::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Cut + Unpin + Send + 'static,
        M: Fn(Origin, Arc<Entrance>) -> S,
        S: Serve,
    {
        let started = Instant::now();
        let read = tokio::select! {
            biased;
            read = tokio::time::timeout(HANDSHAKE, Hello::read(io)) => read??,
            _ = self.guards.1.begins() => None,
        };
        let Some((hello, io)) = read else { return Ok(()) };
        let name = hello.server_name.as_deref();
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no listener is for {name:?}"));
        let entered = self.enter(bind, Some(&hello)).ok_or_else(unknown)?;
        match &entered.ended {
            Some(ended) => {
                let accepting = tokio::time::timeout_at(started + HANDSHAKE, ended.accept(&hello, io));
                let (io, secured) = tokio::select! {
                    biased;
                    accepted = accepting => accepted??,
                    _ = self.guards.1.ends(|| ()) => return Ok(()),
                };
                drop(hello);
                self.serve(io, entered, Some(secured)).await;
            }
            None => {
                drop(hello);
                self.serve(io, entered, None).await;
            }
        }
        Ok(())
    }

    /// `secured` is what is known of TLS that ended here.
    async fn serve<IO, S>(self, io: IO, entered: Entered, secured: Option<DownstreamTls>)
    where
        IO: AsyncRead + AsyncWrite + Cut + Unpin + Send + 'static,
        M: Fn(Origin, Arc<Entrance>) -> S,
        S: Serve,
    {
        let Self { serving, guards: (alive, draining), .. } = self;
        let Entered { door, entrance, .. } = entered;
        match door {
            Door::Http(mut origin, grpc_web) => {
                let client = secured.as_ref().and_then(|tls| Some((tls.peer.as_ref()?, tls.local.as_deref())));
                let client_cert = client.and_then(|(client, own)| certificate::element(client, own));
                origin.secured = secured.map(Arc::new);
                origin.believes_proto = serving.trusted > 0;
                let origin = Arc::new(origin);
                let session = Session::new(origin.clone(), serving.dice.clone(), (alive, draining.clone()));
                let mut session = session.entered(entrance.clone());
                (session.client_cert, session.grpc_web, session.trusted) = (client_cert, grpc_web, serving.trusted);
                let session = Arc::new(session);
                let service = (serving.make)(Origin::Listener(origin), entrance);
                if let Err(error) = serving.protocols.serve(io, service, session, draining).await {
                    tracing::debug!(%error, "a connection ended badly");
                }
            }
            Door::Stream(stream) => stream.pass_on(io, &serving.transport, draining).await,
            Door::Closed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn clients_that_never_cease_to_come_do_not_keep_a_listener_open() {
        let taken = Cell::new(0);
        let begin = |()| {
            taken.set(taken.get() + 1);
            assert!(taken.get() < 1_000_000, "it goes on for ever");
        };
        take_waiting(|| std::future::ready(()), begin).await;
        assert!(taken.get() > BACKLOG, "{}", taken.get());
        take_waiting(std::future::pending, begin).await;
    }
}
